//! Addresses, with their flags, scopes, peers, labels and lifetimes.
//!
//! Source: include/uapi/linux/if_addr.h, net/ipv4/devinet.c, net/ipv6/addrconf.c.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    links::Links,
    message::{Builder, dump, raw, word},
    object::{Class, Lifetime, Maker, Object, ip},
};
use crate::{
    fault::Result,
    host::{
        Host,
        tlv::{Attrs, Writer},
    },
};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// Bytes of `struct ifaddrmsg`: u8 family, u8 prefixlen, u8 flags, u8 scope, u32 index.
const IFADDRMSG_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
/// What somebody asks of an address: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN,
/// STABLE_PRIVACY. The other flags are states of the moment (tentative, dadfailed, deprecated).
const FLAGS_ASKED: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400 | 0x800;
/// IFA_F_SECONDARY; on IPv6 it means a temporary address, which the kernel makes.
const SECONDARY: u32 = 0x01;
const MANAGETEMPADDR: u32 = 0x100;
/// IFAPROT_KERNEL_*: loopback, router advertisement, link-local.
const PROTO_KERNEL: std::ops::RangeInclusive<u64> = 1..=3;
const AF_INET6: u8 = 10;
const FOREVER: u32 = u32::MAX;

/// The addresses of these interfaces.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) objects: Vec<Object>,
    /// The addresses themselves, as bytes: routes prefer them.
    pub(super) locals: BTreeSet<Vec<u8>>,
    /// Those of them that the kernel makes at random, and for a time.
    pub(super) temporary: BTreeSet<Vec<u8>>,
}

pub(super) fn read(host: &dyn Host, links: &Links, dying: &BTreeSet<u32>) -> Result<Addresses> {
    let answers = dump(host, RTM_GETADDR, &[0; IFADDRMSG_BYTES], "addresses")?;
    let mut found = Addresses::default();
    let mut order: BTreeMap<u32, u32> = BTreeMap::new();
    // Since Linux 5.18; loopback's own address, or a link-local one, tells whether this kernel does.
    let told = answers.iter().any(|answer| {
        answer.get(IFADDRMSG_BYTES..).is_some_and(|attrs| Attrs(attrs).find(IFA_PROTO).is_some())
    });
    for answer in &answers {
        let Some((header, attributes)) = answer.split_at_checked(IFADDRMSG_BYTES) else { continue };
        let index = word(&header[4..]);
        if !dying.contains(&index) {
            continue;
        }
        let attrs = Attrs(attributes);
        let local = attrs.find(IFA_LOCAL).or(attrs.find(IFA_ADDRESS));
        found.locals.extend(local.map(|local| local.payload.to_vec()));
        if header[0] == AF_INET6 && flags(header, attrs) & SECONDARY != 0 {
            found.temporary.extend(local.map(|local| local.payload.to_vec()));
            stand_for(&mut found.objects, temporary(links, header, attrs));
            continue;
        }
        let place = order.entry(index).or_default();
        *place += 1;
        // A new IPv6 address goes before those of its scope, a new IPv4 one behind them.
        let order = if header[0] == AF_INET6 { u32::MAX - *place } else { *place };
        let maker = maker(header[0], attrs, flags(header, attrs), told);
        found.objects.push(object(links, (header, attributes), order, maker));
    }
    Ok(found)
}

fn flags(header: &[u8], attrs: Attrs<'_>) -> u32 {
    attrs.find(IFA_FLAGS).map_or(u32::from(header[2]), |attr| word(attr.payload))
}

/// An IPv6 address whose interface part the kernel makes at random (RFC 8981): a new interface gets another
/// one. What can be as it was is that there is one of the prefix.
fn temporary(links: &Links, header: &[u8], attrs: Attrs<'_>) -> Object {
    let mut prefix = [0; 16];
    let address = attrs.find(IFA_ADDRESS).map_or(&[][..], |attr| attr.payload);
    let bytes = usize::from(header[1]).div_ceil(8).min(address.len()).min(prefix.len());
    prefix[..bytes].copy_from_slice(&address[..bytes]);
    if let (spare @ 1.., Some(last)) = (header[1] % 8, bytes.checked_sub(1)) {
        prefix[last] &= 0xff << (8 - spare);
    }
    let device = links.names.name(word(&header[4..]));
    // Never sent: it says what is compared.
    let mut builder = Builder::new(&links.names, header);
    builder.header_link(4).attribute(IFA_ADDRESS, &prefix);
    let mut message = builder.build(RTM_NEWADDR);
    message.set_byte(2, SECONDARY as u8);
    Object {
        class: Class::Address,
        key: format!("of {}/{} made at random on {device}", ip(&prefix), header[1]),
        detail: "temporary".to_owned(),
        maker: Maker::Kernel,
        order: u32::MAX,
        lifetime: attrs.find(IFA_CACHEINFO).and_then(|info| lifetime(info.payload)),
        message,
    }
}

/// Several of one prefix, older and newer, are one object, which lives as long as the last of them.
fn stand_for(objects: &mut Vec<Object>, new: Object) {
    let lasts = |object: &Object| object.lifetime.map_or(FOREVER, |lifetime| lifetime.valid_s);
    match objects.iter_mut().find(|known| known.key == new.key) {
        Some(known) if lasts(known) < lasts(&new) => *known = new,
        Some(_) => {}
        None => objects.push(new),
    }
}

fn object(links: &Links, (header, attributes): (&[u8], &[u8]), order: u32, maker: Maker) -> Object {
    let attrs = Attrs(attributes);
    let flags = flags(header, attrs);
    let asked = flags & FLAGS_ASKED;
    let lifetime = attrs.find(IFA_CACHEINFO).and_then(|info| lifetime(info.payload));
    let mut builder = Builder::new(&links.names, header);
    builder.header_link(4);
    for (kind, attr) in raw(attributes) {
        match attr.kind {
            IFA_CACHEINFO | IFA_FLAGS => {}
            _ => {
                builder.attribute(kind, attr.payload);
            }
        }
    }
    builder.attribute(IFA_FLAGS, &asked.to_ne_bytes());
    let mut message = builder.build(RTM_NEWADDR);
    // The struct's eight flag bits are a part of IFA_FLAGS.
    message.set_byte(2, asked as u8);
    let address = attrs.find(IFA_ADDRESS).map(|attr| ip(attr.payload)).unwrap_or_default();
    let local = attrs.find(IFA_LOCAL).map(|attr| ip(attr.payload));
    let device = links.names.name(word(&header[4..]));
    let key = match local.filter(|local| *local != address) {
        Some(local) => format!("{local} peer {address}/{} on {device}", header[1]),
        None => format!("{address}/{} on {device}", header[1]),
    };
    let label = attrs.find(IFA_LABEL).map(|attr| format!(" label {}", attr.text()));
    let metric = attrs.find(IFA_RT_PRIORITY).map(|attr| format!(" metric {}", word(attr.payload)));
    let lasts = if lifetime.is_some() { "for a time" } else { "forever" };
    let detail = format!(
        "scope {} flags {asked:#x}{}{} {lasts}",
        header[3],
        label.unwrap_or_default(),
        metric.unwrap_or_default()
    );
    Object { class: Class::Address, key, detail, maker, order, lifetime, message }
}

/// The kernel makes link-local addresses as an interface comes up, and what routers advertise. Where it does
/// not tell (before Linux 5.18), an address made of the MAC or a prefix under management is taken for its own;
/// where it does, what it does not call its own is somebody's (NetworkManager and dhcpcd take routers'
/// advertisements themselves, and ask the kernel for the temporary addresses alone).
fn maker(family: u8, attrs: Attrs<'_>, flags: u32, told: bool) -> Maker {
    let proto = attrs.find(IFA_PROTO).and_then(|attr| attr.number());
    let address = attrs.find(IFA_ADDRESS).map_or(&[][..], |attr| attr.payload);
    let lifetime = attrs.find(IFA_CACHEINFO).and_then(|info| lifetime(info.payload));
    let link_local = address.first_chunk().is_some_and(|[a, b]| *a == 0xfe && b & 0xc0 == 0x80);
    let by_kernel = match (family, proto) {
        (_, Some(proto)) if proto != 0 => PROTO_KERNEL.contains(&proto),
        (AF_INET6, Some(_) | None) if !told => {
            let advertised = flags & MANAGETEMPADDR != 0 && lifetime.is_some();
            advertised || (link_local && is_eui64(address))
        }
        (_, Some(_) | None) => false,
    };
    if by_kernel { Maker::Kernel } else { Maker::Somebody }
}

/// Whether the interface part is made of a MAC (RFC 4291, appendix A).
fn is_eui64(address: &[u8]) -> bool {
    address.get(11..13) == Some(&[0xff, 0xfe])
}

/// `struct ifa_cacheinfo`: u32 preferred, u32 valid, u32 created, u32 updated.
fn lifetime(info: &[u8]) -> Option<Lifetime> {
    let lifetime = Lifetime { preferred_s: word(info), valid_s: word(info.get(4..)?) };
    (lifetime.valid_s != FOREVER || lifetime.preferred_s != FOREVER).then_some(lifetime)
}

/// The attribute that gives an address what is left of its lifetimes; `None` where nothing is left.
pub(super) fn remaining(lifetime: Lifetime, elapsed_s: u32) -> Option<Vec<u8>> {
    let left = |of: u32| if of == FOREVER { of } else { of.saturating_sub(elapsed_s) };
    let valid = left(lifetime.valid_s);
    if valid == 0 {
        return None;
    }
    let words = [left(lifetime.preferred_s).min(valid), valid, 0, 0];
    let info: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    let mut attribute = Writer::new();
    attribute.put(IFA_CACHEINFO, &info);
    Some(attribute.into_bytes())
}
