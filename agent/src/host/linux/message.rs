//! Netlink framing: `struct nlmsghdr` around every message, and what the kernel says in an error.
//!
//! Source: include/uapi/linux/netlink.h. Numbers are in host byte order.

use crate::{
    fault::{Fault, Kind},
    host::tlv::Attrs,
};

/// Bytes of `struct nlmsghdr`: u32 length, u16 type, u16 flags, u32 sequence, u32 port.
pub(super) const HEADER_BYTES: usize = 16;

/// Message types below every family's own.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;

pub(super) const FLAG_REQUEST: u16 = 0x1;
pub(super) const FLAG_ACK: u16 = 0x4;
/// NLM_F_ROOT | NLM_F_MATCH.
pub(super) const FLAG_DUMP: u16 = 0x300;
/// What a request that makes an object may find.
pub(super) const FLAG_REPLACE: u16 = 0x100;
pub(super) const FLAG_EXCL: u16 = 0x200;
pub(super) const FLAG_CREATE: u16 = 0x400;
pub(super) const FLAG_APPEND: u16 = 0x800;
/// The table changed while it was being dumped: the answers may contradict each other.
pub(super) const FLAG_DUMP_INTR: u16 = 0x10;
/// An acknowledgement carries only the header of the request it answers.
const FLAG_CAPPED: u16 = 0x100;
/// Attributes follow an acknowledgement.
const FLAG_ACK_TLVS: u16 = 0x200;

/// `enum nlmsgerr_attrs`.
const ERROR_TEXT: u16 = 1;
const ERROR_OFFSET: u16 = 2;
const ERROR_MISSING: u16 = 5;

/// One message as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) port: u32,
    pub(super) payload: &'a [u8],
}

/// Walks the messages of one datagram; stops at the first that does not fit.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.get(..HEADER_BYTES)?;
        let length = usize::try_from(word(header, 0)?).ok()?;
        let message = Message {
            kind: half(header, 4)?,
            flags: half(header, 6)?,
            sequence: word(header, 8)?,
            port: word(header, 12)?,
            payload: self.0.get(HEADER_BYTES..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}

/// A whole request. Its port is left zero: the kernel knows the socket it came from.
pub(super) fn request(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + payload.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What an NLMSG_ERROR or NLMSG_DONE says: nothing wrong, or the kernel's errno and words.
///
/// `sent` is the request it answers, to name the attribute that an offset points at.
pub(super) fn verdict(answer: &Message<'_>, act: &str, sent: &[u8]) -> Result<(), Fault> {
    let Some(code) = word(answer.payload, 0) else {
        // An old NLMSG_DONE may be empty; an error without its number cannot be understood.
        return match answer.kind {
            DONE => Ok(()),
            _ => Err(Fault::new(Kind::Malformed, act, "the kernel's answer has no error number")),
        };
    };
    let errno = code.cast_signed();
    if errno >= 0 {
        return Ok(());
    }
    let words = words(answer, sent);
    Err(Fault::errno(act, errno.saturating_neg(), words.as_deref()))
}

/// The extended acknowledgement in words, where there is one.
fn words(answer: &Message<'_>, sent: &[u8]) -> Option<String> {
    if answer.flags & FLAG_ACK_TLVS == 0 {
        return None;
    }
    // An error repeats the request (its header only, where capped) before the attributes.
    let repeated = match answer.kind {
        DONE => 0,
        _ if answer.flags & FLAG_CAPPED != 0 => HEADER_BYTES,
        _ => usize::try_from(word(answer.payload, 4)?).ok()?.next_multiple_of(4),
    };
    let attrs = Attrs(answer.payload.get(4 + repeated..)?);
    let mut parts = Vec::new();
    if let Some(text) = attrs.find(ERROR_TEXT) {
        parts.push(text.text().to_owned());
    }
    if let Some(missing) = attrs.find(ERROR_MISSING).and_then(|attr| attr.number()) {
        parts.push(format!("attribute {missing} is missing"));
    }
    if let Some(kind) = attrs.find(ERROR_OFFSET).and_then(|attr| attr.number()) {
        // The offset counts from the request's header to the attribute it dislikes.
        let kind = usize::try_from(kind).ok().and_then(|at| half(sent, at + 2));
        parts.extend(kind.map(|kind| format!("attribute {}", kind & 0x3fff)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tlv::Writer;

    fn error(flags: u16, errno: i32, sent: &[u8], attrs: &Writer) -> Vec<u8> {
        let mut payload = errno.to_ne_bytes().to_vec();
        payload.extend_from_slice(if flags & FLAG_CAPPED != 0 { &sent[..16] } else { sent });
        payload.extend_from_slice(attrs.as_bytes());
        request(ERROR, flags, 7, &payload)
    }

    #[test]
    fn the_kernels_words_reach_the_fault() {
        let mut body = Writer::new();
        body.u32(6, 99_999);
        let sent = request(20, FLAG_REQUEST | FLAG_ACK, 7, body.as_bytes());
        let mut attrs = Writer::new();
        attrs.text(ERROR_TEXT, "requested ring size exceeds maximum").u32(ERROR_OFFSET, 16);
        for flags in [FLAG_ACK_TLVS, FLAG_ACK_TLVS | FLAG_CAPPED] {
            let bytes = error(flags, -22, &sent, &attrs);
            let answer = Messages(&bytes).next().unwrap();
            let fault = verdict(&answer, "set ring.rx on eth1 to 99999", &sent).unwrap_err();
            assert_eq!(
                fault.to_string(),
                "set ring.rx on eth1 to 99999: requested ring size exceeds maximum, attribute 6: \
                 invalid argument (EINVAL)"
            );
        }
    }

    #[test]
    fn an_error_inside_done_counts_and_zero_does_not() {
        let bytes = request(DONE, 0, 1, &(-95_i32).to_ne_bytes());
        let fault = verdict(&Messages(&bytes).next().unwrap(), "dump", &[]).unwrap_err();
        assert_eq!(fault.kind, Kind::Unsupported);
        let bytes = request(DONE, 0, 1, &0_i32.to_ne_bytes());
        assert!(verdict(&Messages(&bytes).next().unwrap(), "dump", &[]).is_ok());
    }

    #[test]
    fn hostile_lengths_end_the_walk() {
        for length in [0_u32, 3, 15, 17, u32::MAX] {
            let mut bytes = request(16, 0, 1, &[]);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Messages(&bytes).count(), 0, "length {length}");
        }
    }
}
