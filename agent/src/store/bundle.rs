//! Entry bundles: how the log's entries lie in bytes. Pure.
//!
//! C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>): a bundle holds up to 256 entries, one after the
//! other, each a big-endian u16 length and so many bytes. Bundle N is the file `tile/entries/<N>`, N in
//! groups of three digits of which all but the last begin with an `x`: 1234067 is `x001/x234/067`.
//!
//! Our entries are JSON texts, so never empty: a length of zero is space that was never written.

mod plain;

use serde::de::IgnoredAny;

/// Entries in a full bundle.
pub const ENTRIES: usize = 256;
/// The longest entry, bytes.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
const LENGTH_BYTES: usize = 2;

/// Why the bytes after the last whole entry are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// A single byte where a length should be.
    ShortLength,
    /// Fewer bytes than the length says.
    ShortEntry,
    /// Zeros to the end: the file grew and its data never came.
    Zeros,
    /// Bytes that are no JSON text, or follow a full bundle.
    Garbage,
}

/// What a bundle's bytes hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    pub entries: Vec<Vec<u8>>,
    /// How many bytes the whole entries take.
    pub whole: usize,
    pub tear: Option<Tear>,
}

/// The log is damaged where it was already durable, or in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// The offset of the first entry that cannot be read.
    pub at: usize,
}

/// `tile/entries/x001/234`
pub fn path(bundle: u64) -> String {
    let mut groups = vec![format!("{:03}", bundle % 1000)];
    let mut rest = bundle / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    format!("tile/entries/{}", groups.join("/"))
}

/// The bytes of these entries. Each is 1 to [`ENTRY_BYTES_MAX`] bytes; see [`fits`].
pub fn encode(entries: &[Vec<u8>]) -> Vec<u8> {
    let total = entries.iter().map(|entry| encoded_bytes(entry)).sum();
    let mut bytes = Vec::with_capacity(total);
    for entry in entries {
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// How many bytes an entry takes in a bundle.
pub fn encoded_bytes(entry: &[u8]) -> usize {
    LENGTH_BYTES + entry.len()
}

/// Whether an entry can be written so that it will be read again.
pub fn fits(entry: &[u8]) -> bool {
    entry.len() <= ENTRY_BYTES_MAX && is_json(entry)
}

/// Reads a bundle whose first `durable` bytes are known to have reached the disk.
///
/// What cannot be read after them is a torn tail, unless whole entries follow it: a crash tears the end
/// of a file and not its middle, so that is damage.
pub fn scan(bytes: &[u8], durable: usize) -> Result<Scan, Damaged> {
    let mut scan = Scan { entries: Vec::new(), whole: 0, tear: None };
    while scan.whole < bytes.len() {
        let at = scan.whole;
        match entry_at(bytes, at) {
            Ok(entry) if scan.entries.len() < ENTRIES => {
                scan.whole += LENGTH_BYTES + entry.len();
                scan.entries.push(entry.to_vec());
            }
            found => {
                let tear = found.err().unwrap_or(Tear::Garbage);
                if at < durable || more_follows(bytes, at) {
                    return Err(Damaged { at });
                }
                scan.tear = Some(tear);
                break;
            }
        }
    }
    // Shorter than it was: entries that were durable are gone.
    if scan.whole < durable {
        return Err(Damaged { at: scan.whole });
    }
    Ok(scan)
}

/// The entries by their lengths alone, whatever stands in them; `None` where the lengths do not lead to the
/// end, so that nobody knows where an entry begins.
pub fn frames(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        if entry.is_empty() || frames.len() == ENTRIES {
            return None;
        }
        frames.push(entry.to_vec());
        rest = after;
    }
    Some(frames)
}

fn entry_at(bytes: &[u8], at: usize) -> Result<&[u8], Tear> {
    let rest = &bytes[at..];
    if rest.iter().all(|byte| *byte == 0) {
        return Err(Tear::Zeros);
    }
    let length = rest.first_chunk::<LENGTH_BYTES>().ok_or(Tear::ShortLength)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let entry = rest.get(LENGTH_BYTES..LENGTH_BYTES + length).ok_or(Tear::ShortEntry)?;
    if is_json(entry) { Ok(entry) } else { Err(Tear::Garbage) }
}

/// Whether a whole entry stands right after the unreadable one at `at`.
fn more_follows(bytes: &[u8], at: usize) -> bool {
    let Some(length) = bytes[at..].first_chunk::<LENGTH_BYTES>() else { return false };
    let next = at + LENGTH_BYTES + usize::from(u16::from_be_bytes(*length));
    next < bytes.len() && entry_at(bytes, next).is_ok()
}

fn is_json(entry: &[u8]) -> bool {
    // from_slice accepts invalid UTF-8 inside strings that it ignores; the format does not.
    std::str::from_utf8(entry).is_ok_and(|text| {
        plain::is_json(entry)
            || (!text.is_empty() && serde_json::from_str::<IgnoredAny>(text).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Vec<u8>> {
        ["{\"a\":1}", "{\"b\":\"two\"}", "{\"c\":[3]}"].map(|t| t.as_bytes().to_vec()).to_vec()
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(path(0), "tile/entries/000");
        assert_eq!(path(999), "tile/entries/999");
        assert_eq!(path(1234), "tile/entries/x001/234");
        assert_eq!(path(1_234_067), "tile/entries/x001/x234/067");
    }

    #[test]
    fn entries_lie_as_the_specification_says() {
        assert_eq!(encode(&[b"{}".to_vec()]), [0, 2, b'{', b'}']);
        let bytes = encode(&three());
        let scan = scan(&bytes, bytes.len()).unwrap();
        assert_eq!((scan.entries, scan.whole, scan.tear), (three(), bytes.len(), None));
    }

    #[test]
    fn every_cut_is_a_whole_prefix_and_a_tear() {
        let bytes = encode(&three());
        for cut in 0..bytes.len() {
            let scan = scan(&bytes[..cut], 0).unwrap();
            assert_eq!(encode(&scan.entries), bytes[..scan.whole], "cut at {cut}");
            assert_eq!(scan.tear.is_none(), scan.whole == cut, "cut at {cut}");
            assert_eq!(scan.entries, three()[..scan.entries.len()]);
        }
    }

    #[test]
    fn tails_are_told_apart() {
        let good = encode(&three());
        let with = |tail: &[u8]| [good.as_slice(), tail].concat();
        for (tail, tear) in [
            (&[0][..], Tear::Zeros),
            (&[0; 700][..], Tear::Zeros),
            (&[7][..], Tear::ShortLength),
            (&[0, 9, b'{'][..], Tear::ShortEntry),
            (&[0, 2, b'{', 0xff][..], Tear::Garbage),
            (&[0xff, 0xfe, 1, 2, 3][..], Tear::ShortEntry),
        ] {
            let bytes = with(tail);
            let scanned = scan(&bytes, good.len()).unwrap();
            assert_eq!((scanned.whole, scanned.tear), (good.len(), Some(tear)), "{tail:?}");
            assert_eq!(scan(&bytes, bytes.len()), Err(Damaged { at: good.len() }), "{tail:?}");
        }
    }

    #[test]
    fn a_damaged_middle_is_no_tear() {
        let first = 2 + three()[0].len();
        let mut bytes = encode(&three());
        bytes[first + 3] = 0xff;
        assert_eq!(scan(&bytes, 0), Err(Damaged { at: first }));
        // With the length itself damaged only the durable mark can tell.
        let mut bytes = encode(&three());
        bytes[first] = 0x7f;
        assert_eq!(scan(&bytes, bytes.len()), Err(Damaged { at: first }));
        assert_eq!(scan(&bytes, 0).unwrap().tear, Some(Tear::ShortEntry));
    }

    #[test]
    fn a_log_shorter_than_it_was_is_damaged() {
        let bytes = encode(&three());
        assert_eq!(scan(&bytes[..bytes.len() - 4], bytes.len()).unwrap_err().at, 9 + 13);
        assert!(scan(&[], 10).is_err());
    }

    #[test]
    fn what_would_not_be_read_again_does_not_fit() {
        for bad in [&b""[..], b"no json", b"{\"a\":\"\xff\"}", b"{}{}"] {
            assert!(!fits(bad));
        }
        let long = |n: usize| format!("\"{}\"", "x".repeat(n - 2)).into_bytes();
        assert!(fits(&long(ENTRY_BYTES_MAX)));
        assert!(!fits(&long(ENTRY_BYTES_MAX + 1)));
    }
}
