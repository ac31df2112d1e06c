//! Samples as a file: one a line, `send-time-ns latency-ns` or `send-time-ns lost`.
//!
//! The form is the contract's and is meant for other programs too, so reading is strict and bounded:
//! two fields, one space, digits or `lost`, every line ended by a newline (the last may lack it).

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
};

use crate::fault::{Fault, Kind, Result};

use super::Sample;

/// The most samples that are read from one file.
pub const SAMPLES_MAX: usize = 16 << 20;
/// Two numbers of 20 digits, a space, a newline, and a carriage return that is then refused by name.
const LINE_MAX: u64 = 64;

/// Writes samples in the order given. `began_ns` is added to every due time, so that a file may tell
/// UTC; 0 keeps the window's own time.
pub fn write(samples: &[Sample], began_ns: u64, to: impl Write) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, to);
    let mut line = [0; 44];
    let written: std::io::Result<()> = (|| {
        for sample in samples {
            let mut at = digits(began_ns.saturating_add(sample.due_ns), &mut line);
            line[at] = b' ';
            at += 1;
            if sample.is_lost() {
                line[at..at + 4].copy_from_slice(b"lost");
                at += 4;
            } else {
                at += digits(sample.latency_ns, &mut line[at..]);
            }
            line[at] = b'\n';
            out.write_all(&line[..=at])?;
        }
        out.flush()
    })();
    written.map_err(|e| Fault::new(Kind::Io, "write samples", e.to_string()))
}

/// Reads samples, sorted by time. The flow is not in the file: it reads as 0.
pub fn read(from: impl Read) -> Result<Vec<Sample>> {
    let mut reader = BufReader::with_capacity(1 << 16, from);
    let mut samples = Vec::new();
    let mut line = Vec::with_capacity(LINE_MAX as usize);
    for number in 1_u64.. {
        line.clear();
        let bounded = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        let got = bounded.map_err(|e| Fault::new(Kind::Io, "read samples", e.to_string()))?;
        if got == 0 {
            break;
        }
        let wrong = |cause: &str| {
            Fault::new(Kind::Malformed, "read samples", format!("line {number}: {cause}"))
        };
        if got as u64 == LINE_MAX && line.last() != Some(&b'\n') {
            return Err(wrong("longer than a sample can be"));
        }
        if samples.len() == SAMPLES_MAX {
            return Err(wrong(&format!("more than {SAMPLES_MAX} samples")));
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let sample = parse(text)
            .ok_or_else(|| wrong("expected `send-time-ns latency-ns` or `send-time-ns lost`"))?;
        samples.push(sample);
    }
    if !samples.is_sorted_by_key(|s: &Sample| s.due_ns) {
        samples.sort_by_key(|s| s.due_ns);
    }
    Ok(samples)
}

/// [`read`], from a path.
pub fn read_file(path: &Path) -> Result<Vec<Sample>> {
    let act = || format!("read samples from {}", path.display());
    let file = File::open(path).map_err(|e| match e.raw_os_error() {
        Some(errno) => Fault::errno(act(), errno, None),
        None => Fault::new(Kind::Io, act(), e.to_string()),
    })?;
    read(file).map_err(|fault| fault.during(act()))
}

fn parse(line: &[u8]) -> Option<Sample> {
    let space = line.iter().position(|&b| b == b' ')?;
    let due_ns = number(&line[..space])?;
    let latency_ns = match &line[space + 1..] {
        b"lost" => Sample::LOST,
        // The one latency that means lost is written as that word only.
        digits => number(digits).filter(|&ns| ns != Sample::LOST)?,
    };
    Some(Sample { due_ns, latency_ns, flow: 0 })
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// Writes `value` in decimal at the start of `to` (20 bytes are enough); how many bytes it took.
fn digits(mut value: u64, to: &mut [u8]) -> usize {
    let mut reversed = [0; 20];
    let mut count = 0;
    loop {
        reversed[count] = b'0' + (value % 10) as u8;
        value /= 10;
        count += 1;
        if value == 0 {
            break;
        }
    }
    for (to, digit) in to.iter_mut().zip(reversed[..count].iter().rev()) {
        *to = *digit;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let sample = |due_ns, latency_ns| Sample { due_ns, latency_ns, flow: 0 };
        let samples = [
            sample(0, 0),
            sample(10, 123_456),
            sample(20, Sample::LOST),
            sample(u64::MAX, u64::MAX - 1),
        ];
        let mut file = Vec::new();
        write(&samples, 0, &mut file).unwrap();
        let text = "0 0\n10 123456\n20 lost\n18446744073709551615 18446744073709551614\n";
        assert_eq!(String::from_utf8(file.clone()).unwrap(), text);
        assert_eq!(read(&file[..]).unwrap(), samples);
        let mut later = Vec::new();
        write(&samples[..2], 1_000, &mut later).unwrap();
        assert_eq!(later, b"1000 0\n1010 123456\n");
        let disordered = read(&b"2 1\n1 2"[..]).unwrap();
        assert_eq!(disordered, [sample(1, 2), sample(2, 1)]);
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        for bad in [
            "1\n",
            "1 \n",
            " 1 2\n",
            "1  2\n",
            "1 2 3\n",
            "1\t2\n",
            "1 2\r\n",
            "-1 2\n",
            "1 NaN\n",
            "1 1e3\n",
            "1 LOST\n",
            "\n",
            "18446744073709551616 1\n",
            "1 18446744073709551615\n",
            "0000000000000000000001 1\n",
        ] {
            let file = format!("1 2\n{bad}");
            let fault = read(file.as_bytes()).unwrap_err();
            assert!(fault.cause.starts_with("line 2: "), "{bad:?}: {fault}");
        }
        // A file without a newline is refused at its first line, not read to its end.
        assert!(read(std::io::repeat(b'1')).unwrap_err().cause.contains("line 1: longer"));
    }

    #[test]
    fn a_million_samples() {
        let samples: Vec<Sample> = (0..1_000_000)
            .map(|i| Sample { due_ns: i * 1000, latency_ns: 20_000 + i % 997, flow: 0 })
            .collect();
        let mut file = Vec::new();
        write(&samples, 0, &mut file).unwrap();
        assert_eq!(read(&file[..]).unwrap(), samples);
    }
}
