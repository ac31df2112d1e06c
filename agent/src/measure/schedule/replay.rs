//! A recorded inter-arrival trace: a text file of `offset-ns size` lines, or a classic pcap.
//!
//! Text: one packet a line, its offset in nanoseconds from any origin and its payload in bytes; empty
//! lines and lines that begin with `#` are skipped. Pcap (not pcapng): the records' times, and as
//! payload the original length less 42 bytes of Ethernet, IPv4 and UDP headers. Times never go back.

// A trace is the operator's own file, neither the machine's nor the agent's state.
#![allow(clippy::disallowed_methods)]

use std::{fs::File, io::Read, path::Path};

use crate::fault::{Fault, Kind, Result};

/// The largest trace file: a million packets of an ordinary pcap.
const BYTES_MAX: u64 = 256 << 20;
const PACKETS_MAX: usize = 1 << 20;
const HEADERS: u32 = 42;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// In order of time, the first at offset 0; at least one.
    pub packets: Vec<Packet>,
    /// After this long the trace begins anew: its length and one mean gap.
    pub lap_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub offset_ns: u64,
    /// Bytes.
    pub payload: u32,
}

pub fn load(path: &Path) -> Result<Trace> {
    let act = || format!("read trace {}", path.display());
    let file = File::open(path).map_err(|e| match e.raw_os_error() {
        Some(errno) => Fault::errno(act(), errno, None),
        None => Fault::new(Kind::Io, act(), e.to_string()),
    })?;
    read(file).map_err(|fault| fault.during(act()))
}

/// Reads either form, told apart by a pcap's magic number.
pub fn read(file: impl Read) -> Result<Trace> {
    let wrong = |cause: String| Fault::new(Kind::Malformed, "read a trace", cause);
    let mut bytes = Vec::new();
    let length = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    match length {
        Ok(n) if n as u64 <= BYTES_MAX => {}
        Ok(_) => return Err(wrong(format!("longer than {BYTES_MAX} bytes"))),
        Err(e) => return Err(Fault::new(Kind::Io, "read a trace", e.to_string())),
    }
    let mut packets = match bytes.first_chunk::<4>() {
        Some(magic) if Layout::of(*magic).is_some() => pcap(&bytes),
        Some(_) | None => text(&bytes),
    }
    .map_err(wrong)?;
    let Some(first) = packets.first().map(|p| p.offset_ns) else {
        return Err(wrong("no packet in it".to_owned()));
    };
    packets.iter_mut().for_each(|p| p.offset_ns -= first);
    let last = packets.last().map_or(0, |p| p.offset_ns);
    // A trace of one instant repeats after a millisecond, so that a window of it stays bounded.
    let gap = (last / (packets.len() as u64).saturating_sub(1).max(1)).max(1);
    let lap_ns = if last == 0 { 1_000_000 } else { last + gap };
    Ok(Trace { packets, lap_ns })
}

fn text(bytes: &[u8]) -> Result<Vec<Packet>, String> {
    let mut packets = Vec::new();
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let at = |what: &str| format!("line {}: {what}", index + 1);
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let mut number = || words.next().and_then(whole_number);
        let (Some(offset_ns), Some(payload)) = (number(), number()) else {
            return Err(at("expected `offset-ns size`"));
        };
        if words.next().is_some() {
            return Err(at("more than `offset-ns size`"));
        }
        let payload = u32::try_from(payload).map_err(|_| at("size above 4294967295"))?;
        push(&mut packets, Packet { offset_ns, payload }).map_err(|e| at(&e))?;
    }
    Ok(packets)
}

/// Digits only: no sign, no underscore, no exponent.
fn whole_number(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(word).ok()?.parse().ok() } else { None }
}

fn push(packets: &mut Vec<Packet>, packet: Packet) -> Result<(), String> {
    if packets.last().is_some_and(|last| packet.offset_ns < last.offset_ns) {
        return Err("time goes back".to_owned());
    }
    if packets.len() == PACKETS_MAX {
        return Err(format!("more than {PACKETS_MAX} packets"));
    }
    packets.push(packet);
    Ok(())
}

/// How a pcap writes its numbers (draft-ietf-opsawg-pcap section 4).
#[derive(Clone, Copy)]
struct Layout {
    big_endian: bool,
    /// Nanoseconds in one unit of a record's second word.
    unit_ns: u64,
}

impl Layout {
    fn of(magic: [u8; 4]) -> Option<Layout> {
        match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => Some(Layout { big_endian: true, unit_ns: 1000 }),
            [0xd4, 0xc3, 0xb2, 0xa1] => Some(Layout { big_endian: false, unit_ns: 1000 }),
            [0xa1, 0xb2, 0x3c, 0x4d] => Some(Layout { big_endian: true, unit_ns: 1 }),
            [0x4d, 0x3c, 0xb2, 0xa1] => Some(Layout { big_endian: false, unit_ns: 1 }),
            _ => None,
        }
    }

    fn number(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    }
}

fn pcap(bytes: &[u8]) -> Result<Vec<Packet>, String> {
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    let layout = bytes.first_chunk().and_then(|m| Layout::of(*m)).ok_or("not a pcap")?;
    let mut packets = Vec::new();
    let mut at = FILE_HEADER;
    while at < bytes.len() {
        let cut = || format!("record {} is cut short", packets.len() + 1);
        let field = |word: usize| layout.number(bytes, at + 4 * word).ok_or_else(cut);
        let (seconds, units) = (field(0)?, field(1)?);
        let (captured, original) = (field(2)?, field(3)?);
        let offset_ns = u64::from(seconds) * 1_000_000_000 + u64::from(units) * layout.unit_ns;
        let next = at + RECORD_HEADER + captured as usize;
        if next > bytes.len() {
            return Err(cut());
        }
        let payload = original.saturating_sub(HEADERS);
        let record = packets.len() + 1;
        push(&mut packets, Packet { offset_ns, payload })
            .map_err(|e| format!("record {record}: {e}"))?;
        at = next;
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_strictly() {
        let trace = read(&b"# recorded at the open\n\n500 64\n1500\t128\r\n1500 64\n"[..]).unwrap();
        let offsets: Vec<u64> = trace.packets.iter().map(|p| p.offset_ns).collect();
        assert_eq!(offsets, [0, 1000, 1000]);
        assert_eq!((trace.packets[1].payload, trace.lap_ns), (128, 1500));
        for (bad, cause) in [
            ("", "no packet"),
            ("# nothing\n", "no packet"),
            ("5\n", "line 1: expected"),
            ("1 2\n-1 2\n", "line 2: expected"),
            ("1 2 3\n", "line 1: more than"),
            ("2 1\n1 1\n", "line 2: time goes back"),
            ("1 4294967296\n", "line 1: size above"),
            ("99999999999999999999 1\n", "line 1: expected"),
        ] {
            let fault = read(bad.as_bytes()).unwrap_err();
            assert!(fault.cause.contains(cause), "{bad:?}: {fault}");
        }
    }

    #[test]
    fn a_pcap_of_either_endianness() {
        let mut little = vec![0xd4, 0xc3, 0xb2, 0xa1];
        little.resize(24, 0);
        let mut big = vec![0xa1, 0xb2, 0x3c, 0x4d];
        big.resize(24, 0);
        for (seconds, part, original) in [(7_u32, 5_u32, 106_u32), (8, 1, 1514)] {
            for word in [seconds, part, 2, original] {
                little.extend(word.to_le_bytes());
                big.extend(word.to_be_bytes());
            }
            little.extend([0xaa; 2]);
            big.extend([0xaa; 2]);
        }
        let offsets = |file: &[u8]| {
            let trace = read(file).unwrap();
            (trace.packets[0].payload, trace.packets[1].payload, trace.packets[1].offset_ns)
        };
        assert_eq!(offsets(&little), (64, 1472, 999_996_000));
        assert_eq!(offsets(&big), (64, 1472, 999_999_996));
        little.pop();
        assert!(read(&little[..]).unwrap_err().cause.contains("record 2 is cut short"));
    }
}
