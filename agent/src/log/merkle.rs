//! Merkle tree hashes of RFC 6962, section 2.1 (<https://www.rfc-editor.org/rfc/rfc6962#section-2.1>).
//! Pure.

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// The hash of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of two subtrees.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0; 65];
    bytes[0] = 1;
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The root of a tree without leaves.
pub fn empty() -> Hash {
    Sha256::digest([]).into()
}

/// The right edge of a growing tree: the roots of its complete subtrees, the largest first.
///
/// What it is fed with may be leaves, or the roots of complete subtrees of one size: the tree over 256
/// leaves each has the same shape above them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    /// Leaves so far.
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(leaf, 1);
    }

    /// Adds a complete subtree of `leaves` leaves, a power of two that divides the size so far.
    pub fn push_subtree(&mut self, root: Hash, leaves: u64) {
        let mut root = root;
        // As many merges as the carry of a binary addition has ones to run through.
        let mut merges = (self.size / leaves).trailing_ones();
        while merges > 0 {
            if let Some(left) = self.roots.pop() {
                root = node(&left, &root);
            }
            merges -= 1;
        }
        self.roots.push(root);
        self.size += leaves;
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return empty() };
        roots.fold(*last, |right, left| node(left, &right))
    }

    /// The root with a last subtree after these that is not complete, and smaller than any of them.
    pub fn root_with(&self, rest: Hash) -> Hash {
        self.roots.iter().rev().fold(rest, |right, left| node(left, &right))
    }
}

/// The root over these leaves.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut edge = Edge::default();
    leaves.iter().for_each(|leaf| edge.push(*leaf));
    edge.root()
}

/// The largest power of two below `n`; `n` is at least 2.
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Gives the root over leaves `from..to`, a subtree of the whole.
pub type Roots<'a, E> = dyn Fn(u64, u64) -> Result<Hash, E> + 'a;

/// The audit path of leaf `index` in the tree of `size` leaves, the leaf's sibling first.
///
/// # Errors
/// Whatever `roots` gives.
pub fn inclusion<E>(index: u64, size: u64, roots: &Roots<'_, E>) -> Result<Vec<Hash>, E> {
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(roots(middle, to)?);
            to = middle;
        } else {
            path.push(roots(from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The root that this path leads to from `leaf`; nothing where the path has not the right length.
pub fn root_by_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    let mut path = path.iter();
    while last > 0 {
        if at & 1 == 1 || at == last {
            // The right edge climbs until it has a sibling on its left.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
            if at & 1 == 1 {
                hash = node(path.next()?, &hash);
            }
        } else {
            hash = node(&hash, path.next()?);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    path.next().is_none().then_some(hash)
}

/// The proof that the tree of `old` leaves is the beginning of the one of `new` leaves.
///
/// # Errors
/// Whatever `roots` gives.
pub fn consistency<E>(old: u64, new: u64, roots: &Roots<'_, E>) -> Result<Vec<Hash>, E> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut from, mut to, mut rest) = (0, new, old);
    // Whether the old tree is a subtree that both sides know.
    let mut whole = true;
    while rest != to - from {
        let k = split(to - from);
        if rest <= k {
            proof.push(roots(from + k, to)?);
            to = from + k;
        } else {
            proof.push(roots(from, from + k)?);
            (from, rest, whole) = (from + k, rest - k, false);
        }
    }
    if !whole {
        proof.push(roots(from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that the tree (`old`, `old_root`) is the beginning of (`new`, `new_root`).
pub fn consistent(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old > new {
        return false;
    }
    if old == new || old == 0 {
        let known = if old == 0 { *old_root == empty() } else { old_root == new_root };
        return proof.is_empty() && known;
    }
    let mut proof = proof.iter();
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let first = if at == 0 { Some(old_root) } else { proof.next() };
    let Some(first) = first else { return false };
    let (mut left, mut right) = (*first, *first);
    for hash in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (left, right) = (node(hash, &left), node(hash, &right));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            right = node(&right, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && left == *old_root && right == *new_root
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// As the RFC defines it, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty(),
            [one] => *one,
            many => {
                let (left, right) = many.split_at(split(many.len() as u64) as usize);
                node(&mth(left), &mth(right))
            }
        }
    }

    fn leaves(n: u64) -> Vec<Hash> {
        (0..n).map(|i| leaf(&i.to_be_bytes())).collect()
    }

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The roots that Certificate Transparency's reference tests have for its eight leaves.
    #[test]
    fn roots_are_those_of_the_reference() {
        let inputs: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[
                0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
                0x6e, 0x6f,
            ],
        ];
        let all: Vec<Hash> = inputs.iter().map(|input| leaf(input)).collect();
        for (n, wanted) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(hex(root(&all[..n])), wanted, "{n} leaves");
        }
    }

    #[test]
    fn every_proof_up_to_seventy_leaves_holds_and_none_else() {
        let all = leaves(70);
        let roots = |from: u64, to: u64| -> Result<Hash, Infallible> {
            Ok(mth(&all[from as usize..to as usize]))
        };
        for size in 1..=70_u64 {
            let whole = mth(&all[..size as usize]);
            assert_eq!(root(&all[..size as usize]), whole);
            for index in 0..size {
                let Ok(path) = inclusion(index, size, &roots);
                let leaf = &all[index as usize];
                assert_eq!(root_by_inclusion(leaf, index, size, &path), Some(whole));
                assert_ne!(
                    root_by_inclusion(&all[69], index, size, &path),
                    Some(whole).filter(|_| index != 69)
                );
                let short = &path[..path.len().saturating_sub(1)];
                assert_ne!(
                    root_by_inclusion(leaf, index, size, short).filter(|_| size > 1),
                    Some(whole)
                );
            }
            for old in 0..=size {
                let before = mth(&all[..old as usize]);
                let Ok(proof) = consistency(old, size, &roots);
                assert!(consistent(old, &before, size, &whole, &proof), "{old} {size}");
                if old < size {
                    assert!(!consistent(old, &whole, size, &whole, &proof), "{old} {size}");
                }
                let mut long = proof.clone();
                long.push(whole);
                assert!(!consistent(old, &before, size, &whole, &long), "{old} {size}");
            }
        }
    }

    #[test]
    fn subtrees_make_the_same_edge_as_leaves() {
        let all = leaves(1000);
        for blocks in 0..=3_usize {
            let mut edge = Edge::default();
            for block in all[..blocks * 256].chunks(256) {
                edge.push_subtree(mth(block), 256);
            }
            if blocks == 3 {
                assert_eq!(edge.root_with(mth(&all[768..])), mth(&all));
            }
            all[blocks * 256..].iter().for_each(|leaf| edge.push(*leaf));
            assert_eq!((edge.size(), edge.root()), (1000, mth(&all)));
        }
    }
}
