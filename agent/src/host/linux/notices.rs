//! What the kernel announces of its own accord: ethtool and rtnetlink notifications.
//!
//! Source: net/ethtool/netlink.c (`ethnl_notify`), net/core/rtnetlink.c (RTNLGRP_LINK).

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;

use super::{
    genl,
    message::{self, Message, Messages},
    socket::Netlink,
};
use crate::{
    fault::{Fault, Result},
    host::{Notice, tlv::Attrs},
};

/// Every family that the kernel can announce a change of.
const FAMILIES: [&str; 9] =
    ["ring", "coalesce", "channels", "feature", "private-flag", "pause", "eee", "rss", "link"];

/// RTNLGRP_LINK.
pub(super) const LINK_GROUP: u32 = 1;
/// RTM_NEWLINK, RTM_DELLINK.
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
/// Every ethtool notification carries its header as attribute 1, with the ifindex as attribute 1.
const HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;
/// Datagrams read in one call; the rest stays queued for the next.
const DATAGRAMS_MAX: usize = 1 << 14;

/// Changes seen, gathered so that a storm of announcements stays small.
#[derive(Default)]
pub(super) struct Gathered(BTreeMap<u32, BTreeSet<&'static str>>);

impl Gathered {
    pub(super) fn drain_ethtool(&mut self, netlink: &mut Netlink, family: u16) -> Result<()> {
        self.drain(netlink, |message| {
            if message.kind != family {
                return None;
            }
            let families = ethtool_families(*message.payload.first()?);
            let header = Attrs(message.payload.get(genl::HEADER_BYTES..)?).find(HEADER)?;
            let index = header.nested().find(HEADER_INDEX)?.number()?;
            Some((u32::try_from(index).ok()?, families))
        })
    }

    pub(super) fn drain_route(&mut self, netlink: &mut Netlink) -> Result<()> {
        self.drain(netlink, |message| match message.kind {
            // struct ifinfomsg: family, pad, u16 type, i32 index.
            NEWLINK | DELLINK => Some((message::word(message.payload, 4)?, &["link"][..])),
            _ => None,
        })
    }

    pub(super) fn into_notices(self) -> Vec<Notice> {
        let notice = |(ifindex, families): (u32, BTreeSet<&'static str>)| Notice {
            ifindex,
            families: families.into_iter().collect(),
        };
        self.0.into_iter().filter(|(_, families)| !families.is_empty()).map(notice).collect()
    }

    fn drain(
        &mut self,
        netlink: &mut Netlink,
        read: impl Fn(&Message<'_>) -> Option<(u32, &'static [&'static str])>,
    ) -> Result<()> {
        for _ in 0..DATAGRAMS_MAX {
            match netlink.queued() {
                Ok(Some(datagram)) => {
                    for (index, families) in Messages(datagram).filter_map(|m| read(&m)) {
                        self.0.entry(index).or_default().extend(families);
                    }
                }
                Ok(None) => return Ok(()),
                // The queue overflowed: something was announced that nobody will repeat, so
                // anything may have changed on any NIC.
                Err(Errno::ENOBUFS) => self.0.entry(0).or_default().extend(FAMILIES),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Fault::errno("read kernel notifications", errno as i32, None));
                }
            }
        }
        Ok(())
    }
}

/// The setting families that an `ETHTOOL_MSG_*_NTF` concerns (include/uapi/linux/ethtool_netlink*.h).
fn ethtool_families(command: u8) -> &'static [&'static str] {
    match command {
        3 | 5 => &["link"],
        13 => &["feature"],
        15 => &["private-flag"],
        17 => &["ring"],
        // The kernel spreads RSS anew when the number of channels changes.
        19 => &["channels", "rss"],
        21 => &["coalesce"],
        23 => &["pause"],
        25 => &["eee"],
        50 | 52 | 53 => &["rss"],
        // LINKINFO aside: debug level, wake-on-LAN, cable tests, FEC, modules, PLCA, MM, PHY, PSE.
        _ => &[],
    }
}
