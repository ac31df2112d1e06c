//! A flow rule in ethtool(8)'s words, and as `struct ethtool_rx_flow_spec`.
//!
//! A word stands for a field; `m` after it says which of its bits to *ignore*, as ethtool(8) has it
//! (the kernel's mask says which to match). Layouts are include/uapi/linux/ethtool.h's; numbers in
//! packets are big-endian.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::rxnfc::{SPEC_BYTES, Spec};

// Places in the spec: u32 flow_type, then value and mask of the flow and of its extension.
const H_U: usize = 4;
const H_EXT: usize = 56;
const M_U: usize = 76;
const M_EXT: usize = 128;
const EXT_END: usize = 148;
const COOKIE: usize = 152;
const LOCATION: usize = 160;

const FLOW_EXT: u32 = 0x8000_0000;
const FLOW_MAC_EXT: u32 = 0x4000_0000;
const FLOW_RSS: u32 = 0x2000_0000;

/// RX_CLS_FLOW_DISC and RX_CLS_FLOW_WAKE, which ethtool(8) calls action -1 and -2.
const DISCARD: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

const IP4_FLOW: u32 = 0x0d;
/// `ip_ver` of `struct ethtool_usrip4_spec`, always ETH_RX_NFC_IP4 and never matched.
const IP4_VERSION_AT: usize = H_U + 13;
const IP4_VERSION: u8 = 1;

/// How a field's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Mac,
    Ip4,
    Ip6,
    /// A number of this many bytes, in decimal.
    Count(usize),
    /// The same in hexadecimal.
    Hex(usize),
}

/// Where a field's bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Flow(usize),
    /// In `struct ethtool_flow_ext`, valid under FLOW_EXT.
    Ext(usize),
    /// There too, valid under FLOW_MAC_EXT.
    MacExt(usize),
}

type Field = (&'static str, At, Sort);

const ETHER: &[Field] = &[
    ("src", At::Flow(6), Sort::Mac),
    ("dst", At::Flow(0), Sort::Mac),
    ("proto", At::Flow(12), Sort::Hex(2)),
];
const PORTS4: &[Field] = &[
    ("src-ip", At::Flow(0), Sort::Ip4),
    ("dst-ip", At::Flow(4), Sort::Ip4),
    ("tos", At::Flow(12), Sort::Count(1)),
    ("src-port", At::Flow(8), Sort::Count(2)),
    ("dst-port", At::Flow(10), Sort::Count(2)),
];
const ANY4: &[Field] = &[
    ("src-ip", At::Flow(0), Sort::Ip4),
    ("dst-ip", At::Flow(4), Sort::Ip4),
    ("tos", At::Flow(12), Sort::Count(1)),
    ("l4proto", At::Flow(14), Sort::Count(1)),
    ("l4data", At::Flow(8), Sort::Hex(4)),
];
const PORTS6: &[Field] = &[
    ("src-ip", At::Flow(0), Sort::Ip6),
    ("dst-ip", At::Flow(16), Sort::Ip6),
    ("tclass", At::Flow(36), Sort::Count(1)),
    ("src-port", At::Flow(32), Sort::Count(2)),
    ("dst-port", At::Flow(34), Sort::Count(2)),
];
const ANY6: &[Field] = &[
    ("src-ip", At::Flow(0), Sort::Ip6),
    ("dst-ip", At::Flow(16), Sort::Ip6),
    ("tclass", At::Flow(36), Sort::Count(1)),
    ("l4proto", At::Flow(37), Sort::Count(1)),
    ("l4data", At::Flow(32), Sort::Hex(4)),
];
/// What any flow may carry besides.
const EXTENSION: &[Field] = &[
    ("vlan-etype", At::Ext(8), Sort::Hex(2)),
    ("vlan", At::Ext(10), Sort::Count(2)),
    ("user-def", At::Ext(12), Sort::Hex(8)),
    ("dst-mac", At::MacExt(2), Sort::Mac),
];

/// ethtool(8)'s word, the kernel's number, the fields.
const FLOWS: &[(&str, u32, &[Field])] = &[
    ("ether", 0x12, ETHER),
    ("ip4", IP4_FLOW, ANY4),
    ("tcp4", 0x01, PORTS4),
    ("udp4", 0x02, PORTS4),
    ("sctp4", 0x03, PORTS4),
    ("ip6", 0x0e, ANY6),
    ("tcp6", 0x05, PORTS6),
    ("udp6", 0x06, PORTS6),
    ("sctp6", 0x07, PORTS6),
];

/// The spec that a rule's words mean, for this slot; or what is wrong with them.
pub(super) fn parse(text: &str, slot: u32) -> Result<Spec, String> {
    let mut words = text.split_whitespace().peekable();
    if words.next() != Some("flow-type") {
        return Err("a rule begins with `flow-type`".to_owned());
    }
    let name = words.next().unwrap_or_default();
    let flow = FLOWS.iter().find(|(word, ..)| *word == name);
    let (_, number, fields) = flow.ok_or_else(|| format!("no flow type `{name}`"))?;
    let mut spec = [0; SPEC_BYTES];
    let (mut kind, mut action) = (*number, None);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        if word == "action" {
            let twice = action.replace(cookie(value)?).is_some();
            (!twice).then_some(()).ok_or("`action` is given twice")?;
            continue;
        }
        let ignored = match words.next_if_eq(&"m") {
            Some(_) => Some(words.next().ok_or_else(|| format!("`{word} … m` needs a mask"))?),
            None => None,
        };
        let field = fields.iter().chain(EXTENSION).find(|(known, ..)| *known == word);
        let (_, at, sort) = field.ok_or_else(|| format!("{name} has no field `{word}`"))?;
        kind |= flag(*at);
        put(&mut spec, *at, *sort, value, ignored).map_err(|why| format!("`{word}` {why}"))?;
    }
    let action = action.ok_or("a rule needs an `action`: a queue's number, or -1 to discard")?;
    if *number == IP4_FLOW {
        spec[IP4_VERSION_AT] = IP4_VERSION;
    }
    spec[..H_U].copy_from_slice(&kind.to_ne_bytes());
    spec[COOKIE..LOCATION].copy_from_slice(&action.to_ne_bytes());
    spec[LOCATION..LOCATION + 4].copy_from_slice(&slot.to_ne_bytes());
    Ok(spec)
}

/// A rule's words, exactly; or what it has that they cannot say.
pub(super) fn render(spec: &Spec) -> Result<String, String> {
    let spec = essence(spec);
    let kind = number(&spec[..H_U]);
    let flow = kind & !(FLOW_EXT | FLOW_MAC_EXT | FLOW_RSS);
    if kind & FLOW_RSS != 0 {
        return Err("an RSS context of its own".to_owned());
    }
    let known = FLOWS.iter().find(|(_, number, _)| *number == flow);
    let (name, _, fields) = known.ok_or_else(|| format!("flow type {flow:#x}"))?;
    let mut text = format!("flow-type {name}");
    for (word, at, sort) in fields.iter().chain(EXTENSION) {
        let (value, mask) = places(*at);
        let (value, mask) = (&spec[value..value + bytes(*sort)], &spec[mask..mask + bytes(*sort)]);
        if mask.iter().all(|&byte| byte == 0) {
            continue;
        }
        text.push_str(&format!(" {word} {}", say(*sort, value)));
        if mask.iter().any(|&byte| byte != 0xff) {
            let ignored: Vec<u8> = mask.iter().map(|byte| !byte).collect();
            // ethtool(8) prints and reads masks of numbers in hexadecimal.
            let sort = if let Sort::Count(n) = *sort { Sort::Hex(n) } else { *sort };
            text.push_str(&format!(" m {}", say(sort, &ignored)));
        }
    }
    let action = match u64::from_ne_bytes(spec[COOKIE..LOCATION].try_into().unwrap_or_default()) {
        DISCARD => "-1".to_owned(),
        WAKE => "-2".to_owned(),
        queue if queue <= u64::from(u32::MAX) => queue.to_string(),
        _ => return Err("a virtual function as its target".to_owned()),
    };
    text.push_str(&format!(" action {action}"));
    // Whatever the words left out shows here: the way back must end where it began.
    match parse(&text, number(&spec[LOCATION..])) {
        Ok(again) if essence(&again) == spec => Ok(text),
        Ok(_) | Err(_) => Err("fields that ethtool's words cannot say".to_owned()),
    }
}

/// The spec without what decides nothing: values under no mask, extensions that match nothing.
fn essence(spec: &Spec) -> Spec {
    let mut spec = *spec;
    let mut kind = number(&spec[..H_U]);
    let version = spec[IP4_VERSION_AT];
    let parts = [(M_EXT + 2, M_EXT + 8, FLOW_MAC_EXT), (M_EXT + 8, EXT_END, FLOW_EXT)];
    spec[M_EXT..M_EXT + 2].fill(0);
    for (from, to, flag) in parts {
        if kind & flag == 0 {
            spec[from..to].fill(0);
        } else if spec[from..to].iter().all(|&byte| byte == 0) {
            kind &= !flag;
        }
    }
    for at in 0..M_U - H_U {
        spec[H_U + at] &= spec[M_U + at];
    }
    if kind & !(FLOW_EXT | FLOW_MAC_EXT | FLOW_RSS) == IP4_FLOW {
        spec[IP4_VERSION_AT] = version;
    }
    spec[..H_U].copy_from_slice(&kind.to_ne_bytes());
    // Padding before the cookie and behind the location.
    spec[EXT_END..COOKIE].fill(0);
    spec[LOCATION + 4..].fill(0);
    spec
}

fn cookie(value: &str) -> Result<u64, String> {
    match value {
        "-1" => Ok(DISCARD),
        "-2" => Ok(WAKE),
        queue => match natural(queue) {
            Some(queue) if queue <= u128::from(u32::MAX) => Ok(queue as u64),
            Some(_) | None => Err(format!("`action {queue}`: a queue's number, -1 or -2")),
        },
    }
}

fn flag(at: At) -> u32 {
    match at {
        At::Flow(_) => 0,
        At::Ext(_) => FLOW_EXT,
        At::MacExt(_) => FLOW_MAC_EXT,
    }
}

/// Where a field's value and mask begin in the spec.
fn places(at: At) -> (usize, usize) {
    match at {
        At::Flow(at) => (H_U + at, M_U + at),
        At::Ext(at) | At::MacExt(at) => (H_EXT + at, M_EXT + at),
    }
}

fn bytes(sort: Sort) -> usize {
    match sort {
        Sort::Mac => 6,
        Sort::Ip4 => 4,
        Sort::Ip6 => 16,
        Sort::Count(bytes) | Sort::Hex(bytes) => bytes,
    }
}

fn put(
    spec: &mut Spec,
    at: At,
    sort: Sort,
    value: &str,
    ignored: Option<&str>,
) -> Result<(), String> {
    let (value_at, mask_at) = places(at);
    let value = hear(sort, value).ok_or_else(|| format!("does not take `{value}`"))?;
    let ignored = match ignored {
        Some(mask) => hear(sort, mask).ok_or_else(|| format!("does not take the mask `{mask}`"))?,
        None => vec![0; value.len()],
    };
    if spec[mask_at..mask_at + value.len()].iter().any(|&byte| byte != 0) {
        return Err("is given twice".to_owned());
    }
    if ignored.iter().all(|&byte| byte == 0xff) {
        return Err("is ignored by its own mask".to_owned());
    }
    for (n, (value, ignored)) in value.iter().zip(&ignored).enumerate() {
        spec[value_at + n] = value & !ignored;
        spec[mask_at + n] = !ignored;
    }
    Ok(())
}

/// A field's bytes from its words.
fn hear(sort: Sort, text: &str) -> Option<Vec<u8>> {
    match sort {
        Sort::Ip4 => Some(text.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        Sort::Ip6 => Some(text.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        Sort::Mac => {
            let pair = |pair: &str| {
                let plain = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
                u8::from_str_radix(pair, 16).ok().filter(|_| plain)
            };
            let bytes: Vec<u8> = text.split(':').map(pair).collect::<Option<_>>()?;
            (bytes.len() == 6).then_some(bytes)
        }
        Sort::Count(bytes) | Sort::Hex(bytes) => {
            let number = natural(text).filter(|number| number >> (8 * bytes) == 0)?;
            Some(number.to_be_bytes()[16 - bytes..].to_vec())
        }
    }
}

/// A field's words from its bytes.
fn say(sort: Sort, bytes: &[u8]) -> String {
    let big_endian = bytes.iter().fold(0_u128, |number, &byte| number << 8 | u128::from(byte));
    match sort {
        Sort::Mac => {
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            pairs.join(":")
        }
        Sort::Ip4 => Ipv4Addr::from_bits(big_endian as u32).to_string(),
        Sort::Ip6 => Ipv6Addr::from_bits(big_endian).to_string(),
        Sort::Count(_) => big_endian.to_string(),
        Sort::Hex(_) => format!("{big_endian:#x}"),
    }
}

/// Decimal or `0x` hexadecimal, no signs.
fn natural(text: &str) -> Option<u128> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(digits, radix).ok())?
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_the_way_there_and_back() {
        for text in [
            "flow-type udp4 dst-ip 239.1.1.1 dst-port 5000 action 3",
            "flow-type tcp4 src-ip 10.0.0.0 m 0.255.255.255 tos 8 src-port 443 action 0",
            "flow-type ip4 dst-ip 239.1.1.1 l4proto 17 l4data 0x12340000 m 0xffff action -1",
            "flow-type ether src 02:00:00:00:00:01 dst 01:00:5e:00:00:00 m 00:00:00:ff:ff:ff proto 0x88f7 action 1",
            "flow-type udp6 src-ip 2001:db8:: m ::ffff:ffff:ffff:ffff dst-port 304 m 0xf action 7",
            "flow-type ip6 l4proto 58 action -2",
            "flow-type sctp4 vlan-etype 0x8100 vlan 100 m 0xf000 user-def 0x1 dst-mac 02:00:00:00:00:02 action 2",
        ] {
            let spec = parse(text, 5).unwrap();
            assert_eq!(render(&spec).unwrap(), text);
            assert_eq!(number(&spec[LOCATION..]), 5);
        }
    }

    #[test]
    fn bytes_lie_where_the_kernel_looks_for_them() {
        let spec = parse("flow-type udp4 dst-port 5000 dst-ip 239.1.1.1 action 3", 9).unwrap();
        assert_eq!(number(&spec), 2);
        assert_eq!(spec[8..12], [239, 1, 1, 1]);
        assert_eq!(spec[14..16], [0x13, 0x88]);
        assert_eq!(spec[80..84], [0xff; 4]);
        assert_eq!(spec[86..88], [0xff; 2]);
        assert_eq!(spec[152..160], 3_u64.to_ne_bytes());
        // The address of struct ethtool_usrip4_spec's ip_ver, which drivers insist on.
        assert_eq!(parse("flow-type ip4 l4proto 6 action 0", 0).unwrap()[17], 1);
        let vlan = parse("flow-type udp4 vlan 5 action 0", 0).unwrap();
        assert_eq!(number(&vlan), 2 | FLOW_EXT);
        assert_eq!(vlan[66..68], [0, 5]);
    }

    #[test]
    fn what_words_cannot_say_is_never_said_otherwise() {
        let good = parse("flow-type udp4 dst-port 5000 action 3", 1).unwrap();
        let with = |at: usize, byte: u8| {
            let mut spec = good;
            spec[at] = byte;
            spec
        };
        // A virtual function, an unknown flow type, an RSS context, bits where udp4 has no field.
        assert!(render(&with(COOKIE + 4, 1)).is_err());
        assert!(render(&with(0, 0x0b)).is_err());
        assert!(render(&with(3, 0x20)).is_err());
        assert!(render(&with(M_U + 20, 0xff)).is_err());
        // A value that no mask looks at decides nothing.
        assert_eq!(render(&with(H_U, 9)).unwrap(), render(&good).unwrap());
        // ip_ver is looked at by drivers whatever its mask says.
        let mut ip4 = parse("flow-type ip4 l4proto 6 action 0", 0).unwrap();
        ip4[IP4_VERSION_AT] = 2;
        assert!(render(&ip4).is_err());
    }

    #[test]
    fn every_spec_is_refused_or_said_exactly() {
        let mut seed = 1_u64;
        let mut said = 0;
        for _ in 0..20_000 {
            let mut spec = parse("flow-type udp4 dst-port 5000 action 3", 1).unwrap();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                spec[(seed >> 33) as usize % SPEC_BYTES] = (seed >> 56) as u8;
            }
            if let Ok(text) = render(&spec) {
                said += 1;
                let again = parse(&text, number(&spec[LOCATION..])).unwrap();
                assert_eq!(essence(&again), essence(&spec), "{text}");
            }
        }
        assert!(said > 1000, "{said}");
    }

    #[test]
    fn nonsense_is_refused_with_its_word() {
        for (text, word) in [
            ("udp4", "flow-type"),
            ("flow-type udp5 action 1", "udp5"),
            ("flow-type udp4 dst-port 5000", "action"),
            ("flow-type udp4 dst-port 65536 action 1", "65536"),
            ("flow-type udp4 dst-port -1 action 1", "-1"),
            ("flow-type udp4 dst-port", "dst-port"),
            ("flow-type udp4 dst-port 1 m", "mask"),
            ("flow-type udp4 dst-port 1 m 0xffff action 1", "ignored"),
            ("flow-type udp4 dst-port 1 dst-port 2 action 1", "twice"),
            ("flow-type udp4 action 1 action 2", "twice"),
            ("flow-type udp4 dst 02:00:00:00:00:01 action 1", "dst"),
            ("flow-type ether dst 2:0:0:0:0:1 action 1", "2:0:0:0:0:1"),
            ("flow-type ether dst 02:00:00:00:00:01:02 action 1", "dst"),
            ("flow-type udp4 dst-ip 1.2.3 action 1", "1.2.3"),
            ("flow-type udp4 dst-ip 1.2.3.4 action 4294967296", "4294967296"),
            ("flow-type udp4 context 1 action 1", "context"),
        ] {
            let why = parse(text, 0).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }
}
