//! What ethtool says of the port itself: link mode, kind of port, PTP clock. One dump each.
//!
//! Source: include/uapi/linux/ethtool_netlink_generated.h; the request header may ask for compact
//! bit sets (ETHTOOL_FLAG_COMPACT_BITSETS), which spares the kernel thousands of mode names.

use std::collections::BTreeMap;

use super::{Link, Notes, hazard::Careful, link};
use crate::host::tlv::{Attr, Attrs, Writer};

const LINKINFO_GET: u8 = 2;
const LINKMODES_GET: u8 = 4;
const TSINFO_GET: u8 = 25;

/// ETHTOOL_A_*_HEADER is the first attribute of every message of the family.
const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const HEADER_FLAGS: u16 = 3;
const FLAG_COMPACT_BITSETS: u32 = 1;

const LINKINFO_PORT: u16 = 2;
const LINKMODES_AUTONEG: u16 = 2;
const LINKMODES_SPEED: u16 = 5;
const LINKMODES_DUPLEX: u16 = 6;
const LINKMODES_LANES: u16 = 9;
const TSINFO_PHC_INDEX: u16 = 5;

/// SPEED_UNKNOWN.
const SPEED_UNKNOWN: u32 = u32::MAX;

/// One NIC's port.
#[derive(Debug, Default)]
pub(super) struct Port {
    speed: Option<u32>,
    duplex: Option<&'static str>,
    autoneg: Option<bool>,
    lanes: Option<u32>,
    port: Option<&'static str>,
    clock: Option<u32>,
}

impl Port {
    /// `ptp0`. Asking which clock there is switches no time stamping on.
    pub(super) fn clock(&self) -> Option<String> {
        self.clock.map(|index| format!("ptp{index}"))
    }
}

/// Every NIC's port, by ifindex. A NIC whose driver has nothing to say is not in it.
pub(super) fn dump(host: &Careful<'_>, notes: &mut Notes) -> BTreeMap<u32, Port> {
    let mut ports: BTreeMap<u32, Port> = BTreeMap::new();
    let mut each = |command, act, take: fn(&mut Port, Attr<'_>)| {
        for answer in ask(host, command, act, notes) {
            let Some(ifindex) = device(&answer) else { continue };
            let port = ports.entry(ifindex).or_default();
            Attrs(&answer).for_each(|attribute| take(port, attribute));
        }
    };
    each(LINKMODES_GET, "read link modes", Port::take_modes);
    each(LINKINFO_GET, "read link info", Port::take_info);
    each(TSINFO_GET, "read time stamping capabilities", Port::take_time);
    ports
}

/// The link's facts: rtnetlink's, and the port's where it has any.
pub(super) fn link(link: &link::Entry, port: Option<&Port>) -> Link {
    let none = Port::default();
    let port = port.unwrap_or(&none);
    Link {
        up: link.up,
        carrier: link.carrier,
        state: link.state.clone(),
        speed: port.speed,
        duplex: port.duplex.map(str::to_owned),
        autoneg: port.autoneg,
        lanes: port.lanes,
        port: port.port.map(str::to_owned),
    }
}

impl Port {
    fn take_modes(&mut self, attribute: Attr<'_>) {
        let number = attribute.number().and_then(|number| u32::try_from(number).ok());
        match attribute.kind {
            LINKMODES_SPEED => self.speed = number.filter(|&s| s != 0 && s != SPEED_UNKNOWN),
            LINKMODES_AUTONEG => self.autoneg = number.map(|on| on != 0),
            LINKMODES_LANES => self.lanes = number,
            // DUPLEX_HALF, DUPLEX_FULL; 0xff is unknown.
            LINKMODES_DUPLEX => {
                self.duplex = match number {
                    Some(0) => Some("half"),
                    Some(1) => Some("full"),
                    Some(_) | None => None,
                }
            }
            _ => {}
        }
    }

    /// PORT_* of include/uapi/linux/ethtool.h.
    fn take_info(&mut self, attribute: Attr<'_>) {
        if attribute.kind == LINKINFO_PORT {
            self.port = match attribute.number() {
                Some(0) => Some("twisted-pair"),
                Some(1) => Some("aui"),
                Some(2) => Some("mii"),
                Some(3) => Some("fibre"),
                Some(4) => Some("bnc"),
                Some(5) => Some("direct-attach"),
                Some(_) | None => None,
            };
        }
    }

    fn take_time(&mut self, attribute: Attr<'_>) {
        if attribute.kind == TSINFO_PHC_INDEX {
            self.clock = attribute.number().and_then(|number| u32::try_from(number).ok());
        }
    }
}

fn ask(host: &Careful<'_>, command: u8, act: &str, notes: &mut Notes) -> Vec<Vec<u8>> {
    let mut header = Writer::new();
    header.u32(HEADER_FLAGS, FLAG_COMPACT_BITSETS);
    let mut payload = Writer::new();
    payload.nest(HEADER, &header);
    notes.or_nothing(host.dump(command, payload.as_bytes()), act)
}

fn device(answer: &[u8]) -> Option<u32> {
    let header = Attrs(answer).find(HEADER)?;
    u32::try_from(header.nested().find(HEADER_DEV_INDEX)?.number()?).ok()
}
