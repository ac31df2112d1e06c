//! Who has an interface take in everything: people, masters, stacked interfaces, packet sockets, multicast
//! routers. The kernel counts them together. The first three are put back here and their holds with them; a
//! packet socket's hold dies with the interface, and only the socket's owner can take it again.
//!
//! Source: include/uapi/linux/packet_diag.h, net/packet/{diag,af_packet}.c (packet_notifier drops the
//! memberships), net/core/dev.c (dev_set_promiscuity, dev_set_allmulti), net/ipv4/ipmr.c (vif_add).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    device::Device,
    join::{self, Join},
    links::{Link, Links},
    message::word,
    object::{Class, Object},
};
use crate::host::{Ask, Host, tlv::Attrs};

const AF_PACKET: u8 = 17;
/// PACKET_SHOW_MCLIST.
const SHOW_MEMBERSHIPS: u32 = 2;
/// Bytes of `struct packet_diag_req`: u8 family, u8 protocol, u16 pad, u32 inode, show, cookie[2].
const REQUEST_BYTES: usize = 20;
/// Bytes of `struct packet_diag_msg`: u8 family, u8 type, u16 protocol, u32 inode, cookie[2].
const ANSWER_BYTES: usize = 16;
const PACKET_DIAG_MCLIST: u16 = 1;
/// `struct packet_diag_mclist`: u32 index, count; u16 type, address length; u8 address[32].
const MEMBERSHIP_BYTES: usize = 44;
const SOCKETS_MAX: usize = 4096;

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    Promiscuous,
    AllMulticast,
}

impl Hold {
    const ALL: [Hold; 2] = [Hold::Promiscuous, Hold::AllMulticast];

    fn words(self) -> &'static str {
        match self {
            Hold::Promiscuous => "promiscuous mode",
            Hold::AllMulticast => "all-multicast mode",
        }
    }

    /// PACKET_MR_PROMISC, PACKET_MR_ALLMULTI.
    fn of(kind: u16) -> Option<Hold> {
        match kind {
            1 => Some(Hold::Promiscuous),
            2 => Some(Hold::AllMulticast),
            _ => None,
        }
    }

    fn count(self, link: &Link) -> u32 {
        match self {
            Hold::Promiscuous => link.promiscuity,
            Hold::AllMulticast => link.allmulti,
        }
    }

    /// Whether a person asked for it: IFF_PROMISC, IFF_ALLMULTI. The kernel reports these bits only then.
    fn by_flag(self, link: &Link) -> u32 {
        let bit = match self {
            Hold::Promiscuous => 0x100,
            Hold::AllMulticast => 0x200,
        };
        u32::from(link.flags & bit != 0)
    }
}

/// The packet sockets that hold one of these interfaces open for everything.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// Inodes of sockets.
    sockets: BTreeMap<(u32, Hold), BTreeSet<u32>>,
    /// Why they could not be listed.
    unknown: Option<String>,
}

impl Taps {
    /// Asks only where somebody holds one at all.
    pub(super) fn read(host: &dyn Host, links: &Links, dying: &BTreeSet<u32>) -> Taps {
        let of_ours = || dying.iter().filter_map(|index| links.by_index.get(index));
        let mut taps = Taps::default();
        if of_ours().all(|link| link.promiscuity == 0 && link.allmulti == 0) {
            return taps;
        }
        let mut payload = vec![0; REQUEST_BYTES];
        payload[0] = AF_PACKET;
        payload[8..12].copy_from_slice(&SHOW_MEMBERSHIPS.to_ne_bytes());
        match host.request(&Ask::Diag { payload, most: SOCKETS_MAX }) {
            Ok(answers) if answers.len() < SOCKETS_MAX => {
                answers.iter().for_each(|answer| taps.learn(answer));
            }
            Ok(_) => taps.unknown = Some(format!("more than {SOCKETS_MAX} packet sockets")),
            Err(fault) => taps.unknown = Some(fault.to_string()),
        }
        taps
    }

    fn learn(&mut self, answer: &[u8]) {
        let Some((header, attributes)) = answer.split_at_checked(ANSWER_BYTES) else { return };
        let Some(list) = Attrs(attributes).find(PACKET_DIAG_MCLIST) else { return };
        for of in list.payload.chunks_exact(MEMBERSHIP_BYTES) {
            if let Some(hold) = Hold::of(u16::from_ne_bytes([of[8], of[9]])) {
                let known = self.sockets.entry((word(of), hold)).or_default();
                known.insert(word(&header[4..]));
            }
        }
    }

    fn holding(&self, index: u32, hold: Hold) -> u32 {
        self.sockets.get(&(index, hold)).map_or(0, |sockets| sockets.len() as u32)
    }

    /// Leaves in the device's counts what comes back with it.
    pub(super) fn leave_out(&self, device: &mut Device, link: &Link) {
        let rest = |hold: Hold| hold.count(link).saturating_sub(self.holding(link.index, hold));
        device.promiscuity = rest(Hold::Promiscuous);
        device.allmulti = rest(Hold::AllMulticast);
    }

    /// Holds of somebody who is not known, or who cannot be put back: to refuse on.
    pub(super) fn unexplained(
        &self,
        host: &dyn Host,
        links: &Links,
        dying: &BTreeSet<u32>,
        objects: &[Object],
    ) -> Vec<String> {
        let mut found = Vec::new();
        for link in dying.iter().filter_map(|index| links.by_index.get(index)) {
            let routers = routers(host, link);
            found.extend(routers.iter().cloned());
            for hold in Hold::ALL {
                let rest = hold.count(link).saturating_sub(self.holding(link.index, hold));
                let by_kind = || link.master.is_some() || carries(links, link, objects);
                let words = hold.words();
                match &self.unknown {
                    _ if rest <= hold.by_flag(link) => {}
                    Some(why) => {
                        found.push(format!("{words} of {}: whose it is: {why}", link.name));
                    }
                    None if by_kind() || (hold == Hold::AllMulticast && !routers.is_empty()) => {}
                    None => found.push(format!(
                        "{words} of {}: no packet socket, master or stacked interface holds it",
                        link.name
                    )),
                }
            }
        }
        found
    }

    /// The sockets' holds, as joins that nobody else can renew.
    pub(super) fn joins(&self, host: &dyn Host, links: &Links, dying: &BTreeSet<u32>) -> Vec<Join> {
        let ours = || self.sockets.iter().filter(|((index, _), _)| dying.contains(index));
        let inodes = ours().flat_map(|(of, sockets)| {
            sockets.iter().map(move |inode| (format!("socket:[{inode}]"), *of))
        });
        let owners = join::owners(host, &inodes.collect());
        let join = |((index, hold), sockets): (&(u32, Hold), &BTreeSet<u32>)| Join {
            device: links.names.name(*index),
            group: format!("{} (packet socket)", hold.words()),
            users: sockets.len() as u32,
            holders: owners.get(&(*index, *hold)).cloned().unwrap_or_default(),
        };
        ours().map(join).collect()
    }
}

/// Whether something that is put back with it may hold it: an interface on top, or an address of its own that
/// its device has no filter for.
fn carries(links: &Links, link: &Link, objects: &[Object]) -> bool {
    links.by_index.values().any(|above| above.lower == Some(link.index))
        || objects.iter().any(|object| {
            object.class == Class::Fdb && object.message.names().any(|name| name == link.name)
        })
}

/// Multicast routing's virtual interfaces on it: gone with it for good, and the routes through them.
fn routers(host: &dyn Host, link: &Link) -> Vec<String> {
    if link.allmulti == 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (path, words) in [("/proc/net/ip_mr_vif", "IPv4"), ("/proc/net/ip6_mr_vif", "IPv6")] {
        let text = host.read(Path::new(path)).unwrap_or_default();
        // ` 0 eth1       0       0         0       0 00000 0101010A 00000000`
        let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
        if names.into_iter().any(|name| name == link.name) {
            found.push(format!("{words} multicast routing through {}: its daemon's", link.name));
        }
    }
    found
}
