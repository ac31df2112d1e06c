//! The real machine: netlink, ioctl, sysfs and procfs of the running kernel.
//!
//! A [`Linux`] belongs to the network namespace that its thread was in when it was opened: its
//! sockets stay there whatever its users' threads do, and what follows the thread instead
//! (`/proc/sys/net`) is refused from any other namespace.

// This is the door: it reads the machine and its clocks for everyone else.
#![allow(clippy::disallowed_methods)]

pub(crate) mod burden;
mod claim;
mod clock;
mod devlink;
mod elsewhere;
mod files;
mod genl;
mod grip;
mod image;
mod ioctl;
mod lengthy;
mod message;
mod notices;
mod program;
mod socket;
mod stat;
mod sysfs;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use self::{files::Files, genl::Family, ioctl::Ethtool, notices::Gathered, socket::Netlink};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Bearings, Burden, Genl, Host, Laid, Mode, Notice, Now, Stat, tlv::Attrs},
};

/// NETLINK_ROUTE and NETLINK_GENERIC of include/uapi/linux/netlink.h.
const ROUTE: isize = 0;
const GENERIC: isize = 16;
/// NETLINK_SOCK_DIAG, and SOCK_DIAG_BY_FAMILY of include/uapi/linux/sock_diag.h.
const SOCK_DIAG: isize = 4;
const DIAG_BY_FAMILY: u16 = 20;
/// NETLINK_RDMA; RDMA_NL_NLDEV of include/uapi/rdma/rdma_netlink.h, and where a type's command begins.
const RDMA: isize = 20;
const NLDEV: u16 = 5;
const RDMA_CLIENT_SHIFT: u16 = 10;
/// NETLINK_NETFILTER; where a type's message begins (include/uapi/linux/netfilter/nfnetlink.h).
const NETFILTER: isize = 12;
const SUBSYSTEM_SHIFT: u16 = 8;
const RTM_GETLINK: u16 = 18;
/// Bytes of `struct ifinfomsg`; all zero asks for every interface.
const IFINFOMSG_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;

/// The running kernel, seen from one network namespace.
pub struct Linux {
    generic: Mutex<Generic>,
    route: Mutex<Netlink>,
    ethtool: Ethtool,
    announcements: Mutex<Announcements>,
    files: Files,
    boot_id: String,
    watch: Mutex<clock::Watch>,
}

/// The generic netlink socket with the families asked for so far.
struct Generic {
    netlink: Netlink,
    families: Vec<(Genl, Family)>,
}

struct Announcements {
    ethtool: Netlink,
    route: Netlink,
    devlink: Netlink,
    /// The numbers of ethtool's family and of devlink's, where there is one, once subscribed.
    subscribed: Option<(u16, Option<u16>)>,
}

impl Linux {
    /// Opens the machine as the calling thread's network namespace shows it. Reading needs no
    /// privilege where the kernel asks for none.
    pub fn new() -> Result<Linux> {
        let mut route = Netlink::open(ROUTE)?;
        let links = links(&mut route)?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|e| {
            let errno = e.raw_os_error().unwrap_or(libc::EIO);
            Fault::errno("read /proc/sys/kernel/random/boot_id", errno, None)
        })?;
        Ok(Linux {
            generic: Mutex::new(Generic { netlink: Netlink::open(GENERIC)?, families: Vec::new() }),
            route: Mutex::new(route),
            ethtool: Ethtool::open()?,
            announcements: Mutex::new(Announcements {
                ethtool: Netlink::open(GENERIC)?,
                route: Netlink::open(ROUTE)?,
                devlink: Netlink::open(GENERIC)?,
                subscribed: None,
            }),
            files: Files { sysfs: sysfs::open(&links), netns: files::netns()? },
            boot_id: boot_id.trim().to_owned(),
            watch: Mutex::default(),
        })
    }

    /// The inode of the network namespace this door belongs to.
    pub fn netns(&self) -> u64 {
        self.files.netns
    }
}

impl Host for Linux {
    fn read(&self, path: &Path) -> Result<String> {
        self.files.read(path)
    }

    fn mentions(&self, path: &Path, words: &[String]) -> Result<Vec<bool>> {
        self.files.mentions(path, words)
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        self.files.bytes(path)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        self.files.write(path, text)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.files.list(path)
    }

    fn target(&self, path: &Path) -> Result<String> {
        self.files.target(path)
    }

    fn mode(&self, path: &Path) -> Result<u32> {
        self.files.mode(path)
    }

    fn links(&self, path: &Path) -> Result<Vec<(String, String)>> {
        self.files.links(path)
    }

    fn stat(&self, path: &Path) -> Result<Stat> {
        self.files.stat(path)
    }

    fn protocol(&self, path: &Path) -> Result<String> {
        self.files.protocol(path)
    }

    fn elsewhere(&self, namespace: &Path, asks: &[Ask]) -> Result<Vec<Result<Vec<Vec<u8>>>>> {
        let act = format!("enter the network namespace {}", namespace.display());
        let namespace = self.files.namespace(&act, namespace)?;
        elsewhere::ask(&act, &namespace, asks)
    }

    fn request(&self, ask: &Ask) -> Result<Vec<Vec<u8>>> {
        match ask {
            Ask::Genl { family, command, mode, payload } => {
                // It holds the device's lock meanwhile, and we would be in the kernel for as long.
                if *family == Genl::Devlink {
                    grip::answers(payload)?;
                }
                lock(&self.generic).exchange(*family, *command, *mode, payload)
            }
            Ask::Route { kind, mode, payload } => {
                let act = format!("rtnetlink request {kind}");
                lock(&self.route).exchange(&act, *kind, *mode, payload)
            }
            Ask::Diag { payload, most } => {
                self.files.check_namespace(LIST_SOCKETS)?;
                diag(Netlink::open(SOCK_DIAG)?, payload, *most)
            }
            Ask::Rdma { command, mode, payload } => {
                self.files.check_namespace("ask the RDMA devices")?;
                rdma(*command, *mode, payload)
            }
            Ask::Netfilter { subsystem, message, payload, most } => {
                self.files.check_namespace("ask netfilter")?;
                netfilter((*subsystem, *message), payload, *most)
            }
            Ask::Stamping { nic, config } => Ok(vec![self.ethtool.stamping(nic, config.as_ref())?]),
            Ask::Ethtool { nic, buffer } => Ok(vec![self.ethtool.exchange(nic, buffer)?]),
        }
    }

    fn lengthy(
        &self,
        device: &str,
        ask: &Ask,
        limit: Duration,
        heard: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<Vec<Vec<u8>>> {
        match ask {
            Ask::Genl { family, command, mode, payload } => {
                self.files.check_namespace("ask the kernel")?;
                let message = (*family, *command, *mode);
                lengthy::exchange((device, limit), message, payload, heard)
            }
            Ask::Ethtool { nic, buffer } => {
                self.files.check_namespace("ask the kernel")?;
                lengthy::ethtool((device, limit), nic, buffer)
            }
            Ask::Route { .. }
            | Ask::Rdma { .. }
            | Ask::Diag { .. }
            | Ask::Netfilter { .. }
            | Ask::Stamping { .. } => self.request(ask),
        }
    }

    fn free(&self, device: &str) -> Result<()> {
        grip::free(device)
    }

    fn place(&self, sha256: &str, bytes: &[u8]) -> Result<String> {
        image::place(sha256, bytes)
    }

    fn shadows(&self, sha256: &str) -> Result<Vec<String>> {
        image::shadows(sha256)
    }

    fn still_placed(&self, sha256: &str) -> Result<()> {
        image::still_placed(sha256)
    }

    fn unplace(&self) -> Result<()> {
        image::unplace()
    }

    fn claim(&self, names: &[String], words: &str) -> Result<Box<dyn std::any::Any>> {
        claim::take(names, words)
    }

    fn program(&self, argv: &[String], limit: Duration) -> Result<String> {
        program::run(argv, limit)
    }

    fn notices(&self) -> Result<Vec<Notice>> {
        lock(&self.announcements).collect()
    }

    fn now(&self) -> Now {
        let ns = |clock| match clock_gettime(clock) {
            Ok(time) => i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()),
            // Both clocks exist on every kernel since 2.6.39; there is no other way to fail.
            Err(_) => 0,
        };
        Now {
            utc_ns: i64::try_from(ns(ClockId::CLOCK_REALTIME)).unwrap_or(i64::MAX),
            mono_ns: u64::try_from(ns(ClockId::CLOCK_BOOTTIME)).unwrap_or(0),
            boot_id: self.boot_id.clone(),
        }
    }

    fn bearings(&self) -> Bearings {
        lock(&self.watch).bearings(self.now().mono_ns)
    }

    fn netns_cookie(&self) -> Option<u64> {
        self.ethtool.netns_cookie()
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn leaves(&self, burden: &Burden) -> Result<Vec<String>> {
        burden::leaves(burden)
    }

    fn burden(&self, burden: &Burden) -> Result<Box<dyn Laid>> {
        burden::lay(burden)
    }

    fn unburden(&self, left: &str) -> Result<()> {
        burden::unburden(left)
    }
}

const LIST_SOCKETS: &str = "list sockets";

/// On a socket of its own: closing it ends a dump that is not read to its end.
fn diag(netlink: Netlink, payload: &[u8], most: usize) -> Result<Vec<Vec<u8>>> {
    netlink.at_most(most).exchange(LIST_SOCKETS, DIAG_BY_FAMILY, Mode::Dump, payload)
}

fn rdma(command: u8, mode: Mode, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
    let act = format!("RDMA netlink command {command}");
    let kind = NLDEV << RDMA_CLIENT_SHIFT | u16::from(command);
    Netlink::open(RDMA)?.exchange(&act, kind, mode, payload)
}

fn netfilter((subsystem, message): (u8, u8), payload: &[u8], most: usize) -> Result<Vec<Vec<u8>>> {
    let act = format!("netfilter subsystem {subsystem} message {message}");
    let kind = u16::from(subsystem) << SUBSYSTEM_SHIFT | u16::from(message);
    Netlink::open(NETFILTER)?.at_most(most).exchange(&act, kind, Mode::Dump, payload)
}

impl Generic {
    fn exchange(
        &mut self,
        family: Genl,
        command: u8,
        mode: Mode,
        payload: &[u8],
    ) -> Result<Vec<Vec<u8>>> {
        let id = self.family(family)?.id;
        let act = format!("{} netlink command {command}", family.name());
        let message = genl::message(command, payload);
        let mut answers = self.netlink.exchange(&act, id, mode, &message)?;
        for answer in &mut answers {
            if answer.len() < genl::HEADER_BYTES {
                return Err(Fault::new(Kind::Malformed, act, "the answer has no header"));
            }
            answer.drain(..genl::HEADER_BYTES);
        }
        Ok(answers)
    }

    /// Asked once a family; a missing one is asked for again, since a module may bring it.
    fn family(&mut self, family: Genl) -> Result<Family> {
        if let Some((_, known)) = self.families.iter().find(|(name, _)| *name == family) {
            return Ok(known.clone());
        }
        let found = genl::resolve(&mut self.netlink, family)?;
        self.families.push((family, found.clone()));
        Ok(found)
    }
}

impl Announcements {
    fn collect(&mut self) -> Result<Vec<Notice>> {
        let Some((family, devlink)) = self.subscribed else {
            self.subscribed = Some(self.subscribe()?);
            return Ok(Vec::new());
        };
        let mut gathered = Gathered::default();
        gathered.drain_ethtool(&mut self.ethtool, family)?;
        gathered.drain_route(&mut self.route)?;
        if let Some(devlink) = devlink {
            gathered.drain_devlink(&mut self.devlink, devlink)?;
        }
        Ok(gathered.into_notices())
    }

    fn subscribe(&mut self) -> Result<(u16, Option<u16>)> {
        let family = genl::resolve(&mut self.ethtool, Genl::Ethtool)?;
        let group = family.group("monitor").ok_or_else(|| {
            Fault::new(Kind::Unsupported, "watch ethtool changes", "no group named monitor")
        })?;
        self.ethtool.join(group)?;
        self.route.join(notices::LINK_GROUP)?;
        // Without the family there is no such device either.
        let family_of_devices = match genl::resolve(&mut self.devlink, Genl::Devlink) {
            Err(fault) if fault.kind == Kind::Unsupported => None,
            Err(fault) => return Err(fault),
            Ok(family) => Some(family),
        };
        let group = family_of_devices.as_ref().and_then(|family| family.group(devlink::GROUP));
        if let Some(group) = group {
            self.devlink.join(group)?;
        }
        Ok((family.id, family_of_devices.map(|family| family.id)))
    }
}

/// Name and index of every interface in the socket's namespace.
fn links(route: &mut Netlink) -> Result<BTreeSet<(String, u32)>> {
    let ask = [0; IFINFOMSG_BYTES];
    let answers = route.exchange("list the interfaces", RTM_GETLINK, Mode::Dump, &ask)?;
    let link = |answer: &Vec<u8>| {
        let name = Attrs(answer.get(IFINFOMSG_BYTES..)?).find(IFLA_IFNAME)?.text().to_owned();
        Some((name, message::word(answer, 4)?))
    };
    Ok(answers.iter().filter_map(link).collect())
}

/// A thread that panicked in here left at worst late answers, which the socket skips by itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
