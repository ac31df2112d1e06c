//! The kernel's side of ethtool netlink: GET (one or all NICs) and SET of what NICs can be tuned by.
//!
//! Source: Documentation/networking/ethtool-netlink.rst; net/ethtool/netlink.c for the frame of it all.

use super::{
    Refusal, State,
    bitset::{self, Form},
    channels, feature,
    machine::{Limited, SimNic},
    numbers::{self, Asked},
    tables::{self, Row, Width},
};
use crate::host::{
    Mode,
    tlv::{Attrs, Writer},
};

/// ETHTOOL_A_*_HEADER of every message here, and ETHTOOL_A_HEADER_*.
const HEADER: u16 = 1;
const DEV_INDEX: u16 = 1;
const DEV_NAME: u16 = 2;
const FLAGS: u16 = 3;
const FLAG_COMPACT_BITSETS: u64 = 1;
const FLAG_OMIT_REPLY: u64 = 2;
/// ETH_SS_*
pub(super) const SS_STATS: u32 = 1;
pub(super) const SS_PRIV_FLAGS: u32 = 2;
pub(super) const SS_FEATURES: u32 = 4;

/// ETHTOOL_MSG_*, user to kernel.
mod msg {
    pub(super) const STRSET_GET: u8 = 1;
    pub(super) const LINKINFO_GET: u8 = 2;
    pub(super) const LINKMODES_GET: u8 = 4;
    pub(super) const LINKSTATE_GET: u8 = 6;
    pub(super) const FEATURES_GET: u8 = 11;
    pub(super) const FEATURES_SET: u8 = 12;
    pub(super) const PRIVFLAGS_GET: u8 = 13;
    pub(super) const PRIVFLAGS_SET: u8 = 14;
    pub(super) const RINGS_GET: u8 = 15;
    pub(super) const RINGS_SET: u8 = 16;
    pub(super) const CHANNELS_GET: u8 = 17;
    pub(super) const CHANNELS_SET: u8 = 18;
    pub(super) const COALESCE_GET: u8 = 19;
    pub(super) const COALESCE_SET: u8 = 20;
    pub(super) const PAUSE_GET: u8 = 21;
    pub(super) const PAUSE_SET: u8 = 22;
    pub(super) const EEE_GET: u8 = 23;
    pub(super) const EEE_SET: u8 = 24;
    pub(super) const RSS_GET: u8 = 38;
}

type Answers = Result<Vec<Vec<u8>>, Refusal>;

/// Answers one request.
pub(super) fn ask(state: &mut State, command: u8, mode: Mode, payload: &[u8]) -> Answers {
    let attrs = Attrs(payload);
    match command {
        msg::STRSET_GET => strset(state, mode, attrs),
        msg::LINKINFO_GET => each(state, mode, attrs, |_, nic, _, out| put_linkinfo(nic, out)),
        msg::LINKMODES_GET => each(state, mode, attrs, put_linkmodes),
        msg::LINKSTATE_GET => each(state, mode, attrs, |state, nic, _, out| {
            out.u8(2, u8::from(state.carrier(nic)));
            Ok(())
        }),
        msg::FEATURES_GET => each(state, mode, attrs, |_, nic, form, out| {
            put_features(nic, form, out);
            Ok(())
        }),
        msg::FEATURES_SET => set_features(state, attrs),
        msg::PRIVFLAGS_GET => {
            each(state, mode, attrs, |_, nic, form, out| put_flags(nic, form, out))
        }
        msg::PRIVFLAGS_SET => set_flags(state, attrs),
        msg::RINGS_GET => {
            each(state, mode, attrs, |_, nic, _, out| put_limited(&nic.rings, tables::RING, out))
        }
        msg::RINGS_SET => set(state, attrs, tables::RING, numbers::write_rings),
        msg::CHANNELS_GET => each(state, mode, attrs, |_, nic, _, out| {
            put_limited(&nic.channels, tables::CHANNELS, out)
        }),
        msg::CHANNELS_SET => set(state, attrs, tables::CHANNELS, channels::write),
        msg::COALESCE_GET => each(state, mode, attrs, |_, nic, _, out| put_coalesce(nic, out)),
        msg::COALESCE_SET => set(state, attrs, tables::COALESCE, numbers::write_coalesce),
        msg::PAUSE_GET => each(state, mode, attrs, |_, nic, _, out| put_pause(nic, out)),
        msg::PAUSE_SET => set(state, attrs, tables::PAUSE, numbers::write_pause),
        msg::EEE_GET => each(state, mode, attrs, |_, nic, _, out| put_eee(nic, out)),
        msg::EEE_SET => set(state, attrs, tables::EEE, numbers::write_eee),
        msg::RSS_GET => each(state, mode, attrs, |_, nic, _, out| put_rss(nic, out)),
        _ => Err(Refusal::errno(libc::EOPNOTSUPP)),
    }
}

/// The NIC that a request's header names, by index or by name.
fn named(state: &State, attrs: Attrs<'_>) -> Result<u32, Refusal> {
    let header = attrs.find(HEADER).ok_or_else(|| Refusal::errno(libc::EINVAL))?.nested();
    let index = header.find(DEV_INDEX).and_then(|a| a.number());
    let name = header.find(DEV_NAME).map(|a| a.text());
    let nic = match (index, name) {
        (None, None) => {
            return Err(Refusal::because(libc::EINVAL, "neither ifindex nor name specified"));
        }
        (Some(index), _) => state.machine.nics.iter().find(|n| u64::from(n.ifindex) == index),
        (None, Some(name)) => state.machine.nic(name),
    };
    let nic = nic.ok_or_else(|| Refusal::because(libc::ENODEV, "no device matches name"))?;
    match name {
        Some(name) if name != nic.name => {
            Err(Refusal::because(libc::ENODEV, "ifindex and name do not match"))
        }
        Some(_) | None => Ok(nic.ifindex),
    }
}

fn flags(attrs: Attrs<'_>) -> u64 {
    let header = attrs.find(HEADER);
    header.and_then(|h| h.nested().find(FLAGS)).and_then(|a| a.number()).unwrap_or(0)
}

/// A GET: of one NIC, or of all that have it (a dump leaves out those that do not).
fn each(
    state: &State,
    mode: Mode,
    attrs: Attrs<'_>,
    fill: impl Fn(&State, &SimNic, Form, &mut Writer) -> Result<(), Refusal>,
) -> Answers {
    let form = match flags(attrs) & FLAG_COMPACT_BITSETS {
        0 => Form::Verbose,
        _ => Form::Compact,
    };
    let one = |nic: &SimNic| {
        let mut out = Writer::new();
        put_header(nic, &mut out);
        fill(state, nic, form, &mut out).map(|()| out.into_bytes())
    };
    match mode {
        Mode::Do | Mode::Create | Mode::Append | Mode::Replace => {
            let nic = state.machine.by_index(named(state, attrs)?);
            one(nic.ok_or_else(|| Refusal::errno(libc::ENODEV))?).map(|answer| vec![answer])
        }
        Mode::Dump => {
            let mut answers = Vec::new();
            for answer in state.machine.nics.iter().map(one) {
                match answer {
                    Ok(answer) => answers.push(answer),
                    Err(refusal) if refusal.errno == libc::EOPNOTSUPP => {}
                    Err(refusal) => return Err(refusal),
                }
            }
            Ok(answers)
        }
    }
}

fn put_header(nic: &SimNic, out: &mut Writer) {
    let mut header = Writer::new();
    header.u32(DEV_INDEX, nic.ifindex).text(DEV_NAME, &nic.name);
    out.nest(HEADER, &header);
}

/// A SET of numbers: decodes what the request names, and lets `write` do the rest.
fn set(
    state: &mut State,
    attrs: Attrs<'_>,
    rows: &[Row],
    write: impl Fn(&mut State, u32, &Asked) -> Result<(), Refusal>,
) -> Answers {
    let ifindex = named(state, attrs)?;
    let mut asked = Asked::new();
    for attr in attrs {
        if attr.kind == HEADER {
            continue;
        }
        // The kernel's policies are strict: an attribute it does not take is an error.
        let row = rows.iter().find(|row| row.attr == attr.kind);
        let row = row.ok_or_else(|| Refusal::because(libc::EINVAL, "Unknown attribute type"))?;
        let width = match row.width {
            Width::U8 => 1,
            Width::U32 => 4,
        };
        if attr.payload.len() != width {
            return Err(Refusal::because(libc::ERANGE, "integer out of range"));
        }
        asked.insert(row.name.to_owned(), attr.number().unwrap_or(0));
    }
    write(state, ifindex, &asked).map(|()| Vec::new())
}

fn unsupported() -> Refusal {
    Refusal::errno(libc::EOPNOTSUPP)
}

fn put_number(row: &Row, value: u64, out: &mut Writer) {
    match row.width {
        Width::U8 => out.u8(row.attr, value as u8),
        Width::U32 => out.u32(row.attr, value as u32),
    };
}

fn put_limited(
    values: &std::collections::BTreeMap<String, Limited>,
    rows: &[Row],
    out: &mut Writer,
) -> Result<(), Refusal> {
    if values.is_empty() {
        return Err(unsupported());
    }
    for row in rows {
        if let Some(value) = values.get(row.name) {
            if let Some(max) = row.max {
                out.u32(max, value.max as u32);
            }
            put_number(row, value.value, out);
        }
    }
    Ok(())
}

fn put_coalesce(nic: &SimNic, out: &mut Writer) -> Result<(), Refusal> {
    if nic.coalesce.is_empty() {
        return Err(unsupported());
    }
    for row in tables::COALESCE {
        if let Some(value) = nic.coalesce.get(row.name) {
            put_number(row, *value, out);
        }
    }
    Ok(())
}

fn put_pause(nic: &SimNic, out: &mut Writer) -> Result<(), Refusal> {
    let pause = nic.pause.ok_or_else(unsupported)?;
    let values = [pause.autoneg, pause.rx, pause.tx];
    for (row, value) in tables::PAUSE.iter().zip(values) {
        put_number(row, u64::from(value), out);
    }
    Ok(())
}

fn put_eee(nic: &SimNic, out: &mut Writer) -> Result<(), Refusal> {
    let eee = nic.eee.ok_or_else(unsupported)?;
    out.u8(4, u8::from(eee.active));
    let values = [eee.enabled.into(), eee.tx_lpi_enabled.into(), u64::from(eee.tx_lpi_timer)];
    for (row, value) in tables::EEE.iter().zip(values) {
        put_number(row, value, out);
    }
    Ok(())
}

/// ETHTOOL_A_RSS_HFUNC 3 (Toeplitz), ETHTOOL_A_RSS_INDIR 4.
fn put_rss(nic: &SimNic, out: &mut Writer) -> Result<(), Refusal> {
    let table = nic.table().ok_or_else(unsupported)?;
    let bytes: Vec<u8> = table.iter().flat_map(|queue| queue.to_ne_bytes()).collect();
    out.u32(3, 1).put(4, &bytes);
    Ok(())
}

fn put_features(nic: &SimNic, form: Form, out: &mut Writer) {
    let names = feature::names();
    let bits = |test: &dyn Fn(&SimNic, &str) -> bool| -> Vec<bool> {
        feature::NAMES.iter().map(|name| test(nic, name)).collect()
    };
    let all: Vec<bool> = feature::NAMES.iter().map(|name| !name.is_empty()).collect();
    bitset::put(out, 2, form, &names, &bits(&feature::changeable), Some(&all));
    bitset::put(out, 3, form, &names, &bits(&feature::wanted), None);
    bitset::put(out, 4, form, &names, &bits(&feature::active), None);
    let never = bits(&|_, name| ["vlan-challenged"].contains(&name));
    bitset::put(out, 5, form, &names, &never, None);
}

fn set_features(state: &mut State, attrs: Attrs<'_>) -> Answers {
    let ifindex = named(state, attrs)?;
    let names = feature::names();
    let wanted = attrs.find(3).ok_or_else(|| Refusal::errno(libc::EINVAL))?;
    let wanted = bitset::parse(wanted.nested(), &names)?;
    let asked: Vec<(&str, bool)> = feature::NAMES
        .iter()
        .zip(&wanted)
        .filter_map(|(name, on)| on.map(|on| (*name, on)))
        .collect();
    let before = state.machine.by_index(ifindex).cloned().unwrap_or_default();
    feature::set(state, ifindex, &asked)?;
    if flags(attrs) & FLAG_OMIT_REPLY != 0 {
        return Ok(Vec::new());
    }
    let after = state.machine.by_index(ifindex).cloned().unwrap_or_default();
    let active = |nic: &SimNic| -> Vec<bool> {
        feature::NAMES.iter().map(|name| feature::active(nic, name)).collect()
    };
    let (old, new) = (active(&before), active(&after));
    let missed: Vec<bool> =
        wanted.iter().zip(&new).map(|(on, new)| on.is_some_and(|on| on != *new)).collect();
    let moved: Vec<bool> = old.iter().zip(&new).map(|(old, new)| old != new).collect();
    let asked_bits: Vec<bool> = wanted.iter().map(|on| on.unwrap_or(false)).collect();
    let mut out = Writer::new();
    put_header(&after, &mut out);
    bitset::put(&mut out, 3, Form::Verbose, &names, &asked_bits, Some(&missed));
    bitset::put(&mut out, 4, Form::Verbose, &names, &new, Some(&moved));
    Ok(vec![out.into_bytes()])
}

fn put_flags(nic: &SimNic, form: Form, out: &mut Writer) -> Result<(), Refusal> {
    if nic.private_flags.is_empty() {
        return Err(unsupported());
    }
    let names: Vec<String> = nic.private_flags.keys().cloned().collect();
    let value: Vec<bool> = nic.private_flags.values().copied().collect();
    let all = vec![true; names.len()];
    bitset::put(out, 2, form, &names, &value, Some(&all));
    Ok(())
}

fn set_flags(state: &mut State, attrs: Attrs<'_>) -> Answers {
    let ifindex = named(state, attrs)?;
    let nic = state.machine.by_index(ifindex).cloned().unwrap_or_default();
    let names: Vec<String> = nic.private_flags.keys().cloned().collect();
    if names.is_empty() {
        return Err(unsupported());
    }
    let wanted = attrs.find(2).ok_or_else(|| Refusal::errno(libc::EINVAL))?;
    let wanted = bitset::parse(wanted.nested(), &names)?;
    let asked: Vec<(&str, bool)> = names
        .iter()
        .zip(&wanted)
        .filter_map(|(name, on)| on.map(|on| (name.as_str(), on)))
        .collect();
    feature::set_flags(state, ifindex, &asked).map(|()| Vec::new())
}

/// The strings of a set; `None`: this NIC has no such set.
pub(super) fn strings(state: &State, nic: Option<&SimNic>, set: u32) -> Option<Vec<String>> {
    match (set, nic) {
        (SS_FEATURES, _) => Some(feature::names()),
        (SS_PRIV_FLAGS, Some(nic)) => Some(nic.private_flags.keys().cloned().collect()),
        (SS_STATS, Some(nic)) => Some(state.stats(nic).into_iter().map(|(name, _)| name).collect()),
        (_, _) => None,
    }
}

/// ETHTOOL_MSG_STRSET_GET: STRINGSETS 2 { STRINGSET 1 { ID 1, COUNT 2, STRINGS 3 { STRING 1 {
/// INDEX 1, VALUE 2 } } } }, COUNTS_ONLY 3.
fn strset(state: &State, mode: Mode, attrs: Attrs<'_>) -> Answers {
    let sets: Vec<u32> = attrs
        .find(2)
        .map(|sets| sets.nested())
        .into_iter()
        .flatten()
        .filter_map(|set| set.nested().find(1)?.number())
        .map(|id| id as u32)
        .collect();
    let counts_only = attrs.find(3).is_some();
    let fill = |nic: Option<&SimNic>| -> Result<Vec<u8>, Refusal> {
        let mut out = Writer::new();
        if let Some(nic) = nic {
            put_header(nic, &mut out);
        }
        let all = [SS_STATS, SS_PRIV_FLAGS, SS_FEATURES];
        let mut listed = Writer::new();
        for id in if sets.is_empty() { &all[..] } else { &sets[..] } {
            let Some(strings) = strings(state, nic, *id) else {
                return Err(unsupported());
            };
            let mut set = Writer::new();
            set.u32(1, *id).u32(2, strings.len() as u32);
            if !counts_only {
                let mut each = Writer::new();
                for (i, string) in strings.iter().enumerate() {
                    let mut one = Writer::new();
                    one.u32(1, i as u32).text(2, string);
                    each.nest(1, &one);
                }
                set.nest(3, &each);
            }
            listed.nest(1, &set);
        }
        out.nest(2, &listed);
        Ok(out.into_bytes())
    };
    match mode {
        Mode::Dump => state.machine.nics.iter().map(|nic| fill(Some(nic))).collect(),
        Mode::Do if attrs.find(HEADER).is_none_or(|h| h.payload.is_empty()) => {
            fill(None).map(|answer| vec![answer])
        }
        Mode::Do | Mode::Create | Mode::Append | Mode::Replace => {
            let nic = state.machine.by_index(named(state, attrs)?);
            fill(nic).map(|answer| vec![answer])
        }
    }
}

/// PORT 2, TRANSCEIVER 6: twisted pair, internal.
fn put_linkinfo(nic: &SimNic, out: &mut Writer) -> Result<(), Refusal> {
    if nic.pci.is_none() {
        return Err(unsupported());
    }
    out.u8(2, 0).u8(3, 0).u8(6, 0);
    Ok(())
}

/// AUTONEG 2, OURS 3, SPEED 5, DUPLEX 6.
fn put_linkmodes(state: &State, nic: &SimNic, form: Form, out: &mut Writer) -> Result<(), Refusal> {
    let speed = if state.carrier(nic) { nic.speed } else { u32::MAX };
    let modes = ["10baseT/Half", "10baseT/Full", "Autoneg"].map(str::to_owned);
    out.u8(2, u8::from(nic.pci.is_some()));
    bitset::put(out, 3, form, &modes, &[false, true, true], Some(&[true, true, true]));
    out.u32(5, speed).u8(6, 1);
    Ok(())
}
