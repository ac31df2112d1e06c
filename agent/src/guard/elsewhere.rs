//! Other network namespaces: interfaces there that sit on the NIC (a container's macvlan), and other ports and
//! virtual functions of its device that were moved there. An interface in a container is the container's.
//!
//! The namespaces are those of the processes, and those that are mounted (`ip netns`). One that a thread
//! alone is in, or a descriptor alone keeps, is not found.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use policy::holders::{Holder, Signal};

use super::{
    Sign,
    clue::{Found, held, unknown},
    pass::{self, Seen, inode_of},
    scene::{Port, Scene},
};
use crate::{
    fault::Result,
    host::{
        Ask, Host, Mode,
        tlv::{Attrs, Writer},
    },
};

/// Namespaces looked into; a host with more is not looked through to its end.
const NAMESPACES_MAX: usize = 512;
const TIME_NS_MAX: u64 = 2_000_000_000;

/// include/uapi/linux/rtnetlink.h, if_link.h, net_namespace.h.
const RTM_GETLINK: u16 = 18;
const RTM_GETNSID: u16 = 90;
const IFINFOMSG_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PARENT_DEV_NAME: u16 = 56;
/// RTEXT_FILTER_SKIP_STATS.
const SKIP_STATS: u32 = 1 << 3;
const RTGENMSG_BYTES: usize = 4;
const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;

pub(super) struct Elsewhere;

impl Sign for Elsewhere {
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Namespace]
    }

    fn look(&self, _scene: &Scene<'_>) -> Result<Found> {
        Ok(Found::default())
    }

    fn wants_a_pass(&self, scene: &Scene<'_>) -> bool {
        !scene.ports.is_empty()
    }

    fn after(&self, scene: &Scene<'_>, seen: &Seen) -> Vec<Holder> {
        let mut holders = Vec::new();
        let mut closed = Vec::new();
        let namespaces = namespaces(scene.host, seen);
        if namespaces.len() > NAMESPACES_MAX {
            closed.push(format!("{NAMESPACES_MAX} of {} were looked into", namespaces.len()));
        }
        let began = scene.host.now().mono_ns;
        for (inode, (pid, path)) in namespaces.iter().take(NAMESPACES_MAX) {
            if scene.host.now().mono_ns.saturating_sub(began) > TIME_NS_MAX {
                closed.push("they could not be looked through in 2 s".to_owned());
                break;
            }
            match links(scene.host, path) {
                Ok(links) => {
                    let each = scene.ports.iter();
                    holders.extend(each.flat_map(|port| {
                        links.iter().filter_map(|link| {
                            let how = link.held(port)?;
                            let how = format!("{how}, in network namespace {inode}");
                            let holder = held(Signal::Namespace, &port.name, &link.name, how);
                            let process = pid.map(|pid| pass::process(scene.host, pid));
                            Some(Holder { process, ..holder })
                        })
                    }));
                }
                // It is gone with its last process.
                Err(_) if scene.host.stat(path).is_err() => {}
                Err(fault) => closed.push(fault.to_string()),
            }
        }
        // What could not be looked through may be in namespaces of its own.
        closed.extend(seen.gaps.iter().cloned());
        if let Some(first) = closed.first() {
            let how = format!(
                "{} other network namespaces could not be looked into ({first})",
                closed.len()
            );
            holders.extend(
                scene.ports.iter().map(|port| unknown(Signal::Namespace, &port.name, how.clone())),
            );
        }
        holders
    }
}

/// Those of processes, and those mounted (proc_pid_mountinfo(5): root, mount point, …, ` - nsfs `).
fn namespaces(host: &dyn Host, seen: &Seen) -> BTreeMap<u64, (Option<u32>, PathBuf)> {
    let mut all = seen.namespaces.clone();
    let own = host.target(Path::new("/proc/thread-self/ns/net")).unwrap_or_default();
    let mounts = host.read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    for line in mounts.lines().filter(|line| line.contains(" - nsfs ")) {
        let mut words = line.split(' ').skip(3);
        let (Some(root), Some(point)) = (words.next(), words.next()) else { continue };
        if let Some(inode) = inode_of(root).filter(|_| root != own) {
            all.entry(inode).or_insert((None, PathBuf::from(point)));
        }
    }
    all
}

/// An interface of another namespace.
struct Link {
    name: String,
    kind: String,
    /// The interface below it in this namespace, by index.
    below: Option<u32>,
    /// The device behind it: `0000:3b:02.0`.
    parent: Option<String>,
}

impl Link {
    /// How it holds this port, if it does.
    fn held(&self, port: &Port) -> Option<String> {
        if self.below.is_some_and(|below| port.stack.contains(&below)) {
            return Some(format!("{} {} sits on {}", self.kind, self.name, port.name));
        }
        let parent = self.parent.as_ref()?;
        if port.vfs.contains(parent) {
            return Some(format!("{} is virtual function {parent}", self.name));
        }
        let own = port.function.as_ref() == Some(parent);
        own.then(|| format!("{} is an interface of {parent}", self.name))
    }
}

fn links(host: &dyn Host, namespace: &Path) -> Result<Vec<Link>> {
    let mut attributes = Writer::new();
    attributes.u32(IFLA_EXT_MASK, SKIP_STATS);
    let payload = [&[0; IFINFOMSG_BYTES][..], attributes.as_bytes()].concat();
    let dump = Ask::Route { kind: RTM_GETLINK, mode: Mode::Dump, payload };
    let mut asks = vec![dump];
    // Asked after the dump, which gives our namespace a number there if a link needs one.
    asks.extend(ask_our_number(host));
    let mut answers = host.elsewhere(namespace, &asks)?.into_iter();
    let links = answers.next().unwrap_or_else(|| Ok(Vec::new()))?;
    let ours = answers.next().and_then(|answer| our_number(&answer.ok()?));
    Ok(links.iter().filter_map(|answer| parse(answer, ours)).collect())
}

/// What this thread's namespace is called in the other one.
fn ask_our_number(host: &dyn Host) -> Option<Ask> {
    // `1234/task/1250`
    let thread = host.target(Path::new("/proc/thread-self")).ok()?;
    let thread: u32 = thread.rsplit('/').next()?.parse().ok()?;
    let mut attributes = Writer::new();
    attributes.u32(NETNSA_PID, thread);
    let payload = [&[0; RTGENMSG_BYTES][..], attributes.as_bytes()].concat();
    Some(Ask::Route { kind: RTM_GETNSID, mode: Mode::Do, payload })
}

fn our_number(answers: &[Vec<u8>]) -> Option<i32> {
    let attribute = Attrs(answers.first()?.get(RTGENMSG_BYTES..)?).find(NETNSA_NSID)?;
    Some(i32::from_ne_bytes(attribute.payload.try_into().ok()?))
}

/// Where it is not known what ours is called, an interface below in any other namespace may be ours.
fn parse(answer: &[u8], ours: Option<i32>) -> Option<Link> {
    let attributes = Attrs(answer.get(IFINFOMSG_BYTES..)?);
    let number = |kind| {
        let payload: [u8; 4] = attributes.find(kind)?.payload.try_into().ok()?;
        Some(u32::from_ne_bytes(payload))
    };
    let info = attributes.find(IFLA_LINKINFO);
    let kind = info.and_then(|info| info.nested().find(IFLA_INFO_KIND));
    let kind = kind.map(|kind| kind.text().to_owned()).unwrap_or_default();
    let namespace = number(IFLA_LINK_NETNSID).map(u32::cast_signed);
    // A veth's other end is its peer: it is carried by nothing.
    let pair = matches!(kind.as_str(), "veth" | "netkit" | "vxcan");
    let is_ours = namespace.is_some_and(|number| ours.is_none_or(|ours| ours == number));
    Some(Link {
        name: attributes.find(IFLA_IFNAME)?.text().to_owned(),
        below: number(IFLA_LINK).filter(|_| is_ours && !pair),
        parent: attributes.find(IFLA_PARENT_DEV_NAME).map(|parent| parent.text().to_owned()),
        kind,
    })
}
