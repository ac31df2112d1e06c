//! CPU sets in the kernel's two spellings: lists (`0-3,8`) and masks (`00000000,0000010f`).
//!
//! Source: Documentation/admin-guide/kernel-parameters.rst "cpu lists", lib/bitmap-str.c.

use std::collections::BTreeSet;

/// The most CPUs a simulated machine may have.
pub(super) const CPUS_MAX: u32 = 1024;

/// Parses `0-3,8`; an empty text is the empty set.
pub(super) fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    let text = text.trim();
    if text.is_empty() {
        return Some(set);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

/// `0-3,8`, as the kernel prints it.
pub(super) fn list(set: &BTreeSet<u32>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cpus = set.iter().copied().peekable();
    while let Some(first) = cpus.next() {
        let mut last = first;
        while let Some(next) = cpus.next_if_eq(&(last + 1)) {
            last = next;
        }
        parts.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
    }
    parts.join(",")
}

/// Parses `ff`, `00000000,0000010f`, `0x3`.
pub(super) fn parse_mask(text: &str) -> Option<BTreeSet<u32>> {
    let digits: String = text.trim().trim_start_matches("0x").replace(',', "");
    if digits.len() as u32 > CPUS_MAX / 4 {
        return None;
    }
    let mut set = BTreeSet::new();
    for (i, digit) in digits.chars().rev().enumerate() {
        let digit = digit.to_digit(16)?;
        set.extend((0..4).filter(|bit| digit >> bit & 1 == 1).map(|bit| i as u32 * 4 + bit));
    }
    Some(set)
}

/// The mask of a machine with this many CPUs: words of 32 bits, highest first.
pub(super) fn mask(set: &BTreeSet<u32>, cpus: u32) -> String {
    let word =
        |w: u32| (0..32).filter(|bit| set.contains(&(w * 32 + bit))).map(|b| 1u32 << b).sum();
    let words: Vec<u32> = (0..cpus.div_ceil(32).max(1)).rev().map(word).collect();
    match words.as_slice() {
        // A machine of up to 32 CPUs prints as many digits as it has CPUs in fours.
        [only] => format!("{only:0width$x}", width = cpus.div_ceil(4).max(1) as usize),
        many => many.iter().map(|w| format!("{w:08x}")).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_agree() {
        for text in ["", "0", "0-3,8", "1,3,5-6", "0-63", "31-32"] {
            let set = parse_list(text).unwrap();
            assert_eq!(list(&set), text);
            assert_eq!(parse_mask(&mask(&set, 64)).unwrap(), set);
        }
        assert_eq!(mask(&parse_list("0-3").unwrap(), 8), "0f");
        assert_eq!(mask(&parse_list("0,32").unwrap(), 64), "00000001,00000001");
        for bad in ["3-1", "x", "1,,2", "99999", "-1"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
        assert_eq!(parse_mask("zz"), None);
    }
}
