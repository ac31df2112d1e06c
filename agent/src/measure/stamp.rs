//! STAMP, the Simple Two-way Active Measurement Protocol: RFC 8762, unauthenticated mode, with the
//! session identifier and the TLVs of RFC 8972 tolerated.
//!
//! ```text
//!  at  sender                    reflector
//!   0  sequence                  sequence (stateless: the sender's, copied)
//!   4  timestamp T1              timestamp T3
//!  12  error estimate            error estimate
//!  14  SSID                      SSID (copied)
//!  16  zero                      receive timestamp T2
//!  24  zero                      sender's sequence
//!  28  zero                      sender's timestamp
//!  36  zero                      sender's error estimate, two zero bytes
//!  40  zero                      sender's TTL as received, three zero bytes
//!  44  TLVs or padding           the same bytes, TLV flags updated
//! ```
//!
//! All fields are big-endian. Both packets have the same length, so a reflector never amplifies.

/// The length of a packet without TLVs or padding, in both directions.
pub const BASE: usize = 44;
/// The length of the sequence number, which both packets begin with; then comes the timestamp.
pub const SEQUENCE: usize = 4;

/// How 64-bit timestamps are written: the Z bit of the error estimate (RFC 8762 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Seconds since 1900 and a binary fraction (RFC 5905). Wraps in 2036; see [`Format::decode`].
    Ntp,
    /// Seconds since 1970 and nanoseconds: the truncated format of IEEE 1588v2.
    Ptp,
}

/// Seconds from the NTP era's start (1900) to 1970.
const NTP_TO_UNIX: i64 = 2_208_988_800;
const NS: i64 = 1_000_000_000;

impl Format {
    /// Nanoseconds since 1970 as 64 bits of wire.
    pub fn encode(self, unix_ns: i64) -> u64 {
        let (seconds, nanos) = (unix_ns.div_euclid(NS), unix_ns.rem_euclid(NS) as u64);
        match self {
            // The fraction is rounded up, so that truncating it again gives the same nanosecond.
            Format::Ntp => {
                let fraction = (nanos << 32).div_ceil(1_000_000_000);
                u64::from((seconds + NTP_TO_UNIX) as u32) << 32 | fraction
            }
            Format::Ptp => u64::from(seconds as u32) << 32 | nanos,
        }
    }

    /// Nanoseconds since 1970; `None` where a PTP stamp's nanoseconds are a second or more.
    ///
    /// NTP seconds below 2^31 are taken as the era that begins in 2036 (RFC 4330 section 3).
    pub fn decode(self, wire: u64) -> Option<i64> {
        let (seconds, low) = (i64::from((wire >> 32) as u32), wire & 0xffff_ffff);
        match self {
            Format::Ntp => {
                let era = if seconds < 1 << 31 { 1_i64 << 32 } else { 0 };
                let nanos = ((low * 1_000_000_000) >> 32) as i64;
                Some((seconds + era - NTP_TO_UNIX) * NS + nanos)
            }
            Format::Ptp if low < 1_000_000_000 => Some(seconds * NS + low as i64),
            Format::Ptp => None,
        }
    }
}

/// How good a clock claims to be: `multiplier * 2^(scale - 32)` seconds (RFC 4656 section 4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorEstimate {
    /// S: synchronized to UTC by an external source.
    pub synchronized: bool,
    /// Z: how this packet's timestamps are written.
    pub format: Format,
    /// Six bits.
    pub scale: u8,
    /// Never zero on the wire.
    pub multiplier: u8,
}

impl ErrorEstimate {
    /// What nicmend states of its own clock: not known to be synchronized, stamped to about a
    /// microsecond. Only differences of one clock's stamps are ever used.
    pub fn ours(format: Format) -> ErrorEstimate {
        ErrorEstimate { synchronized: false, format, scale: 12, multiplier: 1 }
    }

    pub fn encode(self) -> u16 {
        let format = match self.format {
            Format::Ntp => 0,
            Format::Ptp => 1 << 14,
        };
        u16::from(self.synchronized) << 15
            | format
            | u16::from(self.scale & 0x3f) << 8
            | u16::from(self.multiplier)
    }

    pub fn decode(wire: u16) -> ErrorEstimate {
        ErrorEstimate {
            synchronized: wire & 1 << 15 != 0,
            format: if wire & 1 << 14 == 0 { Format::Ntp } else { Format::Ptp },
            scale: (wire >> 8 & 0x3f) as u8,
            multiplier: wire as u8,
        }
    }
}

/// A session-sender's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub sequence: u32,
    /// T1, nanoseconds since 1970.
    pub sent_ns: i64,
    pub estimate: ErrorEstimate,
    /// Session identifier (RFC 8972 section 3); 0 is none.
    pub ssid: u16,
}

impl Request {
    /// Writes the base packet and, after it, an Extra Padding TLV over the rest of `packet` (or zeros
    /// where the rest is too short for one). A packet shorter than [`BASE`] is left alone: `false`.
    #[must_use]
    pub fn write(&self, packet: &mut [u8]) -> bool {
        let Some((base, rest)) = packet.split_first_chunk_mut::<BASE>() else { return false };
        base.fill(0);
        put32(base, 0, self.sequence);
        put64(base, 4, self.estimate.format.encode(self.sent_ns));
        put16(base, 12, self.estimate.encode());
        put16(base, 14, self.ssid);
        pad(rest);
        true
    }

    /// Rewrites what differs from packet to packet of one session, leaving padding as it is.
    pub fn rewrite(packet: &mut [u8; BASE], sequence: u32, sent_ns: i64, format: Format) {
        put32(packet, 0, sequence);
        put64(packet, 4, format.encode(sent_ns));
    }

    pub fn read(packet: &[u8]) -> Option<Request> {
        let base = packet.first_chunk::<BASE>()?;
        let estimate = ErrorEstimate::decode(get16(base, 12));
        let sent_ns = estimate.format.decode(get64(base, 4))?;
        Some(Request { sequence: get32(base, 0), sent_ns, estimate, ssid: get16(base, 14) })
    }
}

/// A session-reflector's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    pub sequence: u32,
    /// T3, nanoseconds since 1970 on the reflector's clock.
    pub sent_ns: i64,
    pub estimate: ErrorEstimate,
    pub ssid: u16,
    /// T2, likewise.
    pub received_ns: i64,
    pub sender_sequence: u32,
    /// T1 as the sender wrote it.
    pub sender_sent_ns: i64,
    pub sender_estimate: ErrorEstimate,
    pub sender_ttl: u8,
}

impl Reply {
    /// `None` for anything too short or with an impossible timestamp.
    pub fn read(packet: &[u8]) -> Option<Reply> {
        let base = packet.first_chunk::<BASE>()?;
        let estimate = ErrorEstimate::decode(get16(base, 12));
        let sender_estimate = ErrorEstimate::decode(get16(base, 36));
        Some(Reply {
            sequence: get32(base, 0),
            sent_ns: estimate.format.decode(get64(base, 4))?,
            estimate,
            ssid: get16(base, 14),
            received_ns: estimate.format.decode(get64(base, 16))?,
            sender_sequence: get32(base, 24),
            sender_sent_ns: sender_estimate.format.decode(get64(base, 28))?,
            sender_estimate,
            sender_ttl: base[40],
        })
    }
}

/// Turns a request into its reply in place, all but T3 (see [`depart`]). `false`: it is no request.
///
/// The reply is written in the sender's own timestamp format, so that a sender that knows only one of
/// the two is served. A known TLV loses its U flag, an unknown one gets it, a malformed one gets M and
/// the rest is copied (RFC 8972 section 4).
#[must_use]
pub fn reflect(packet: &mut [u8], received_ns: i64, ttl: u8) -> bool {
    let Some((base, rest)) = packet.split_first_chunk_mut::<BASE>() else { return false };
    let (sequence, sent) = (get32(base, 0), get64(base, 4));
    let estimate = get16(base, 12);
    let format = ErrorEstimate::decode(estimate).format;
    put16(base, 12, ErrorEstimate::ours(format).encode());
    put64(base, 16, format.encode(received_ns));
    put32(base, 24, sequence);
    put64(base, 28, sent);
    put16(base, 36, estimate);
    base[38..BASE].copy_from_slice(&[0, 0, ttl, 0, 0, 0]);
    mark_tlvs(rest);
    true
}

/// Writes T3 into a reflected packet: the last thing before it is sent.
pub fn depart(packet: &mut [u8], now_ns: i64) {
    if let Some(base) = packet.first_chunk_mut::<BASE>() {
        let format = ErrorEstimate::decode(get16(base, 12)).format;
        put64(base, 4, format.encode(now_ns));
    }
}

/// Whether this "request" is itself some reflector's reply. Two reflectors that answered each other
/// would do so for ever, so such a packet is refused. A stateless reply repeats its sequence and holds
/// a receive time; a sender's packet has zeros there (RFC 8762 section 4.2.1).
pub fn looks_reflected(packet: &[u8]) -> bool {
    packet.first_chunk::<BASE>().is_some_and(|base| {
        get64(base, 16) != 0 && get32(base, 0) == get32(base, 24) && get64(base, 28) != 0
    })
}

/// Whether the bytes that a sender must leave zero are.
pub fn zeros_kept(packet: &[u8]) -> bool {
    packet.get(16..BASE).is_some_and(|zeros| zeros.iter().all(|&b| b == 0))
}

const UNRECOGNIZED: u8 = 0x80;
const MALFORMED: u8 = 0x40;
const EXTRA_PADDING: u8 = 1;

/// Fills `rest` with one Extra Padding TLV (RFC 8972 section 4.1).
fn pad(rest: &mut [u8]) {
    rest.fill(0);
    if let Some((header, value)) = rest.split_first_chunk_mut::<4>() {
        // A UDP payload is below 65536 bytes, so its padding's length fits.
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
        *header = [UNRECOGNIZED, EXTRA_PADDING, length[0], length[1]];
    }
}

/// Walks the TLVs, at most one per four bytes. Type 0 is reserved and what plain zero padding looks
/// like: from there on nothing is touched.
fn mark_tlvs(mut rest: &mut [u8]) {
    while let Some((header, after)) = rest.split_first_chunk_mut::<4>() {
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        match header[1] {
            0 => return,
            EXTRA_PADDING => header[0] &= !UNRECOGNIZED,
            _ => header[0] |= UNRECOGNIZED,
        }
        match after.get_mut(length..) {
            Some(next) => rest = next,
            None => {
                header[0] |= MALFORMED;
                return;
            }
        }
    }
}

fn get16(base: &[u8; BASE], at: usize) -> u16 {
    u16::from_be_bytes([base[at], base[at + 1]])
}

fn get32(base: &[u8; BASE], at: usize) -> u32 {
    u32::from(get16(base, at)) << 16 | u32::from(get16(base, at + 2))
}

fn get64(base: &[u8; BASE], at: usize) -> u64 {
    u64::from(get32(base, at)) << 32 | u64::from(get32(base, at + 4))
}

fn put16(base: &mut [u8; BASE], at: usize, value: u16) {
    base[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put32(base: &mut [u8; BASE], at: usize, value: u32) {
    base[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn put64(base: &mut [u8; BASE], at: usize, value: u64) {
    base[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 03:04:05.123456789 UTC.
    const TIME: i64 = 1_795_316_645_123_456_789;

    #[test]
    fn a_request_is_these_bytes() {
        let request = Request {
            sequence: 0x0102_0304,
            sent_ns: TIME,
            estimate: ErrorEstimate::ours(Format::Ptp),
            ssid: 0xabcd,
        };
        let mut packet = [0xff; 52];
        assert!(request.write(&mut packet));
        let mut expected = [0_u8; 52];
        expected[..4].copy_from_slice(&[1, 2, 3, 4]);
        expected[4..8].copy_from_slice(&1_795_316_645_u32.to_be_bytes());
        expected[8..12].copy_from_slice(&123_456_789_u32.to_be_bytes());
        expected[12..16].copy_from_slice(&[0x4c, 0x01, 0xab, 0xcd]);
        expected[44..48].copy_from_slice(&[0x80, 0x01, 0x00, 0x04]);
        assert_eq!(packet, expected);
        assert_eq!(Request::read(&packet), Some(request));
        assert!(!request.write(&mut [0; 43]));
    }

    #[test]
    fn a_reply_is_these_bytes() {
        let request = Request {
            sequence: 7,
            sent_ns: TIME,
            estimate: ErrorEstimate::ours(Format::Ntp),
            ssid: 9,
        };
        let mut packet = [0; 60];
        assert!(request.write(&mut packet));
        let sent = packet;
        assert!(reflect(&mut packet, TIME + 1000, 63));
        depart(&mut packet, TIME + 5000);
        assert_eq!(packet[..4], sent[..4], "the sequence is copied");
        assert_eq!(packet[14..16], [0, 9], "the SSID is copied");
        assert_eq!(packet[24..28], sent[..4]);
        assert_eq!(packet[28..36], sent[4..12]);
        assert_eq!(packet[36..40], [sent[12], sent[13], 0, 0]);
        assert_eq!(packet[40..44], [63, 0, 0, 0]);
        assert_eq!(packet[44..48], [0, 1, 0, 12], "Extra Padding is recognized");
        let reply = Reply::read(&packet).unwrap();
        assert_eq!((reply.received_ns, reply.sent_ns), (TIME + 1000, TIME + 5000));
        assert_eq!((reply.sender_sequence, reply.sender_sent_ns), (7, TIME));
        assert!(looks_reflected(&packet) && !looks_reflected(&sent));
        assert!(zeros_kept(&sent) && !zeros_kept(&packet));
    }

    #[test]
    fn times_survive_both_formats() {
        for ns in [0, 1, 999_999_999, 1_000_000_000, TIME, TIME + 1, 2_085_978_496_000_000_000] {
            for format in [Format::Ntp, Format::Ptp] {
                assert_eq!(format.decode(format.encode(ns)), Some(ns), "{format:?} {ns}");
            }
        }
        // 1970 in the NTP era of 1900.
        assert_eq!(Format::Ntp.encode(0), 0x83aa_7e80_0000_0000);
        assert_eq!(Format::Ptp.decode(1_000_000_000), None);
    }

    #[test]
    fn hostile_tlvs_end_the_walk() {
        let cases: [(&[u8], &[u8]); 4] = [
            (&[0x80, 1, 0, 0, 0x00, 99, 0, 1, 5], &[0x00, 1, 0, 0, 0x80, 99, 0, 1, 5]),
            (&[0x80, 1, 0xff, 0xff, 1, 2], &[0x40, 1, 0xff, 0xff, 1, 2]),
            (&[0, 0, 0, 0, 7, 7, 7, 7], &[0, 0, 0, 0, 7, 7, 7, 7]),
            (&[1, 2, 3], &[1, 2, 3]),
        ];
        for (given, expected) in cases {
            let mut packet = vec![0; BASE];
            packet.extend_from_slice(given);
            assert!(reflect(&mut packet, TIME, 1));
            assert_eq!(&packet[BASE..], expected);
        }
        assert!(!reflect(&mut [0; BASE - 1], TIME, 1));
        assert_eq!(Reply::read(&[0; BASE - 1]), None);
    }
}
