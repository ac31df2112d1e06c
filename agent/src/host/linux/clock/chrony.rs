//! chronyd's own view, over its monitoring protocol (candm.h of chrony, version 6, UDP port 323 on the
//! loopback). The `tracking` command only reads and is open to everybody on the host.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

const PORT: u16 = 323;
/// Longer than any local answer takes, short enough to be waited for where it never comes.
const PATIENCE: Duration = Duration::from_millis(10);
const VERSION: u8 = 6;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const TRACKING: u16 = 33;
const TRACKING_REPLY: u16 = 5;
/// Header of a reply, and reply with its tracking part. A request is padded to the reply's length.
const HEADER_BYTES: usize = 28;
const BYTES: usize = 104;
/// The reference id 127.127.1.1 of chronyd's own clock, and the leap status of one that follows nobody.
const LOCAL: u32 = 0x7f7f_0101;
const UNSYNCHRONISED: u16 = 3;
/// Any number: it comes back in the answer.
const SEQUENCE: u32 = 0x6e69_636d;

/// What bounds the error, seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tracking {
    stratum: u16,
    /// Of a source outside: not chronyd's own `local` reference, and not lost.
    followed: bool,
    correction: f64,
    root_delay: f64,
    root_dispersion: f64,
}

impl Tracking {
    /// The bound that chronyc's manual gives: |correction| + root dispersion + half the root delay. None
    /// where no source outside is followed: whatever the figures are then, they are not about UTC.
    pub(super) fn bound_ns(&self) -> Option<u64> {
        let seconds = self.correction.abs() + self.root_dispersion + self.root_delay / 2.0;
        // `as` saturates, and makes nothing of NaN.
        self.followed.then_some((seconds * 1e9).ceil() as u64)
    }
}

impl std::fmt::Display for Tracking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.followed {
            true => write!(f, "stratum {}", self.stratum),
            false => f.write_str("follows no source"),
        }
    }
}

/// `None` where nobody answers, or not in these words.
pub(super) fn tracking() -> Option<Tracking> {
    ask(PORT)
}

fn ask(port: u16) -> Option<Tracking> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket.connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut request = [0; BYTES];
    (request[0], request[1]) = (VERSION, REQUEST);
    request[4..6].copy_from_slice(&TRACKING.to_be_bytes());
    request[8..12].copy_from_slice(&SEQUENCE.to_be_bytes());
    socket.send(&request).ok()?;
    let mut answer = [0; 2 * BYTES];
    let length = socket.recv(&mut answer).ok()?;
    read(answer.get(..length)?)
}

fn read(answer: &[u8]) -> Option<Tracking> {
    let half = |at: usize| Some(u16::from_be_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let meant = answer.first() == Some(&VERSION)
        && answer.get(1) == Some(&REPLY)
        && half(4)? == TRACKING
        && half(6)? == TRACKING_REPLY
        && half(8)? == 0
        && word(16)? == SEQUENCE;
    if !meant || answer.len() < BYTES {
        return None;
    }
    // Reference id and address (24 bytes), stratum, leap status, reference time (12 bytes), then floats.
    let float = |nth: usize| Some(float(word(HEADER_BYTES + 40 + 4 * nth)?));
    Some(Tracking {
        stratum: half(HEADER_BYTES + 24)?,
        followed: word(HEADER_BYTES)? != LOCAL && half(HEADER_BYTES + 26)? != UNSYNCHRONISED,
        correction: float(0)?,
        root_delay: float(6)?,
        root_dispersion: float(7)?,
    })
}

/// A number of the protocol: a signed exponent of 7 bits, a signed coefficient of 25.
fn float(word: u32) -> f64 {
    let exponent = (word as i32) >> 25;
    let coefficient = ((word << 7) as i32) >> 7;
    f64::from(coefficient) * 2_f64.powi(exponent - 25)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, thread};

    use super::{BYTES, ask, float};

    #[test]
    fn floats_are_read() {
        assert_eq!(float(0), 0.0);
        // 2^23 with the exponents 1 and 0, less 25 each.
        assert_eq!(float(0x0280_0000), 0.5);
        assert_eq!(float(0x0080_0000), 0.25);
        assert_eq!(float(0x01ff_ffff), -(2_f64.powi(-25)));
    }

    /// Whoever answers something else, or late, is no chronyd.
    #[test]
    fn other_answers_are_none() {
        for answer in [vec![], vec![6, 2], vec![0; BYTES]] {
            let other = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = other.local_addr().unwrap().port();
            let served = thread::spawn(move || {
                let mut request = [0; 200];
                let (length, from) = other.recv_from(&mut request).unwrap();
                assert_eq!(length, BYTES);
                other.send_to(&answer, from).unwrap();
            });
            assert_eq!(ask(port), None);
            served.join().unwrap();
        }
    }
}
