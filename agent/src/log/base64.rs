//! Base 64 of RFC 4648, section 4, padded; one encoding of each text is accepted. Pure.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let index = (word >> (18 - 6 * n)) as usize & 63;
            text.push(if n <= three.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

/// `None` where the text is no base 64, or not the one that [`encode`] gives.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.as_bytes().chunks(4) {
        let mut word = 0;
        for letter in four {
            let value = match letter {
                b'=' => 0,
                letter => ALPHABET.iter().position(|known| known == letter)? as u32,
            };
            word = word << 6 | value;
        }
        bytes.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    let padding = text.bytes().rev().take_while(|letter| *letter == b'=').count();
    bytes.truncate(bytes.len().checked_sub(padding)?);
    // Anything odd (a letter too few, padding in the middle, bits left over) is not written so again.
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn the_rfcs_own_examples() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        for bad in ["Zg=", "Zg", "Zh==", "Z===", "====", "Zm9v=", "Z=9v", "Zm9\n", "é"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
