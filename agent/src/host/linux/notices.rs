//! What the kernel announces of its own accord: ethtool, rtnetlink and devlink notifications.
//!
//! Source: net/ethtool/netlink.c (`ethnl_notify`), net/core/rtnetlink.c (RTNLGRP_LINK),
//! net/devlink/{dev,param,health}.c (group `config`).

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;

use super::{
    devlink, genl,
    message::{self, Message, Messages},
    socket::Netlink,
};
use crate::{
    fault::{Fault, Result},
    host::{Notice, tlv::Attrs},
};

/// Every family that the kernel can announce a change of.
pub(super) const FAMILIES: [&str; 10] = [
    "ring",
    "coalesce",
    "channels",
    "feature",
    "private-flag",
    "pause",
    "eee",
    "rss",
    "link",
    "devlink-param",
];

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

/// Sentences kept of one gathering.
const WORDS_MAX: usize = 64;

/// An interface (0: any), the setting families concerned, and what to tell people.
type Announced = (u32, &'static [&'static str], Option<String>);

/// Changes seen, gathered so that a storm of announcements stays small.
#[derive(Default)]
pub(super) struct Gathered {
    families: BTreeMap<u32, BTreeSet<&'static str>>,
    words: BTreeSet<String>,
}

impl Gathered {
    pub(super) fn drain_ethtool(&mut self, netlink: &mut Netlink, family: u16) -> Result<()> {
        self.drain(netlink, |message| {
            if message.kind != family {
                return None;
            }
            let families = ethtool_families(*message.payload.first()?);
            let header = Attrs(message.payload.get(genl::HEADER_BYTES..)?).find(HEADER)?;
            let index = header.nested().find(HEADER_INDEX)?.number()?;
            Some((u32::try_from(index).ok()?, families, None))
        })
    }

    /// A device's own announcements carry no interface, so they concern any.
    pub(super) fn drain_devlink(&mut self, netlink: &mut Netlink, family: u16) -> Result<()> {
        self.drain(netlink, |message| {
            if message.kind != family {
                return None;
            }
            let attrs = Attrs(message.payload.get(genl::HEADER_BYTES..)?);
            let (families, words) = devlink::announced(*message.payload.first()?, attrs)?;
            Some((0, families, words))
        })
    }

    pub(super) fn drain_route(&mut self, netlink: &mut Netlink) -> Result<()> {
        self.drain(netlink, |message| match message.kind {
            // struct ifinfomsg: family, pad, u16 type, i32 index.
            NEWLINK | DELLINK => Some((message::word(message.payload, 4)?, &["link"][..], None)),
            _ => None,
        })
    }

    pub(super) fn into_notices(self) -> Vec<Notice> {
        let Gathered { mut families, mut words } = self;
        families.retain(|_, families| !families.is_empty());
        if !words.is_empty() {
            families.entry(0).or_default();
        }
        let notice = |(ifindex, families): (u32, BTreeSet<&'static str>)| {
            let words = if ifindex == 0 { std::mem::take(&mut words) } else { BTreeSet::new() };
            let families = families.into_iter().collect();
            Notice { ifindex, families, words: words.into_iter().collect() }
        };
        families.into_iter().map(notice).collect()
    }

    fn drain(
        &mut self,
        netlink: &mut Netlink,
        read: impl Fn(&Message<'_>) -> Option<Announced>,
    ) -> Result<()> {
        for _ in 0..DATAGRAMS_MAX {
            match netlink.queued() {
                Ok(Some(datagram)) => {
                    for (index, families, words) in Messages(datagram).filter_map(|m| read(&m)) {
                        self.families.entry(index).or_default().extend(families);
                        if self.words.len() < WORDS_MAX {
                            self.words.extend(words);
                        }
                    }
                }
                Ok(None) => return Ok(()),
                // The queue overflowed: something was announced that nobody will repeat, so
                // anything may have changed on any NIC.
                Err(Errno::ENOBUFS) => self.families.entry(0).or_default().extend(FAMILIES),
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
