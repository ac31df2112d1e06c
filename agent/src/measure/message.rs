//! The framing of nicmend's TCP request/response, version 1.
//!
//! A message is a 32-byte header and `length` bytes of body. The reply has the request's `length`, so
//! neither side amplifies, and fills in when the reflector had the whole request and when it began to
//! answer. Bodies are zeros; their content is ignored. All fields are big-endian.
//!
//! ```text
//!  at  size  field
//!   0     4  magic: "NMR1" request, "NMA1" answer
//!   4     4  length of the body, 1 to 1,048,576
//!   8     8  sequence, copied into the answer
//!  16     8  received: nanoseconds since 1970 on the reflector's clock; 0 in a request
//!  24     8  answered: likewise
//! ```

/// Bytes of header before the body.
pub const HEADER: usize = 32;
/// The longest body.
pub const BODY_MAX: u32 = 1 << 20;

const REQUEST: [u8; 4] = *b"NMR1";
const ANSWER: [u8; 4] = *b"NMA1";

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Request,
    Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub direction: Direction,
    pub length: u32,
    pub sequence: u64,
    pub received_ns: i64,
    pub answered_ns: i64,
}

impl Header {
    pub fn request(length: u32, sequence: u64) -> Header {
        Header { direction: Direction::Request, length, sequence, received_ns: 0, answered_ns: 0 }
    }

    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(match self.direction {
            Direction::Request => &REQUEST,
            Direction::Answer => &ANSWER,
        });
        bytes[4..8].copy_from_slice(&self.length.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.received_ns.to_be_bytes());
        bytes[24..].copy_from_slice(&self.answered_ns.to_be_bytes());
        bytes
    }

    /// `None` for another magic or a length out of bounds.
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Header> {
        let (words, _) = bytes.as_chunks::<8>();
        let direction = match &bytes[..4] {
            magic if magic == REQUEST => Direction::Request,
            magic if magic == ANSWER => Direction::Answer,
            _ => return None,
        };
        let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        (1..=BODY_MAX).contains(&length).then_some(Header {
            direction,
            length,
            sequence: u64::from_be_bytes(words[1]),
            received_ns: i64::from_be_bytes(words[2]),
            answered_ns: i64::from_be_bytes(words[3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_bounds_hold() {
        let header = Header {
            direction: Direction::Answer,
            length: 65_536,
            sequence: 0x0102_0304_0506_0708,
            received_ns: 5,
            answered_ns: -6,
        };
        let bytes = header.encode();
        assert_eq!(&bytes[..16], b"NMA1\x00\x01\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(Header::decode(&bytes), Some(header));
        for length in [0, BODY_MAX + 1, u32::MAX] {
            assert_eq!(Header::decode(&Header::request(length, 1).encode()), None);
        }
        assert_eq!(Header::decode(b"GET / HTTP/1.1\r\nHost: example.or"), None);
    }
}
