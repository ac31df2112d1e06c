//! Requests of the ethtool netlink family, as all its settings need them.
//!
//! Every message begins with a header that names the NIC. Ours gives both index and name: the kernel
//! refuses where they do not belong together, so a renamed NIC is never written by mistake.
//!
//! Source: Documentation/networking/ethtool-netlink.rst, net/ethtool/netlink.c
//! `ethnl_parse_header_dev_get`.

use std::collections::BTreeMap;

use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Genl, Host, Mode, Nic,
        tlv::{Attrs, Writer},
    },
};

/// Attribute 1 of every ethtool message (`ETHTOOL_A_*_HEADER`).
const HEADER: u16 = 1;
/// `ETHTOOL_A_HEADER_*`.
const DEV_INDEX: u16 = 1;
const DEV_NAME: u16 = 2;
const FLAGS: u16 = 3;

/// How bit sets come back (`ETHTOOL_FLAG_COMPACT_BITSETS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bitsets {
    /// A list of bits, each with its name.
    Verbose,
    /// Bit maps; the names are in the string set.
    Compact,
}

/// What `command` (a GET) says of one NIC: the attributes of its reply.
pub(crate) fn get(host: &dyn Host, command: u8, bitsets: Bitsets, nic: &Nic) -> Result<Vec<u8>> {
    let mut header = of_nic(nic);
    flags(&mut header, bitsets);
    let mut body = Writer::new();
    body.nest(HEADER, &header);
    let answer = ask(host, command, Mode::Do, body)?.into_iter().next();
    answer.ok_or_else(|| {
        Fault::new(
            Kind::Malformed,
            format!("ask about {}", nic.name),
            "the kernel answered nothing",
        )
    })
}

/// The same for many NICs, with one dump. A NIC that the dump leaves out has no such settings.
///
/// The kernel breaks a dump off at the first driver that fails, so where it fails each NIC is asked.
pub(super) fn get_each(
    host: &dyn Host,
    command: u8,
    bitsets: Bitsets,
    nics: &[Nic],
) -> Vec<Result<Vec<u8>>> {
    let singly = || nics.iter().map(|nic| get(host, command, bitsets, nic)).collect();
    if nics.len() < 2 {
        return singly();
    }
    let mut header = Writer::new();
    flags(&mut header, bitsets);
    let mut body = Writer::new();
    body.nest(HEADER, &header);
    let Ok(answers) = ask(host, command, Mode::Dump, body) else { return singly() };
    let indexed = answers.into_iter().filter_map(|answer| Some((index(&answer)?, answer)));
    let mut by_index: BTreeMap<u64, Vec<u8>> = indexed.collect();
    let take = |nic: &Nic| {
        by_index.remove(&u64::from(nic.ifindex)).ok_or_else(|| {
            let act = format!("ask about {}", nic.name);
            Fault::new(Kind::Unsupported, act, "the driver has no such settings (EOPNOTSUPP)")
        })
    };
    nics.iter().map(take).collect()
}

/// Sends `command` (a SET) with these attributes for one NIC.
pub(crate) fn set(host: &dyn Host, command: u8, nic: &Nic, attributes: &Writer) -> Result<()> {
    let mut body = Writer::new();
    body.nest(HEADER, &of_nic(nic));
    body.append(attributes);
    ask(host, command, Mode::Do, body).map(|_| ())
}

/// Asks something that concerns no NIC: the header is there, and empty.
pub(super) fn ask_all(host: &dyn Host, command: u8, attributes: &Writer) -> Result<Vec<Vec<u8>>> {
    let mut body = Writer::new();
    body.nest(HEADER, &Writer::new()).append(attributes);
    ask(host, command, Mode::Do, body)
}

fn ask(host: &dyn Host, command: u8, mode: Mode, body: Writer) -> Result<Vec<Vec<u8>>> {
    let family = Genl::Ethtool;
    host.request(&Ask::Genl { family, command, mode, payload: body.into_bytes() })
}

fn of_nic(nic: &Nic) -> Writer {
    let mut header = Writer::new();
    header.u32(DEV_INDEX, nic.ifindex).text(DEV_NAME, &nic.name);
    header
}

fn flags(header: &mut Writer, bitsets: Bitsets) {
    match bitsets {
        Bitsets::Verbose => {}
        Bitsets::Compact => {
            header.u32(FLAGS, 1);
        }
    }
}

fn index(answer: &[u8]) -> Option<u64> {
    Attrs(answer).find(HEADER)?.nested().find(DEV_INDEX)?.number()
}
