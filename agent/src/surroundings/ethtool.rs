//! What ethtool gives a port and no setting of nicmend is: the speeds that it offers its link partner or is held
//! to, forward error correction, Wake-on-LAN. A driver that registers its network device anew starts from what
//! it thinks best.
//!
//! Source: Documentation/networking/ethtool-netlink.rst; net/ethtool/{linkmodes,fec,wol}.c.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::device::Differs;
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Host, Nic,
        tlv::{Attrs, Writer},
    },
    settings::{
        bitset,
        ethnl::{self, Bitsets},
    },
};

/// ETHTOOL_MSG_LINKMODES_GET and _SET; ETHTOOL_A_LINKMODES_*.
const LINKMODES: (u8, u8) = (4, 5);
const AUTONEG: u16 = 2;
const OURS: u16 = 3;
const SPEED: u16 = 5;
const DUPLEX: u16 = 6;
/// SPEED_UNKNOWN, DUPLEX_UNKNOWN.
const NO_SPEED: u64 = u32::MAX as u64;
const NO_DUPLEX: u64 = 0xff;
/// ETHTOOL_MSG_WOL_GET and _SET; ETHTOOL_A_WOL_MODES. Its password is a secret: it is not asked for.
const WOL: (u8, u8) = (9, 10);
const WOL_MODES: u16 = 2;
const SECURE_ON: &str = "magicsecure";
/// ETHTOOL_MSG_FEC_GET and _SET; ETHTOOL_A_FEC_*.
const FEC: (u8, u8) = (29, 30);
const FEC_MODES: u16 = 2;
const FEC_AUTO: u16 = 3;

/// What there is of it; a driver without one of them has nothing to lose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ethtool {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<Offer>,
    /// Each way to be woken that the device has, and whether it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wake: Option<BTreeMap<String, bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fec: Option<Fec>,
}

/// What the link is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Offer {
    /// These modes are negotiated over.
    Negotiated { modes: BTreeMap<String, bool> },
    /// Mbit/s and DUPLEX_*, where they are known.
    Held { speed: Option<u32>, duplex: Option<u8> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Fec {
    pub(super) auto: bool,
    pub(super) modes: BTreeSet<String>,
}

impl Ethtool {
    /// What this port has. What cannot be read cannot be put back.
    pub(super) fn read(host: &dyn Host, port: &Nic, cannot: &mut Vec<String>) -> Ethtool {
        let mut ask =
            |(get, _): (u8, u8), what: &str| match ethnl::get(host, get, Bitsets::Verbose, port) {
                Ok(answer) => Some(answer),
                Err(fault) if fault.kind == Kind::Unsupported => None,
                Err(fault) => {
                    cannot.push(format!("{what} of {}: {fault}", port.name));
                    None
                }
            };
        let link = ask(LINKMODES, "advertised speeds").and_then(|answer| offer(Attrs(&answer)));
        let wake = ask(WOL, "Wake-on-LAN").and_then(|answer| wake(Attrs(&answer)));
        let fec = ask(FEC, "FEC").and_then(|answer| fec(Attrs(&answer)));
        if wake.as_ref().and_then(|modes| modes.get(SECURE_ON)) == Some(&true) {
            cannot.push(format!("SecureOn password of {} (ethtool -s … wol s)", port.name));
        }
        Ethtool { link, wake, fec }
    }

    pub(super) fn differences(&self, now: &Ethtool, port: &str) -> Vec<Differs> {
        let mut differs = Vec::new();
        let mut add = |what: &str, expected: String, found: Option<String>| {
            let found = found.unwrap_or_else(|| "none".to_owned());
            differs.push((format!("{what} of {port}"), expected, found));
        };
        if let Some(was) = self.link.as_ref().filter(|was| !was.holds(now.link.as_ref())) {
            add("link modes", was.words(), now.link.as_ref().map(Offer::words));
        }
        if let Some(was) = self.wake.as_ref().filter(|was| !hold(was, now.wake.as_ref())) {
            add("Wake-on-LAN", on(was), now.wake.as_ref().map(on));
        }
        if let Some(was) = self.fec.as_ref().filter(|was| now.fec.as_ref() != Some(*was)) {
            add("FEC", was.words(), now.fec.as_ref().map(Fec::words));
        }
        differs
    }

    /// Puts back what differs on this port. Returns what went wrong; the rest is done.
    pub(super) fn restore(&self, host: &dyn Host, port: &Nic) -> Vec<Fault> {
        let now = Ethtool::read(host, port, &mut Vec::new());
        let mut faults = Vec::new();
        let mut set = |(_, set): (u8, u8), what: &str, body: Writer| {
            let done: Result<()> = ethnl::set(host, set, port, &body);
            let act = format!("set {what} of {}", port.name);
            faults.extend(done.err().map(|fault| fault.during(act)));
        };
        if let Some(was) = self.link.as_ref().filter(|was| !was.holds(now.link.as_ref())) {
            set(LINKMODES, &format!("the link modes ({})", was.words()), was.body());
        }
        if let Some(was) = self.fec.as_ref().filter(|was| now.fec.as_ref() != Some(*was)) {
            set(FEC, &format!("FEC ({})", was.words()), was.body());
        }
        if let Some(was) = self.wake.as_ref().filter(|was| !hold(was, now.wake.as_ref())) {
            let mut body = Writer::new();
            body.nest(WOL_MODES, &bitset::changing(switches(was)));
            set(WOL, &format!("Wake-on-LAN ({})", on(was)), body);
        }
        faults
    }
}

fn offer(answer: Attrs<'_>) -> Option<Offer> {
    let number = |kind: u16| answer.find(kind).and_then(|attr| attr.number());
    if number(AUTONEG)? == 1 {
        let ours = answer.find(OURS)?.nested();
        return Some(Offer::Negotiated { modes: bitset::verbose(ours).into_iter().collect() });
    }
    let known = |kind: u16, unknown: u64| number(kind).filter(|value| *value != unknown);
    Some(Offer::Held {
        speed: known(SPEED, NO_SPEED).and_then(|speed| u32::try_from(speed).ok()),
        duplex: known(DUPLEX, NO_DUPLEX).and_then(|duplex| u8::try_from(duplex).ok()),
    })
}

impl Offer {
    /// Whether it is so still. Modes that another firmware has besides are none of what there was, and a link
    /// that is down does not tell how fast it is.
    fn holds(&self, now: Option<&Offer>) -> bool {
        match (self, now) {
            (Offer::Negotiated { modes }, Some(Offer::Negotiated { modes: now })) => {
                hold(modes, Some(now))
            }
            (Offer::Held { speed, duplex }, Some(Offer::Held { speed: now, duplex: other })) => {
                (speed.is_none() || speed == now) && (duplex.is_none() || duplex == other)
            }
            (Offer::Negotiated { .. } | Offer::Held { .. }, _) => false,
        }
    }

    fn words(&self) -> String {
        match self {
            Offer::Negotiated { modes } => format!("autoneg on, {}", on(modes)),
            Offer::Held { speed, duplex } => {
                let speed = speed.map_or("unknown".to_owned(), |speed| speed.to_string());
                let duplex = match duplex {
                    Some(0) => "half",
                    Some(_) => "full",
                    None => "unknown",
                };
                format!("autoneg off, speed {speed}, duplex {duplex}")
            }
        }
    }

    fn body(&self) -> Writer {
        let mut body = Writer::new();
        match self {
            Offer::Negotiated { modes } => {
                body.u8(AUTONEG, 1).nest(OURS, &bitset::changing(switches(modes)));
            }
            Offer::Held { speed, duplex } => {
                body.u8(AUTONEG, 0);
                if let Some(speed) = speed {
                    body.u32(SPEED, *speed);
                }
                if let Some(duplex) = duplex {
                    body.u8(DUPLEX, *duplex);
                }
            }
        }
        body
    }
}

fn wake(answer: Attrs<'_>) -> Option<BTreeMap<String, bool>> {
    let modes = bitset::verbose(answer.find(WOL_MODES)?.nested());
    // One that can be woken by nothing has nothing to lose.
    Some(modes.into_iter().collect()).filter(|modes: &BTreeMap<String, bool>| !modes.is_empty())
}

fn fec(answer: Attrs<'_>) -> Option<Fec> {
    let auto = answer.find(FEC_AUTO)?.number()? == 1;
    let modes = bitset::verbose(answer.find(FEC_MODES)?.nested());
    // A list without a mask: what is in it is on.
    Some(Fec { auto, modes: modes.into_iter().map(|(name, _)| name).collect() })
}

impl Fec {
    fn words(&self) -> String {
        let modes: Vec<&str> = self.modes.iter().map(String::as_str).collect();
        let auto = if self.auto { "auto" } else { "not auto" };
        format!("{auto}, {}", if modes.is_empty() { "none".to_owned() } else { modes.join(" ") })
    }

    fn body(&self) -> Writer {
        let mut body = Writer::new();
        let modes = bitset::only(self.modes.iter().map(String::as_str));
        body.nest(FEC_MODES, &modes).u8(FEC_AUTO, u8::from(self.auto));
        body
    }
}

/// Whether each of these is as it was.
fn hold(was: &BTreeMap<String, bool>, now: Option<&BTreeMap<String, bool>>) -> bool {
    now.is_some_and(|now| was.iter().all(|(name, on)| now.get(name) == Some(on)))
}

fn switches(modes: &BTreeMap<String, bool>) -> impl Iterator<Item = (&str, bool)> {
    modes.iter().map(|(name, on)| (name.as_str(), *on))
}

fn on(modes: &BTreeMap<String, bool>) -> String {
    let on: Vec<&str> = switches(modes).filter(|(_, on)| *on).map(|(name, _)| name).collect();
    if on.is_empty() { "none".to_owned() } else { on.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_was_read() {
        let modes = [("1000baseT/Full", true), ("100baseT/Half", false)];
        let modes = modes.map(|(name, on)| (name.to_owned(), on)).into_iter().collect();
        let negotiated = Offer::Negotiated { modes };
        assert_eq!(offer(Attrs(negotiated.body().as_bytes())), Some(negotiated.clone()));
        assert_eq!(negotiated.words(), "autoneg on, 1000baseT/Full");
        let held = Offer::Held { speed: Some(1000), duplex: Some(0) };
        assert_eq!(offer(Attrs(held.body().as_bytes())), Some(held));
        let corrected = Fec { auto: false, modes: BTreeSet::from(["RS".to_owned()]) };
        assert_eq!(fec(Attrs(corrected.body().as_bytes())), Some(corrected));
    }

    #[test]
    fn a_link_that_is_down_does_not_tell_its_speed() {
        let mut answer = Writer::new();
        answer.u8(AUTONEG, 0).u32(SPEED, u32::MAX).u8(DUPLEX, 0xff);
        let unknown = Offer::Held { speed: None, duplex: None };
        assert_eq!(offer(Attrs(answer.as_bytes())), Some(unknown.clone()));
        let held = Offer::Held { speed: Some(1000), duplex: Some(1) };
        assert!(unknown.holds(Some(&held)) && !held.holds(Some(&unknown)) && !held.holds(None));
    }

    #[test]
    fn a_mode_that_another_firmware_brings_is_no_difference_and_one_that_it_lacks_is() {
        let modes = |list: &[(&str, bool)]| {
            list.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect::<BTreeMap<_, _>>()
        };
        let was = modes(&[("25000baseCR/Full", true), ("10000baseCR/Full", false)]);
        let more = modes(&[("25000baseCR/Full", true), ("10000baseCR/Full", false), ("RS", true)]);
        let reset = modes(&[("25000baseCR/Full", true), ("10000baseCR/Full", true)]);
        let ethtool =
            |modes| Ethtool { link: Some(Offer::Negotiated { modes }), ..Ethtool::default() };
        let differs = |now| ethtool(was.clone()).differences(&ethtool(now), "eth1").len();
        assert_eq!(
            [differs(was.clone()), differs(more), differs(reset), differs(modes(&[]))],
            [0, 0, 1, 1]
        );
    }
}
