//! Generic netlink: families by name, with the multicast groups they announce on.
//!
//! Source: include/uapi/linux/genetlink.h, net/netlink/genetlink.c.

use super::socket::Netlink;
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Genl, Mode,
        tlv::{Attrs, Writer},
    },
};

/// Bytes of `struct genlmsghdr`: u8 command, u8 version, u16 reserved.
pub(super) const HEADER_BYTES: usize = 4;

/// GENL_ID_CTRL: the family that names the others.
const CONTROLLER: u16 = 16;
const GETFAMILY: u8 = 3;
/// CTRL_ATTR_*.
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GROUPS: u16 = 7;
/// CTRL_ATTR_MCAST_GRP_*.
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;

/// A family's number in the running kernel, and its groups.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub(super) id: u16,
    groups: Vec<(String, u32)>,
}

impl Family {
    /// The number of the group of this name (`monitor`).
    pub(super) fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|(group, _)| group == name).map(|(_, id)| *id)
    }
}

/// Asks the kernel which number it gave this family.
pub(super) fn resolve(netlink: &mut Netlink, family: Genl) -> Result<Family> {
    let act = format!("find the kernel's netlink family {}", family.name());
    let mut body = Writer::new();
    body.text(FAMILY_NAME, family.name());
    let payload = message(GETFAMILY, body.as_bytes());
    let answers = netlink.exchange(&act, CONTROLLER, Mode::Do, &payload).map_err(|fault| {
        if fault.kind != Kind::Unsupported {
            return fault;
        }
        Fault { cause: "this kernel does not have it".into(), ..fault }
    })?;
    let malformed =
        || Fault::new(Kind::Malformed, &act, "the kernel's answer has no family number");
    let attrs = Attrs(answers.first().and_then(|a| a.get(HEADER_BYTES..)).ok_or_else(malformed)?);
    let id = attrs.find(FAMILY_ID).and_then(|attr| attr.number()).ok_or_else(malformed)?;
    let groups =
        attrs.find(GROUPS).into_iter().flat_map(|attr| attr.nested()).filter_map(|group| {
            let name = group.nested().find(GROUP_NAME)?.text().to_owned();
            let id = group.nested().find(GROUP_ID)?.number()?;
            Some((name, u32::try_from(id).ok()?))
        });
    Ok(Family { id: u16::try_from(id).map_err(|_| malformed())?, groups: groups.collect() })
}

/// A generic netlink payload. Every family we speak is at version 1.
pub(super) fn message(command: u8, attributes: &[u8]) -> Vec<u8> {
    let mut payload = vec![command, 1, 0, 0];
    payload.extend_from_slice(attributes);
    payload
}
