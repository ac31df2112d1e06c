//! ethtool netlink's bitsets: the compact form (words) and the verbose one (a nest a bit).
//!
//! Source: Documentation/networking/ethtool-netlink.rst "Bit sets"; net/ethtool/bitset.c.

use super::Refusal;
use crate::host::tlv::{Attrs, Writer};

// ETHTOOL_A_BITSET_*
const NOMASK: u16 = 1;
const SIZE: u16 = 2;
const BITS: u16 = 3;
const VALUE: u16 = 4;
const MASK: u16 = 5;
// ETHTOOL_A_BITSET_BITS_BIT and ETHTOOL_A_BITSET_BIT_*
const BIT: u16 = 1;
const BIT_INDEX: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// How the asker wants bitsets (ETHTOOL_FLAG_COMPACT_BITSETS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Compact,
    Verbose,
}

/// Puts a bitset; without a mask it is a list of set bits.
pub(super) fn put(
    out: &mut Writer,
    attr: u16,
    form: Form,
    names: &[String],
    value: &[bool],
    mask: Option<&[bool]>,
) {
    let mut set = Writer::new();
    if mask.is_none() {
        set.flag(NOMASK);
    }
    set.u32(SIZE, names.len() as u32);
    match form {
        Form::Compact => {
            set.put(VALUE, &words(value));
            if let Some(mask) = mask {
                set.put(MASK, &words(mask));
            }
        }
        Form::Verbose => {
            let mut bits = Writer::new();
            for (i, name) in names.iter().enumerate() {
                if !mask.unwrap_or(value)[i] {
                    continue;
                }
                let mut bit = Writer::new();
                bit.u32(BIT_INDEX, i as u32);
                if !name.is_empty() {
                    bit.text(BIT_NAME, name);
                }
                if mask.is_some() && value[i] {
                    bit.flag(BIT_VALUE);
                }
                bits.nest(BIT, &bit);
            }
            set.nest(BITS, &bits);
        }
    }
    out.nest(attr, &set);
}

/// What a request asks of each bit: `None` leaves it as it is.
pub(super) fn parse(set: Attrs<'_>, names: &[String]) -> Result<Vec<Option<bool>>, Refusal> {
    let listed = set.find(NOMASK).is_some();
    let mut wanted = vec![if listed { Some(false) } else { None }; names.len()];
    if let Some(bits) = set.find(BITS) {
        for bit in bits.nested() {
            let i = position(bit.nested(), names)?;
            wanted[i] = Some(listed || bit.nested().find(BIT_VALUE).is_some());
        }
        return Ok(wanted);
    }
    let bad = || Refusal::errno(libc::EINVAL);
    let size = set.find(SIZE).and_then(|a| a.number()).ok_or_else(bad)? as usize;
    let value = set.find(VALUE).ok_or_else(bad)?.payload;
    let mask = set.find(MASK).map(|a| a.payload);
    if listed == mask.is_some() || value.len() != size.div_ceil(32) * 4 {
        return Err(bad());
    }
    for i in 0..size {
        let asked = mask.is_none_or(|mask| bit_of(mask, i));
        if !asked {
            continue;
        }
        match wanted.get_mut(i) {
            Some(bit) => *bit = Some(bit_of(value, i)),
            None if bit_of(value, i) => return Err(Refusal::errno(libc::EOPNOTSUPP)),
            None => {}
        }
    }
    Ok(wanted)
}

fn position(bit: Attrs<'_>, names: &[String]) -> Result<usize, Refusal> {
    if let Some(index) = bit.find(BIT_INDEX).and_then(|a| a.number()) {
        return match usize::try_from(index) {
            Ok(i) if i < names.len() => Ok(i),
            Ok(_) | Err(_) => Err(Refusal::because(libc::EOPNOTSUPP, "bit index out of range")),
        };
    }
    let name = bit.find(BIT_NAME).ok_or_else(|| Refusal::errno(libc::EINVAL))?;
    names
        .iter()
        .position(|n| n == name.text())
        .ok_or_else(|| Refusal::because(libc::EOPNOTSUPP, "bit name not found"))
}

fn words(bits: &[bool]) -> Vec<u8> {
    let word = |chunk: &[bool]| -> u32 {
        chunk.iter().enumerate().map(|(i, &on)| u32::from(on) << i).sum()
    };
    bits.chunks(32).flat_map(|chunk| word(chunk).to_ne_bytes()).collect()
}

fn bit_of(words: &[u8], i: usize) -> bool {
    let word = words.get(i / 32 * 4..i / 32 * 4 + 4);
    let word = word.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    word >> (i % 32) & 1 == 1
}
