//! Writing channels, the RSS table and ntuple rules: what the core checks across the three.
//!
//! Source: net/ethtool/channels.c ethnl_set_channels(), net/ethtool/common.c
//! ethtool_check_max_channel(), net/ethtool/ioctl.c ethtool_set_rxfh_indir().

use super::{
    Refusal, State,
    machine::{Rule, SimNic},
    numbers::Asked,
    quirk::{self, Quirk},
};

fn gone() -> Refusal {
    Refusal::errno(libc::ENODEV)
}

pub(super) fn write(state: &mut State, ifindex: u32, asked: &Asked) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
    if nic.channels.is_empty() {
        return Err(Refusal::errno(libc::EOPNOTSUPP));
    }
    let mut after = nic.clone();
    for (name, value) in asked {
        match after.channels.get_mut(name) {
            Some(channel) if *value <= channel.max => channel.value = *value,
            None if *value == 0 => {}
            Some(_) | None => {
                let why = "requested channel count exceeds maximum";
                return Err(Refusal::because(libc::EINVAL, why));
            }
        }
    }
    if after.channels == nic.channels {
        return Ok(());
    }
    check(nic, &after)?;
    quirk::busy(state, ifindex, "channels")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(gone)?;
    for (name, value) in asked {
        let now = nic.channels.get(name).map_or(0, |c| c.value);
        let taken = quirk::taken(nic, &format!("channels.{name}"), now, *value);
        if let Some(channel) = nic.channels.get_mut(name) {
            channel.value = taken.min(channel.max);
        }
    }
    state.announce(ifindex, "channels");
    quirk::channels_written(state, ifindex);
    quirk::felt(state, ifindex, "channels");
    Ok(())
}

/// The core's checks of a changed channel count against what points at queues.
fn check(before: &SimNic, after: &SimNic) -> Result<(), Refusal> {
    let count = |name: &str| after.channels.get(name).map_or(0, |c| c.value);
    if count("combined") == 0 && (count("rx") == 0 || count("tx") == 0) {
        return Err(Refusal::because(
            libc::EINVAL,
            "requested channel counts would result in no RX or TX channel being configured",
        ));
    }
    let queues = count("combined") + count("rx");
    let table = before.rss.as_ref().and_then(|rss| rss.table.as_ref());
    let highest = table.and_then(|table| table.iter().max());
    if highest.is_some_and(|highest| u64::from(*highest) >= queues) {
        return Err(Refusal::because(
            libc::EINVAL,
            "requested channel counts are too low for existing indirection table settings",
        ));
    }
    let mut rules = before.rules.iter().flat_map(|rules| rules.values());
    if rules.any(|rule| rule.queue != u64::MAX && rule.queue >= queues) {
        return Err(Refusal::because(
            libc::EINVAL,
            "requested channel counts are too low for existing ntuple filter settings",
        ));
    }
    if table.is_some() && before.quirks.contains(&Quirk::ChannelsRefusedUnderRss) {
        return Err(Refusal::errno(libc::EINVAL));
    }
    Ok(())
}

/// Writes a user's RSS table, or with `None` the kernel's default.
pub(super) fn write_rss(
    state: &mut State,
    ifindex: u32,
    table: Option<Vec<u32>>,
) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
    let size = nic.rss.as_ref().ok_or_else(|| Refusal::errno(libc::EOPNOTSUPP))?.size;
    let queues = nic.rx_queues() as u32;
    if let Some(table) = &table
        && (table.len() != size as usize || table.iter().any(|queue| *queue >= queues))
    {
        return Err(Refusal::errno(libc::EINVAL));
    }
    quirk::busy(state, ifindex, "rss")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(gone)?;
    if quirk::ignored(nic, "rss.indirection") {
        return Ok(());
    }
    if let Some(rss) = &mut nic.rss {
        rss.table = table;
    }
    state.announce(ifindex, "rss");
    quirk::felt(state, ifindex, "rss");
    Ok(())
}

/// Inserts a rule at a slot, or deletes it.
pub(super) fn write_rule(
    state: &mut State,
    ifindex: u32,
    slot: u32,
    rule: Option<Rule>,
) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
    let rules = nic.rules.as_ref().ok_or_else(|| Refusal::errno(libc::EOPNOTSUPP))?;
    let refused = match &rule {
        Some(rule) => rule.queue != u64::MAX && rule.queue >= nic.rx_queues() as u64,
        None => !rules.contains_key(&slot),
    };
    if refused {
        return Err(Refusal::errno(if rule.is_some() { libc::EINVAL } else { libc::ENOENT }));
    }
    quirk::busy(state, ifindex, "ntuple")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(gone)?;
    if let Some(rules) = &mut nic.rules {
        match rule {
            Some(rule) => rules.insert(slot, rule),
            None => rules.remove(&slot),
        };
    }
    quirk::felt(state, ifindex, "ntuple");
    Ok(())
}
