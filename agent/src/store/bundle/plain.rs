//! JSON as nearly all entries have it: no blank between tokens, no escape in a string, whole numbers. Looked at
//! in a quarter of the time that a parser takes; of anything else the parser has the word.

/// No entry nests so deep; the parser's own limit is 128.
const DEPTH_MAX: u32 = 64;

/// Whether this is such a text. `false` says nothing. The bytes are UTF-8.
pub(super) fn is_json(text: &[u8]) -> bool {
    value(text, 0, 0) == Some(text.len())
}

/// Where the value that begins at `at` ends.
fn value(text: &[u8], at: usize, depth: u32) -> Option<usize> {
    match text.get(at)? {
        b'"' => string(text, at + 1),
        b'{' if depth < DEPTH_MAX => object(text, at + 1, depth + 1),
        b'[' if depth < DEPTH_MAX => array(text, at + 1, depth + 1),
        b'-' | b'0'..=b'9' => number(text, at),
        b't' => word(text, at, b"true"),
        b'f' => word(text, at, b"false"),
        b'n' => word(text, at, b"null"),
        _ => None,
    }
}

/// What follows an opening quote.
fn string(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'"' || *byte == b'\\' || *byte < 0x20)?;
    (rest[end] == b'"').then_some(at + end + 1)
}

fn object(text: &[u8], at: usize, depth: u32) -> Option<usize> {
    if text.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    let mut at = at;
    loop {
        at = expect(text, at, b'"').and_then(|at| string(text, at))?;
        at = expect(text, at, b':').and_then(|at| value(text, at, depth))?;
        match text.get(at)? {
            b',' => at += 1,
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

fn array(text: &[u8], at: usize, depth: u32) -> Option<usize> {
    if text.get(at) == Some(&b']') {
        return Some(at + 1);
    }
    let mut at = at;
    loop {
        at = value(text, at, depth)?;
        match text.get(at)? {
            b',' => at += 1,
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// A whole number: no leading zero, no fraction, no exponent.
fn number(text: &[u8], at: usize) -> Option<usize> {
    let from = at + usize::from(text.get(at) == Some(&b'-'));
    let digits = text.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = from + digits;
    let zero = text.get(from) == Some(&b'0');
    let more = matches!(text.get(end), Some(b'.' | b'e' | b'E'));
    (digits > 0 && (!zero || digits == 1) && !more).then_some(end)
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn expect(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    (text.get(at) == Some(&byte)).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    const ENTRY: &str = r#"{"v":2,"seq":17,"at":{"utc_ns":1767576600000000000,"boot_id":"5f-1"},"ok":true,"no":null,"list":[],"more":[1,-2,"x",{}],"word":"üß"}"#;

    #[test]
    fn an_entry_is_known_at_sight() {
        assert!(is_json(ENTRY.as_bytes()));
        for text in ["{}", "[]", "0", "-1", "\"\"", "true", "false", "null", "[[[[]]]]"] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            " {}",
            "{ }",
            "01",
            "-",
            "1.5",
            "1e3",
            "tru",
            "{\"a\":1,}",
            "[,]",
            "\"\\n\"",
            "{}{}",
        ] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
        assert!(!is_json("[".repeat(100_000).as_bytes()));
    }

    /// Whatever is done to an entry: what is taken at sight the parser takes, too.
    #[test]
    fn nothing_is_taken_that_the_parser_refuses() {
        let bytes = b"{}[]:,\"\\-+.0129eEtfn \n\x1fx";
        let good = ENTRY.as_bytes();
        let check = |text: &[u8]| {
            let Ok(words) = std::str::from_utf8(text) else { return };
            let taken = serde_json::from_str::<IgnoredAny>(words).is_ok();
            assert!(!is_json(text) || taken, "{words}");
        };
        for at in 0..good.len() {
            check(&good[..at]);
            check(&good[at..]);
            check(&[&good[..at], &good[at + 1..]].concat());
            for byte in bytes {
                check(&[&good[..at], &[*byte], &good[at..]].concat());
                check(&[&good[..at], &[*byte], &good[at + 1..]].concat());
            }
        }
    }
}
