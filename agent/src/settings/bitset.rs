//! Ethtool netlink's bit sets: many switches in one attribute.
//!
//! Compact ones are bit maps of u32 words; verbose ones list bits, each with its name. We read compact
//! ones where every NIC has the same names, and write verbose ones, so that the kernel, not we, finds
//! the bit of a name. Source: Documentation/networking/ethtool-netlink.rst "Bit sets".

use crate::host::tlv::{Attrs, Writer};

/// `ETHTOOL_A_BITSET_*`.
const NOMASK: u16 = 1;
const SIZE: u16 = 2;
const BITS: u16 = 3;
const VALUE: u16 = 4;
/// `ETHTOOL_A_BITSET_BITS_BIT`, `ETHTOOL_A_BITSET_BIT_*`.
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// A compact bit set's bits, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u32>);

impl Bits {
    /// Whether bit `number` is set. What lies outside is not.
    pub(super) fn has(&self, number: u32) -> bool {
        let word = usize::try_from(number / 32).ok().and_then(|at| self.0.get(at));
        word.is_some_and(|word| word >> (number % 32) & 1 == 1)
    }
}

/// The bits of a compact set, cut to the size it says.
pub(super) fn compact(set: Attrs<'_>) -> Option<Bits> {
    let size = set.find(SIZE)?.number()?;
    let words = set.find(VALUE)?.payload.chunks_exact(4);
    let size_words = usize::try_from(size.div_ceil(32)).ok()?;
    let word = |bytes: &[u8]| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Some(Bits(words.map(word).take(size_words).collect()))
}

/// The named bits of a verbose set, each with its value, in the kernel's order.
pub(crate) fn verbose(set: Attrs<'_>) -> Vec<(String, bool)> {
    let bits = set.find(BITS).into_iter().flat_map(|bits| bits.nested());
    let named = bits.filter(|bit| bit.kind == BIT).filter_map(|bit| {
        let bit = bit.nested();
        let name = bit.find(BIT_NAME)?.text();
        (!name.is_empty()).then(|| (name.to_owned(), bit.find(BIT_VALUE).is_some()))
    });
    named.collect()
}

/// A verbose set that changes these bits and no others.
pub(crate) fn changing<'a>(bits: impl Iterator<Item = (&'a str, bool)>) -> Writer {
    let mut list = Writer::new();
    for (name, on) in bits {
        let mut bit = Writer::new();
        bit.text(BIT_NAME, name);
        if on {
            bit.flag(BIT_VALUE);
        }
        list.nest(BIT, &bit);
    }
    let mut set = Writer::new();
    set.nest(BITS, &list);
    set
}

/// A verbose set of these bits alone: any other is off.
pub(crate) fn only<'a>(bits: impl Iterator<Item = &'a str>) -> Writer {
    let mut list = Writer::new();
    for name in bits {
        let mut bit = Writer::new();
        bit.text(BIT_NAME, name);
        list.nest(BIT, &bit);
    }
    let mut set = Writer::new();
    set.flag(NOMASK).nest(BITS, &list);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let set = changing([("rx-gro", true), ("tx-nocache-copy", false)].into_iter());
        let read = verbose(Attrs(set.as_bytes()));
        assert_eq!(read, [("rx-gro".to_owned(), true), ("tx-nocache-copy".to_owned(), false)]);
    }

    #[test]
    fn a_map_is_cut_to_its_size() {
        let mut set = Writer::new();
        let words: Vec<u8> = [1_u32, 1 << 31, 1].iter().flat_map(|w| w.to_ne_bytes()).collect();
        set.u32(SIZE, 64).put(VALUE, &words);
        let bits = compact(Attrs(set.as_bytes())).unwrap();
        let set: Vec<u32> = (0..200).filter(|n| bits.has(*n)).collect();
        assert_eq!(set, [0, 63]);
        assert_eq!(compact(Attrs(&[])), None);
    }
}
