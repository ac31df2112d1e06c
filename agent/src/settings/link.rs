//! `link.*`: what rtnetlink keeps of an interface.
//!
//! Source: include/uapi/linux/if_link.h, net/core/rtnetlink.c. Written by RTM_SETLINK, whose refusals
//! come in the kernel's own words.

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{plain, resolve, words};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Host, Mode, Nic,
        tlv::{Attrs, Writer},
    },
    setting::{Change, Current, Family, Readings},
};

pub struct Link;

const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFINFOMSG_BYTES: usize = 16;

const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_MIN_MTU: u16 = 50;
const IFLA_MAX_MTU: u16 = 51;
/// RTEXT_FILTER_SKIP_STATS: the counters are not ours to read here.
const SKIP_STATS: u32 = 1 << 3;

/// Below this the kernel takes IPv6 off the interface, with its addresses (RFC 8200 section 5).
const IPV6_MTU_MIN: u64 = 1280;
/// Below this it takes IPv4 off too (RFC 791, `inetdev_valid_mtu`).
const IPV4_MTU_MIN: u64 = 68;

const NAMES: [&str; 2] = ["link.mtu", "link.tx-queue-len"];

impl Family for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let links = links(host, 0, Mode::Dump);
        let of = |nic: &Nic, name: &Name| {
            let links = links.as_ref().map_err(Clone::clone)?;
            current(find(links, nic)?, name, nic)
        };
        nics.iter()
            .map(|nic| {
                let names = NAMES.iter().filter_map(|name| plain::name(name));
                plain::readings(names.map(|name| (name.clone(), of(nic, &name))))
            })
            .collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        let links = links(host, nic.ifindex, Mode::Do);
        let of = |name: &Name| {
            let links = links.as_ref().map_err(|f| f.clone().during(reading(name, nic)))?;
            current(find(links, nic)?, name, nic)
        };
        names.iter().map(of).collect()
    }

    fn resolve(
        &self,
        host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        let value = resolve::number(nic, name, wanted, now)?;
        if name.rest() == "mtu"
            && let Some(why) = no_way_back(host, nic, &value)
        {
            return Err(Fault::new(Kind::Invalid, act, why));
        }
        Ok(value)
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        // One request a change: the kernel does not undo the first attribute when it refuses the next.
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let number = change.to.as_number().and_then(|n| u32::try_from(n).ok());
            let (Some(number), Some(attribute)) = (number, attribute(&change.name)) else {
                return Err(plain::wrong_kind(change, &nic.name));
            };
            let mut attrs = Writer::new();
            attrs.u32(attribute, number);
            let payload = message(nic.ifindex, &attrs);
            let ask = Ask::Route { kind: RTM_SETLINK, mode: Mode::Do, payload };
            host.request(&ask).map_err(|fault| fault.during(plain::change(change, &nic.name)))?;
        }
        Ok(())
    }

    /// The MTU is a matter of the driver: physical NICs size their receive buffers by it.
    fn disruption(&self, nic: &Nic, name: &Name) -> Disruption {
        match (name.rest(), nic.driver.as_str()) {
            // dev_qdisc_change_tx_queue_len stops the queues while the qdisc takes its new limit.
            ("tx-queue-len", _) => Disruption::QueueReset,
            // Queues go down and up behind a link that stays (driver_down/up, close_nic/open_nic).
            ("mtu", "ice" | "i40e" | "iavf" | "bnxt_en" | "sfc" | "ena" | "virtio_net") => {
                Disruption::QueueReset
            }
            // Virtual links only store the number; the vocabulary's row is the least we say.
            ("mtu", "veth" | "tun" | "bridge" | "dummy" | "macvlan" | "802.1Q VLAN Support") => {
                Disruption::QueueReset
            }
            // mlx5 takes the carrier away while it opens new channels; igb, e1000e, ixgbe, tg3 reset.
            (_, _) => Disruption::LinkFlap,
        }
    }

    fn disturbs(&self, _nic: &Nic, name: &Name) -> Vec<&'static str> {
        name.setting().disturbs.to_vec()
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        let line = |change: &Change| {
            let word = if change.name.rest() == "mtu" { "mtu" } else { "txqueuelen" };
            let number = change.to.as_number()?;
            Some(format!("ip link set dev {} {word} {number}", words::quote(&nic.name)))
        };
        batch.iter().filter_map(line).collect()
    }
}

fn reading(name: &Name, nic: &Nic) -> String {
    format!("read {name} of {}", nic.name)
}

fn attribute(name: &Name) -> Option<u16> {
    match name.rest() {
        "mtu" => Some(IFLA_MTU),
        "tx-queue-len" => Some(IFLA_TXQLEN),
        _ => None,
    }
}

/// `struct ifinfomsg` for this interface (0: all), and attributes.
fn message(ifindex: u32, attrs: &Writer) -> Vec<u8> {
    let mut bytes = vec![0; IFINFOMSG_BYTES];
    bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    bytes.extend_from_slice(attrs.as_bytes());
    bytes
}

/// RTM_NEWLINK answers, whole.
fn links(host: &dyn Host, ifindex: u32, mode: Mode) -> Result<Vec<Vec<u8>>> {
    let mut attrs = Writer::new();
    attrs.u32(IFLA_EXT_MASK, SKIP_STATS);
    host.request(&Ask::Route { kind: RTM_GETLINK, mode, payload: message(ifindex, &attrs) })
}

fn find<'a>(links: &'a [Vec<u8>], nic: &Nic) -> Result<Attrs<'a>> {
    let index = nic.ifindex.to_ne_bytes();
    links
        .iter()
        .find(|link| link.get(4..8) == Some(&index))
        .and_then(|link| link.get(IFINFOMSG_BYTES..))
        .map(Attrs)
        .ok_or_else(|| {
            Fault::new(Kind::Gone, format!("read the link {}", nic.name), "no such link")
        })
}

fn current(link: Attrs<'_>, name: &Name, nic: &Nic) -> Result<Current> {
    let number = |kind: u16| link.find(kind).and_then(|attr| attr.number());
    let value = attribute(name).and_then(number);
    let value = value.ok_or_else(|| {
        Fault::new(Kind::Unsupported, reading(name, nic), "the kernel does not report it")
    })?;
    let mut current = Current::of(Value::Number(value));
    if name.rest() == "mtu" {
        current.min = number(IFLA_MIN_MTU);
        // Zero is the kernel's word for no limit.
        current.max = number(IFLA_MAX_MTU).filter(|&max| max > 0);
    }
    Ok(current)
}

/// Why an MTU cannot be undone: the kernel drops addresses that nobody would put back.
fn no_way_back(host: &dyn Host, nic: &Nic, mtu: &Value) -> Option<String> {
    let mtu = mtu.as_number()?;
    if mtu < IPV4_MTU_MIN {
        return Some(format!("below {IPV4_MTU_MIN} bytes the kernel takes IPv4 off the interface"));
    }
    let ipv6 = std::path::PathBuf::from(format!("/proc/sys/net/ipv6/conf/{}", nic.name));
    // No IPv6 on it is the only state in which there is nothing to lose.
    let has_ipv6 = host.list(&ipv6).map_or_else(|fault| fault.kind != Kind::Unsupported, |_| true);
    (mtu < IPV6_MTU_MIN && has_ipv6).then(|| {
        format!(
            "below {IPV6_MTU_MIN} bytes the kernel takes IPv6 and its addresses off the interface"
        )
    })
}
