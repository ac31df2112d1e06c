//! Samples as a file: one a line, `send-time-ns latency-ns` or `send-time-ns lost`.
//!
//! The same format is kept as a run's evidence and read by `nicmend judge`, so that anybody can judge
//! again with a text editor and the binary. Flows are not part of it: no verdict looks at them.

use crate::{
    fault::{Fault, Kind, Result},
    measure::Sample,
};

/// The most samples that one file may hold: an hour at 2,700 packets a second.
pub const SAMPLES_MAX: usize = 10_000_000;

/// The longest line: two 20-digit numbers, a space, and room for a carriage return.
const LINE_MAX: usize = 42;

/// The most bytes that a file of [`SAMPLES_MAX`] samples can have; a reader may stop there.
pub const BYTES_MAX: usize = SAMPLES_MAX * (LINE_MAX + 1);

/// The samples, one a line, each line ended.
pub fn write(samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::with_capacity(samples.len() * 20);
    for sample in samples {
        out.extend_from_slice(sample.due_ns.to_string().as_bytes());
        out.push(b' ');
        match sample.is_lost() {
            true => out.extend_from_slice(b"lost"),
            false => out.extend_from_slice(sample.latency_ns.to_string().as_bytes()),
        }
        out.push(b'\n');
    }
    out
}

/// The samples of a file, in order of their send time.
///
/// `file` is only for messages. Strict: two fields, plain digits or `lost`, one space or tab between
/// them; an empty file is no error but no data either. Fails at the first bad line, as `FILE:LINE`.
pub fn read(bytes: &[u8], file: &str) -> Result<Vec<Sample>> {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut samples = Vec::with_capacity((body.len() / 10).min(SAMPLES_MAX));
    if body.is_empty() {
        return Ok(samples);
    }
    for (at, line) in body.split(|&b| b == b'\n').enumerate() {
        if at == SAMPLES_MAX {
            let cause = format!("more than {SAMPLES_MAX} samples");
            return Err(Fault::new(Kind::Malformed, format!("read {file}"), cause));
        }
        let sample = sample(line).map_err(|cause| {
            Fault::new(Kind::Malformed, format!("read {file}:{}", at + 1), cause)
        })?;
        samples.push(sample);
    }
    // A recorder may note replies in the order they came; everything after this relies on send order.
    if !samples.is_sorted_by_key(|s| s.due_ns) {
        samples.sort_by_key(|s| s.due_ns);
    }
    Ok(samples)
}

fn sample(line: &[u8]) -> Result<Sample, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LINE_MAX {
        return Err("line too long for `send-time-ns latency-ns`".to_owned());
    }
    let mut fields = line.split(|&b| b == b' ' || b == b'\t');
    let (Some(due), Some(latency), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(format!(
            "`{}` is not `send-time-ns latency-ns` or `send-time-ns lost`",
            printable(line)
        ));
    };
    let due_ns = number(due).ok_or_else(|| {
        format!("send time `{}` is not a whole number of nanoseconds", printable(due))
    })?;
    let latency_ns = match latency {
        b"lost" => Sample::LOST,
        digits => number(digits).filter(|&ns| ns != Sample::LOST).ok_or_else(|| {
            format!(
                "latency `{}` is neither a whole number of nanoseconds nor `lost`",
                printable(digits)
            )
        })?,
    };
    Ok(Sample { due_ns, latency_ns, flow: 0 })
}

/// Plain digits that fit; no sign, no separator, no exponent.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Foreign bytes in a message: escaped, so that a file cannot write to the operator's terminal.
fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let samples = [(0, 21_000), (1_000_000, Sample::LOST), (u64::MAX, 0)]
            .map(|(due_ns, latency_ns)| Sample { due_ns, latency_ns, flow: 0 });
        let bytes = write(&samples);
        assert_eq!(bytes, b"0 21000\n1000000 lost\n18446744073709551615 0\n");
        assert_eq!(read(&bytes, "a").expect("our own"), samples);
        assert_eq!(read(b"", "a").expect("empty is no data"), []);
        assert_eq!(read(b"1 2", "a").expect("the last line need not end").len(), 1);
    }

    #[test]
    fn samples_come_back_in_send_order() {
        let read = read(b"5 1\r\n3 2\r\n4 lost\r\n", "a").expect("good lines");
        assert_eq!(read.iter().map(|s| s.due_ns).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, at, says) in [
            ("1 2\n1 NaN\n", "f:2", "`NaN` is neither"),
            ("1\n", "f:1", "`1` is not"),
            ("1 2 3\n", "f:1", "is not"),
            ("1 2\n\n3 4\n", "f:2", "`` is not"),
            ("-1 2\n", "f:1", "send time `-1`"),
            ("+1 2\n", "f:1", "send time"),
            ("1 1e9\n", "f:1", "`1e9`"),
            ("1 18446744073709551615\n", "f:1", "neither"),
            ("18446744073709551616 1\n", "f:1", "send time"),
            ("1 LOST\n", "f:1", "neither"),
            ("\u{1b}[2J 1\n", "f:1", "\\x1b[2J"),
        ] {
            let fault = read(text.as_bytes(), "f").expect_err(text);
            assert_eq!(fault.kind, Kind::Malformed);
            assert!(fault.act.ends_with(at) && fault.cause.contains(says), "{text:?}: {fault}");
        }
        let long = [b"1 ".to_vec(), vec![b'9'; 1_000_000]].concat();
        assert!(read(&long, "f").expect_err("too long").cause.len() < 100);
    }
}
