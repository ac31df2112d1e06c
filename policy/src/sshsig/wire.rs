//! SSH's wire encoding (RFC 4251, section 5): lengths before bytes, big-endian.

use super::{Refused, malformed};

/// Reads front to back; never past the end, never copies.
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let (taken, left) =
            self.left.split_at_checked(count).ok_or_else(|| malformed("cut short"))?;
        self.left = left;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Refused> {
        let bytes = self.bytes(4)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Refused> {
        let length = self.u32()?;
        self.bytes(usize::try_from(length).map_err(|_| malformed("cut short"))?)
    }

    /// A positive `mpint` without its leading zero.
    pub(super) fn positive(&mut self) -> Result<&'a [u8], Refused> {
        let bytes = self.string()?;
        match bytes {
            [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Ok(rest),
            [first, ..] if *first != 0 && first & 0x80 == 0 => Ok(bytes),
            _ => Err(malformed("a number that is zero, negative or padded")),
        }
    }

    pub(super) fn end(&self) -> Result<(), Refused> {
        if self.left.is_empty() { Ok(()) } else { Err(malformed("bytes after its end")) }
    }
}

/// Appends one string.
pub(super) fn string(to: &mut Vec<u8>, bytes: &[u8]) {
    // Digests and names of ours: far below 4 GiB.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(bytes);
}
