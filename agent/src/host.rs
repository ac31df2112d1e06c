//! The only door to the machine.
//!
//! Everything nicmend learns of a host or does to it passes through [`Host`]. There are two: the real
//! one in [`linux`], and [`sim`], a machine that behaves, for tests and for `nicmend playbook test`.
//! Messages cross the door as the kernel's own bytes (TLVs), so that both sides of it speak uapi.

pub mod burden;
pub mod clock;
pub mod kernel;
pub mod linux;
pub mod nic;
pub mod sim;
pub mod tlv;

use std::{any::Any, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind, Result};

pub use burden::{Burden, Laid};
pub use clock::{Bearings, Clock};
pub use nic::{Nic, NicId};

/// A machine with NICs: the real kernel, or a fake that behaves like one.
pub trait Host: Send + Sync {
    /// A file's text (sysfs, procfs). At most 1 MiB.
    fn read(&self, path: &Path) -> Result<String>;

    /// Writes a file of sysfs or procfs in one write(2), so that the kernel's refusal is ours.
    fn write(&self, path: &Path, text: &str) -> Result<()>;

    /// Which of these texts a file has, however long it is (64 MiB at most): read in parts and not kept. Empty
    /// where the file is.
    fn mentions(&self, path: &Path, words: &[String]) -> Result<Vec<bool>> {
        let text = self.read(path)?;
        let has = |word: &String| text.contains(word.as_str());
        Ok(if text.is_empty() { Vec::new() } else { words.iter().map(has).collect() })
    }

    /// A file's bytes, where it is no text. At most 1 MiB.
    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        self.read(path).map(String::into_bytes)
    }

    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> Result<Vec<String>>;

    /// Where a symbolic link points, as written in it.
    fn target(&self, path: &Path) -> Result<String>;

    /// A file's permission bits (0o644). The kernel's files say by them what may be written at all.
    /// A machine that does not know them says so, and what depends on them counts as read-only.
    fn mode(&self, path: &Path) -> Result<u32> {
        let act = format!("read the mode of {}", path.display());
        Err(Fault::new(Kind::Unsupported, act, "this machine does not tell"))
    }

    /// The symbolic links in a directory, each with where it points; what is no link, or went away
    /// meanwhile, is left out. Where one may not be read, that is the answer (`Denied`).
    fn links(&self, path: &Path) -> Result<Vec<(String, String)>> {
        let names = self.list(path)?.into_iter();
        Ok(names
            .filter_map(|name| Some((name.clone(), self.target(&path.join(&name)).ok()?)))
            .collect())
    }

    /// What stands at a path, links followed to their end; for `/proc/PID/fd/N` what is open there,
    /// whatever it is called by now. Never waits for a network file system's server.
    fn stat(&self, path: &Path) -> Result<Stat> {
        let act = format!("look at {}", path.display());
        Err(Fault::new(Kind::Unsupported, act, "this machine does not tell"))
    }

    /// The protocol of the socket that is open at `/proc/PID/fd/N`, as /proc/net/protocols names it
    /// (`XDP`, `PACKET`, `TCP`).
    fn protocol(&self, path: &Path) -> Result<String> {
        let act = format!("find the protocol of {}", path.display());
        Err(Fault::new(Kind::Unsupported, act, "this machine does not tell"))
    }

    /// These questions, put in another network namespace: the one that stands at `namespace`
    /// (`/proc/PID/ns/net`, or where it is mounted). One answer to each.
    fn elsewhere(&self, namespace: &Path, asks: &[Ask]) -> Result<Vec<Result<Vec<Vec<u8>>>>> {
        let act = format!("ask {} questions in {}", asks.len(), namespace.display());
        Err(Fault::new(Kind::Unsupported, act, "this machine cannot enter other namespaces"))
    }

    /// One exchange with the kernel; the answers' payloads, family headers stripped.
    fn request(&self, ask: &Ask) -> Result<Vec<Vec<u8>>>;

    /// One exchange that may take minutes (a flash, a reset) about `device` (`pci/0000:3b:00.0`), on a channel
    /// of its own: other requests go on meanwhile. `heard` is given what the kernel announces of it, as it
    /// comes: the attributes of each message of the same family and device.
    ///
    /// A call that is in the kernel cannot be taken back. After `limit` it is no longer waited for, and answered
    /// `Held`: what the device does is not known, and until the kernel has answered no other lengthy
    /// exchange about it is begun, by whatever process.
    fn lengthy(
        &self,
        device: &str,
        ask: &Ask,
        limit: Duration,
        heard: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<Vec<Vec<u8>>> {
        let _ = (device, limit, heard);
        self.request(ask)
    }

    /// `Held` while the kernel has such an exchange about `device` that nobody waits for any more: to ask it
    /// anything about that device would be to wait for it in the kernel. Never waits.
    fn free(&self, device: &str) -> Result<()> {
        let _ = device;
        Ok(())
    }

    /// Puts an image where the kernel looks for firmware, as [`crate::plan::firmware::image_name`] says,
    /// durably and whole. Answers the file's path.
    fn place(&self, sha256: &str, bytes: &[u8]) -> Result<String> {
        let act = format!("place image {sha256} of {} bytes", bytes.len());
        Err(Fault::new(Kind::Unsupported, act, "this machine has no firmware path"))
    }

    /// Files that the kernel would, or might, read by the name of this image instead of the one that is
    /// placed: those of the same name in the other directories of its search path.
    fn shadows(&self, sha256: &str) -> Result<Vec<String>> {
        let act = format!("look for other files called {sha256}");
        Err(Fault::new(Kind::Unsupported, act, "this machine has no firmware path"))
    }

    /// Looks again, right before a flash: the image is placed, is byte for byte what its name says, and
    /// nothing shadows it.
    fn still_placed(&self, sha256: &str) -> Result<()> {
        let act = format!("look at image {sha256}");
        Err(Fault::new(Kind::Unsupported, act, "this machine has no firmware path"))
    }

    /// Removes every image placed, and what was made to hold them, and nothing else. What is gone already
    /// is fine.
    fn unplace(&self) -> Result<()> {
        Err(Fault::new(Kind::Unsupported, "remove images", "this machine has no firmware path"))
    }

    /// Has these for itself until the answer is dropped or this process has ended, against every other
    /// process of the machine; `words` tell them who. `Busy` where another has one of them, with its words.
    /// On a machine that is this process's alone there is nobody to keep off.
    fn claim(&self, names: &[String], words: &str) -> Result<Box<dyn Any>> {
        let _ = (names, words);
        Ok(Box::new(()))
    }

    /// Runs a program without a shell, in an empty environment, for at most `limit`; then it is killed.
    /// Answers what it printed, of which only the end is kept. `Io` where it failed, with its words.
    fn program(&self, argv: &[String], limit: Duration) -> Result<String> {
        let act = format!("run {} for at most {} s", argv.join(" "), limit.as_secs());
        Err(Fault::new(Kind::Unsupported, act, "this machine runs no programs"))
    }

    /// What the kernel has announced since the last call (ethtool and rtnetlink notifications).
    /// Never blocks. The first call subscribes and returns nothing.
    fn notices(&self) -> Result<Vec<Notice>>;

    /// The clocks, read together.
    fn now(&self) -> Now;

    /// The host's name and the state of its clock, at most a second old. Never fails: what is not
    /// known is said to be unknown.
    fn bearings(&self) -> Bearings {
        Bearings::unknown()
    }

    /// The kernel's number of the network namespace that this door belongs to. No other gets it in one boot,
    /// unlike the inode's (SO_NETNS_COOKIE, Linux 5.14). `None` where the kernel does not tell.
    fn netns_cookie(&self) -> Option<u64> {
        None
    }

    /// Lets time pass.
    fn wait(&self, time: Duration);

    /// The names of what a burden would leave on the machine if its process were killed now; nothing is
    /// done yet. `Unsupported` where it cannot be laid here, with the reason.
    fn leaves(&self, burden: &Burden) -> Result<Vec<String>> {
        Err(Fault::new(Kind::Unsupported, format!("lay {burden:?}"), "this machine has no burdens"))
    }

    /// Lays a burden on the machine.
    fn burden(&self, burden: &Burden) -> Result<Box<dyn Laid>> {
        Err(Fault::new(Kind::Unsupported, format!("lay {burden:?}"), "this machine has no burdens"))
    }

    /// Removes what a burden left, by its name. What is gone already is fine.
    fn unburden(&self, left: &str) -> Result<()> {
        let act = format!("remove {left}");
        Err(Fault::new(Kind::Unsupported, act, "this machine has no burdens"))
    }
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Major and minor number of the file system it is on.
    pub file_system: (u32, u32),
    pub inode: u64,
    /// Major and minor number, where it is a character device (st_rdev).
    pub device: Option<(u32, u32)>,
    /// Whose it is.
    pub uid: u32,
}

/// A question or command to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Generic netlink; `payload` is the TLVs after the genl header. Answers are TLVs likewise.
    Genl { family: Genl, command: u8, mode: Mode, payload: Vec<u8> },
    /// rtnetlink; `payload` is the family struct (ifinfomsg, …) and its TLVs. Answers likewise.
    Route { kind: u16, mode: Mode, payload: Vec<u8> },
    /// A sock_diag dump of sockets; `payload` is the family's request (`struct inet_diag_req_v2`,
    /// `struct xdp_diag_req`) and its TLVs. Answers are the family's message (`struct inet_diag_msg`, …)
    /// and TLVs, at most `most` of them: the rest of a longer dump is left.
    Diag { payload: Vec<u8>, most: usize },
    /// NETLINK_RDMA's device family (RDMA_NL_NLDEV): `command` is of `enum rdma_nldev_command`;
    /// payload and answers are TLVs.
    Rdma { command: u8, mode: Mode, payload: Vec<u8> },
    /// A dump of one of netfilter's subsystems (NETLINK_NETFILTER); `payload` is `struct nfgenmsg` and its TLVs.
    /// Answers likewise, at most `most` of them.
    Netfilter { subsystem: u8, message: u8, payload: Vec<u8>, most: usize },
    /// SIOCGHWTSTAMP on `nic`, and SIOCSHWTSTAMP with a configuration; answers `struct hwtstamp_config`.
    Stamping { nic: String, config: Option<[u8; 12]> },
    /// SIOCETHTOOL on `nic` with this buffer (its first word is the command); answers the buffer.
    Ethtool { nic: String, buffer: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Genl {
    Ethtool,
    Netdev,
    Devlink,
}

impl Genl {
    /// The family's name in the kernel, resolved to a number at run time.
    pub fn name(self) -> &'static str {
        match self {
            Genl::Ethtool => "ethtool",
            Genl::Netdev => "netdev",
            Genl::Devlink => "devlink",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One object; an acknowledgement ends it.
    Do,
    /// A new object; refused where it is there already (NLM_F_CREATE, NLM_F_EXCL).
    Create,
    /// A new object behind those like it (NLM_F_CREATE, NLM_F_APPEND).
    Append,
    /// An object made, or made to be this (NLM_F_CREATE, NLM_F_REPLACE).
    Replace,
    /// All objects. An interrupted dump (NLM_F_DUMP_INTR) is repeated, a bounded number of times.
    Dump,
}

/// Something changed at the kernel's end, whoever did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// 0: any NIC.
    pub ifindex: u32,
    /// The setting families this may concern (`ring`, `coalesce`, `link`, …).
    pub families: Vec<&'static str>,
    /// What a device announced of itself: `pci/0000:3b:00.0: health reporter fw in error`.
    pub words: Vec<String>,
}

/// UTC for people, monotonic for durations, the boot id to tell one boot's clocks from another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Nanoseconds since 1970, UTC.
    pub utc_ns: i64,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub mono_ns: u64,
    pub boot_id: String,
}
