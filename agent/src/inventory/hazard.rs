//! Reads that some drivers cannot stand, kept away from them at the door.
//!
//! A dump asks every NIC of the host, also the one whose driver hangs in the answer. [`Careful`] is
//! a [`Host`] that knows which reads the catalog warns of: it turns such a dump into single requests
//! to the NICs that can stand it, and refuses the read for those that cannot. Whoever polls NICs
//! (inventory, counters) goes through it.

use std::{path::Path, sync::OnceLock, time::Duration};

use firmware_catalog::{Catalog, Issue, Read, Subject, read_hazard};

use super::device;
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Genl, Host, Mode, Nic, Notice, Now, Stat,
        tlv::{Attrs, Writer},
    },
};

/// ETHTOOL_MSG_* of include/uapi/linux/ethtool_netlink_generated.h.
const COALESCE_GET: u8 = 19;
const STATS_GET: u8 = 32;
const RSS_GET: u8 = 38;
/// NETDEV_CMD_QSTATS_GET.
const QSTATS_GET: u8 = 12;
/// ETHTOOL_A_*_HEADER and what is in it.
const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const HEADER_DEV_NAME: u16 = 2;
const HEADER_FLAGS: u16 = 3;

/// The machine, minus the reads that hurt it.
pub struct Careful<'a> {
    host: &'a dyn Host,
    nics: &'a [Nic],
    /// How far a dump may reach.
    reach: Reach,
}

/// Which NICs a request to all may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of the host's: the NICs given are all there are.
    Everywhere,
    /// Only those given: nobody asked about the others.
    Given,
}

impl<'a> Careful<'a> {
    pub fn new(host: &'a dyn Host, nics: &'a [Nic], reach: Reach) -> Careful<'a> {
        Careful { host, nics, reach }
    }

    /// One dump's worth of answers, from each NIC that can stand the read.
    fn one_by_one(&self, command: u8, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut answers = Vec::new();
        for nic in
            self.nics.iter().filter(|nic| refusal(self.host, nic, read_of(command)).is_none())
        {
            let payload = addressed(payload, nic);
            let ask = Ask::Genl { family: Genl::Ethtool, command, mode: Mode::Do, payload };
            match self.host.request(&ask) {
                Ok(answer) => answers.extend(answer),
                // As in a dump: a driver without the operation is left out, a failing one ends it.
                Err(fault) if fault.kind == Kind::Unsupported && self.nics.len() > 1 => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(answers)
    }

    /// A read of the ethtool family, by dump; where a driver's failure ends the dump for all, from
    /// each NIC that answers. `payload` is the request's attributes.
    pub fn dump(&self, command: u8, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (family, mode, owned) = (Genl::Ethtool, Mode::Dump, payload.to_vec());
        match self.request(&Ask::Genl { family, command, mode, payload: owned }) {
            Err(fault) if fault.kind != Kind::Unsupported => {
                let single = |nic: &Nic| {
                    let payload = addressed(payload, nic);
                    let ask = Ask::Genl { family, command, mode: Mode::Do, payload };
                    self.request(&ask).unwrap_or_default()
                };
                Ok(self.nics.iter().flat_map(single).collect())
            }
            answers => answers,
        }
    }

    fn check(&self, nic: Option<&Nic>, read: Option<Read>) -> Result<()> {
        match nic.and_then(|nic| refusal(self.host, nic, read).map(|issue| (nic, issue))) {
            Some((nic, issue)) => {
                Err(Fault::new(Kind::Unsupported, format!("read {}", nic.name), why(issue)))
            }
            None => Ok(()),
        }
    }

    fn ethtool(&self, ask: &Ask, command: u8, mode: Mode, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        let read = read_of(command);
        match mode {
            Mode::Do | Mode::Create | Mode::Append | Mode::Replace => {
                let header = Attrs(payload).find(HEADER).map(|header| header.nested());
                let find = |kind| header.and_then(|header| header.find(kind));
                let index = find(HEADER_DEV_INDEX).and_then(|index| index.number());
                let name = find(HEADER_DEV_NAME).map(|name| name.text());
                let nic = self.nics.iter().find(|nic| {
                    index == Some(u64::from(nic.ifindex)) || name == Some(nic.name.as_str())
                });
                self.check(nic, read)?;
                self.host.request(ask)
            }
            Mode::Dump => {
                let harmless = self.nics.iter().all(|nic| refusal(self.host, nic, read).is_none());
                match self.reach {
                    Reach::Everywhere if harmless => self.host.request(ask),
                    Reach::Everywhere | Reach::Given => self.one_by_one(command, payload),
                }
            }
        }
    }
}

/// The catalog that this process's inventory goes by: the shipped one, until a site's is adopted.
pub(super) fn in_force() -> &'static Catalog {
    IN_FORCE.get_or_init(Catalog::shipped)
}

static IN_FORCE: OnceLock<Catalog> = OnceLock::new();

/// Lets a site's catalog govern what this process reads, and what it calls a model. Once, before the first of them: what was read
/// by then went by the shipped one, and goes on doing so.
pub fn adopt(catalog: &Catalog) {
    let _ = IN_FORCE.set(catalog.clone());
}

/// The issue that forbids this read of this NIC.
pub fn refusal(host: &dyn Host, nic: &Nic, read: Option<Read>) -> Option<&'static Issue> {
    let read = read?;
    let issue = |in_tree: Option<bool>| {
        let subject = Subject {
            driver: nic.driver.clone(),
            in_tree,
            kernel_base: nic.kernel_base.clone(),
            ..Subject::default()
        };
        read_hazard(in_force(), &subject, read)
    };
    // For nearly every NIC the answer does not hang by where its driver came from.
    match (issue(Some(true)), issue(Some(false))) {
        (None, None) => None,
        (Some(issue), Some(_)) => Some(issue),
        (Some(_), None) | (None, Some(_)) => issue(device::in_tree(host, &nic.driver)),
    }
}

/// The sentence that an operator sees in place of the value.
pub fn why(issue: &Issue) -> String {
    format!("not read: {} on this driver and kernel ({})", issue.title, issue.id)
}

/// The read that all of a setting family's values come from, where the catalog knows of hazards.
pub fn read_of_family(family: &str) -> Option<Read> {
    match family {
        "coalesce" => Some(Read::Coalesce),
        "rss" => Some(Read::Rss),
        _ => None,
    }
}

fn read_of(command: u8) -> Option<Read> {
    match command {
        COALESCE_GET => Some(Read::Coalesce),
        RSS_GET => Some(Read::Rss),
        STATS_GET => Some(Read::Stats),
        _ => None,
    }
}

/// ETHTOOL_GCOALESCE, ETHTOOL_GRXFHINDIR, ETHTOOL_GRSSH, ETHTOOL_GSTATS.
fn read_of_ioctl(buffer: &[u8]) -> Option<Read> {
    let command = buffer.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))?;
    match command {
        0x0e => Some(Read::Coalesce),
        0x38 | 0x46 => Some(Read::Rss),
        0x1d => Some(Read::Stats),
        _ => None,
    }
}

/// The same question, put to one NIC: its index and name go into the request's header, so that the
/// kernel refuses where they have come apart.
fn addressed(payload: &[u8], nic: &Nic) -> Vec<u8> {
    let flags = Attrs(payload).find(HEADER).and_then(|header| {
        let flags = header.nested().find(HEADER_FLAGS)?.number()?;
        u32::try_from(flags).ok()
    });
    let mut header = Writer::new();
    header.u32(HEADER_DEV_INDEX, nic.ifindex).text(HEADER_DEV_NAME, &nic.name);
    if let Some(flags) = flags {
        header.u32(HEADER_FLAGS, flags);
    }
    let mut writer = Writer::new();
    writer.nest(HEADER, &header);
    let mut bytes = writer.into_bytes();
    // The other attributes go along untouched, their flag bits included.
    let mut rest = payload;
    while let Some((attribute, kind, after)) = split(rest) {
        if kind != HEADER {
            bytes.extend_from_slice(attribute);
        }
        rest = after;
    }
    bytes
}

/// The first attribute as its bytes and kind, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], u16, &[u8])> {
    let kind = Attrs(bytes).next()?.kind;
    let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
    let end = length.next_multiple_of(4).min(bytes.len());
    Some((&bytes[..end], kind, &bytes[end..]))
}

impl Host for Careful<'_> {
    fn request(&self, ask: &Ask) -> Result<Vec<Vec<u8>>> {
        match ask {
            Ask::Genl { family: Genl::Ethtool, command, mode, payload } => {
                self.ethtool(ask, *command, *mode, payload)
            }
            Ask::Genl { family: Genl::Netdev, command: QSTATS_GET, .. } => {
                self.nics.iter().try_for_each(|nic| self.check(Some(nic), Some(Read::Stats)))?;
                self.host.request(ask)
            }
            Ask::Genl { family: Genl::Netdev | Genl::Devlink, .. }
            | Ask::Route { .. }
            | Ask::Diag { .. }
            | Ask::Rdma { .. }
            | Ask::Netfilter { .. }
            | Ask::Stamping { .. } => self.host.request(ask),
            Ask::Ethtool { nic, buffer } => {
                let known = self.nics.iter().find(|known| known.name == *nic);
                self.check(known, read_of_ioctl(buffer))?;
                self.host.request(ask)
            }
        }
    }

    fn read(&self, path: &Path) -> Result<String> {
        self.host.read(path)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        self.host.write(path, text)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.host.list(path)
    }

    fn target(&self, path: &Path) -> Result<String> {
        self.host.target(path)
    }

    fn mode(&self, path: &Path) -> Result<u32> {
        self.host.mode(path)
    }

    fn links(&self, path: &Path) -> Result<Vec<(String, String)>> {
        self.host.links(path)
    }

    fn stat(&self, path: &Path) -> Result<Stat> {
        self.host.stat(path)
    }

    fn protocol(&self, path: &Path) -> Result<String> {
        self.host.protocol(path)
    }

    fn elsewhere(&self, namespace: &Path, asks: &[Ask]) -> Result<Vec<Result<Vec<Vec<u8>>>>> {
        self.host.elsewhere(namespace, asks)
    }

    fn notices(&self) -> Result<Vec<Notice>> {
        self.host.notices()
    }

    fn now(&self) -> Now {
        self.host.now()
    }

    fn wait(&self, time: Duration) {
        self.host.wait(time);
    }
}
