//! A kernel object as the rtnetlink message that makes it again: the dump's own bytes, with what only
//! reports taken out, and every interface by name instead of by index.
//!
//! Keeping the bytes makes a restore exact without a decoder for every attribute there will ever be:
//! what the kernel said is what it is told. Source: include/uapi/linux/{rtnetlink,if_link}.h.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Host, Mode, tlv::Attr},
};

/// NLA_TYPE_MASK: what is left are NLA_F_NESTED and NLA_F_NET_BYTEORDER.
const TYPE_MASK: u16 = 0x3fff;
/// A body is one rtnetlink message: the kernel dumps none longer than its 32 KiB buffer.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Bytes that JSON shows in hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.as_bytes();
        if bytes.len() % 2 != 0 || bytes.len() > 2 * BODY_BYTES_MAX {
            return Err(de::Error::custom(
                "not an even number of hexadecimal digits within 64 KiB",
            ));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
        let read: Option<Vec<u8>> = bytes.chunks(2).map(pair).collect();
        read.map(Bytes).ok_or_else(|| de::Error::custom("not hexadecimal"))
    }
}

/// A message with the places where interface indexes belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Message {
    /// RTM_NEW*.
    pub(super) kind: u16,
    body: Bytes,
    /// Byte offsets in the body, and the name of the interface whose index goes there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<(u32, String)>,
}

impl Message {
    /// The interfaces it names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(|(_, name)| name.as_str())
    }

    /// Overwrites one byte of the family's struct.
    pub(super) fn set_byte(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.body.0.get_mut(at) {
            *place = byte;
        }
    }

    /// Tells the kernel, with the indexes that the interfaces have now; `more` are attributes that
    /// only the moment knows (a lifetime).
    pub(super) fn send(
        &self,
        host: &dyn Host,
        names: &Names,
        mode: Mode,
        act: &str,
        more: &[u8],
    ) -> Result<()> {
        let mut payload = self.body.0.clone();
        for (at, name) in &self.links {
            let gone = || Fault::new(Kind::Gone, act, format!("{name} is not there"));
            let index = names.index(name).ok_or_else(gone)?;
            let at = *at as usize;
            let place = payload.get_mut(at..at + 4);
            let damaged = || Fault::new(Kind::Malformed, act, "an interface beyond the message");
            place.ok_or_else(damaged)?.copy_from_slice(&index.to_ne_bytes());
        }
        payload.extend_from_slice(more);
        let ask = Ask::Route { kind: self.kind, mode, payload };
        host.request(&ask).map(|_| ()).map_err(|fault| fault.during(act))
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.body)?;
        self.links.iter().try_for_each(|(at, name)| write!(f, " {at}:{name}"))
    }
}

/// Builds a message out of a dump's answer.
pub(super) struct Builder<'a> {
    names: &'a Names,
    body: Vec<u8>,
    links: Vec<(u32, String)>,
}

impl<'a> Builder<'a> {
    /// Begins with the family's struct, already free of what only reports.
    pub(super) fn new(names: &'a Names, header: &[u8]) -> Builder<'a> {
        Builder { names, body: header.to_vec(), links: Vec::new() }
    }

    /// The four bytes at `at` of the struct are an interface's index.
    pub(super) fn header_link(&mut self, at: usize) -> &mut Self {
        let index = self.body.get(at..at + 4).map_or(0, word);
        self.hole(at, index);
        self
    }

    /// An attribute as it came, flag bits included.
    pub(super) fn attribute(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let at = self.open(kind);
        self.body.extend_from_slice(payload);
        self.close(at)
    }

    /// An attribute that is an interface's index.
    pub(super) fn link(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let at = self.open(kind);
        self.index(payload.get(..4).map_or(0, word));
        self.close(at)
    }

    /// Begins an attribute; [`Builder::close`] ends it.
    pub(super) fn open(&mut self, kind: u16) -> usize {
        let at = self.body.len();
        self.body.extend_from_slice(&[0, 0]);
        self.body.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    /// Bytes inside the open attribute.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.body.extend_from_slice(bytes);
        self
    }

    /// An interface's index inside the open attribute.
    pub(super) fn index(&mut self, index: u32) -> &mut Self {
        let at = self.body.len();
        self.body.extend_from_slice(&index.to_ne_bytes());
        self.hole(at, index);
        self
    }

    /// Ends the attribute (or other structure with a length in its first two bytes) begun at `at`.
    pub(super) fn close(&mut self, at: usize) -> &mut Self {
        let length = u16::try_from(self.body.len() - at).unwrap_or(u16::MAX);
        self.body[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn length(&self) -> usize {
        self.body.len()
    }

    pub(super) fn build(self, kind: u16) -> Message {
        Message { kind, body: Bytes(self.body), links: self.links }
    }

    /// Index 0 is no interface and stays.
    fn hole(&mut self, at: usize, index: u32) {
        if index == 0 {
            return;
        }
        self.links.push((at as u32, self.names.name(index)));
        self.body[at..at + 4].fill(0);
    }
}

/// The links' names and indexes at one moment.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<u32, String>,
    indexes: BTreeMap<String, u32>,
}

impl Names {
    pub(super) fn insert(&mut self, index: u32, name: &str) {
        self.names.insert(index, name.to_owned());
        self.indexes.insert(name.to_owned(), index);
    }

    pub(super) fn index(&self, name: &str) -> Option<u32> {
        self.indexes.get(name).copied()
    }

    /// An index without a link (its namespace is another) is shown as such, and never restored.
    pub(super) fn name(&self, index: u32) -> String {
        self.names.get(&index).cloned().unwrap_or_else(|| format!("interface {index}"))
    }
}

/// Attributes with their flag bits, which a replay needs: type with bits, then the payload.
pub(super) fn raw(mut bytes: &[u8]) -> impl Iterator<Item = (u16, Attr<'_>)> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let raw = u16::from_ne_bytes([header[2], header[3]]);
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((raw, Attr { kind: raw & TYPE_MASK, payload }))
    })
}

/// A number in host byte order from the first four bytes; 0 where there are fewer.
pub(super) fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_ne_bytes(*word))
}

/// All objects of one kind: a dump of `kind` with this struct as its filter.
pub(super) fn dump(host: &dyn Host, kind: u16, header: &[u8], what: &str) -> Result<Vec<Vec<u8>>> {
    let ask = Ask::Route { kind, mode: Mode::Dump, payload: header.to_vec() };
    host.request(&ask).map_err(|fault| fault.during(format!("list the {what}")))
}

/// The same, where a kernel may lack the whole kind: nothing then.
pub(super) fn dump_if_any(
    host: &dyn Host,
    kind: u16,
    header: &[u8],
    what: &str,
) -> Result<Vec<Vec<u8>>> {
    match dump(host, kind, header, what) {
        Err(fault) if fault.kind == Kind::Unsupported => Ok(Vec::new()),
        outcome => outcome,
    }
}
