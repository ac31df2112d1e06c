//! Netlink attributes: one small codec for every family we speak.
//!
//! Format: `struct nlattr` of include/uapi/linux/netlink.h: u16 length (header included), u16 type with
//! flag bits, the payload, padding to 4 bytes. Numbers are in host byte order.

/// The flag bit that marks an attribute holding attributes.
pub const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// Builds a run of attributes.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    pub fn put(&mut self, kind: u16, payload: &[u8]) -> &mut Writer {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Writer {
        self.put(kind, &[value])
    }

    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Writer {
        self.put(kind, &value.to_ne_bytes())
    }

    pub fn u64(&mut self, kind: u16, value: u64) -> &mut Writer {
        self.put(kind, &value.to_ne_bytes())
    }

    /// A NUL-terminated string.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Writer {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    pub fn flag(&mut self, kind: u16) -> &mut Writer {
        self.put(kind, &[])
    }

    pub fn nest(&mut self, kind: u16, inner: &Writer) -> &mut Writer {
        self.put(kind | NESTED, &inner.bytes)
    }

    /// Another run of attributes, after what is there.
    pub fn append(&mut self, more: &Writer) -> &mut Writer {
        self.bytes.extend_from_slice(&more.bytes);
        self
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One attribute of a message.
#[derive(Debug, Clone, Copy)]
pub struct Attr<'a> {
    pub kind: u16,
    pub payload: &'a [u8],
}

impl<'a> Attr<'a> {
    /// A number of one, two, four or eight bytes (`uint` attributes come as either).
    pub fn number(&self) -> Option<u64> {
        match *self.payload {
            [a] => Some(u64::from(a)),
            [a, b] => Some(u64::from(u16::from_ne_bytes([a, b]))),
            [a, b, c, d] => Some(u64::from(u32::from_ne_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
            _ => None,
        }
    }

    /// A string, without its terminating NUL.
    pub fn text(&self) -> &'a str {
        let end = self.payload.iter().position(|&b| b == 0).unwrap_or(self.payload.len());
        std::str::from_utf8(&self.payload[..end]).unwrap_or("")
    }

    pub fn nested(&self) -> Attrs<'a> {
        Attrs(self.payload)
    }
}

/// Walks a run of attributes; stops at the first that does not fit (bounded by the buffer).
#[derive(Debug, Clone, Copy)]
pub struct Attrs<'a>(pub &'a [u8]);

impl<'a> Attrs<'a> {
    pub fn find(self, kind: u16) -> Option<Attr<'a>> {
        let mut attrs = self;
        Iterator::find(&mut attrs, |attr| attr.kind == kind)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let header = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let payload = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Attr { kind, payload })
    }
}
