//! A unix stream socket that sends a line for each figure: `value`, or `time-ns value` with the time in
//! UTC nanoseconds.
//!
//! What it sends faster than it is read stays in the socket: whoever sends must not wait for a reader.

use std::{
    io::{ErrorKind, Read},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};

use super::{Look, Wall, Watched, number, shown};

const LINE_BYTES_MAX: usize = 200;
/// Read at one look at most.
const LOOK_BYTES_MAX: usize = 64 << 10;

pub(super) struct Stream {
    path: String,
    stream: Option<UnixStream>,
    lines: Lines,
    buffer: Vec<u8>,
}

impl Stream {
    pub(super) fn new(path: &str) -> Stream {
        let (path, buffer) = (path.to_owned(), vec![0; LOOK_BYTES_MAX]);
        Stream { path, stream: None, lines: Lines::default(), buffer }
    }

    /// Connects without waiting: `None` where the other end's queue is full just now.
    fn connect(&self) -> Result<Option<UnixStream>, Errno> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let descriptor = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        match connect(descriptor.as_raw_fd(), &UnixAddr::new(self.path.as_str())?) {
            Ok(()) => Ok(Some(UnixStream::from(descriptor))),
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl Watched for Stream {
    fn look(&mut self, wall: &Wall) -> Look {
        if self.stream.is_none() {
            match self.connect() {
                Ok(Some(stream)) => self.stream = Some(stream),
                Ok(None) => return Look::refused("nobody takes the connection".to_owned()),
                Err(errno) => {
                    let why = errno.desc().to_lowercase();
                    return Look::ended(format!("cannot connect: {why} ({errno:?})"));
                }
            }
        }
        let Some(stream) = &mut self.stream else { return Look::default() };
        let mut look = Look::default();
        match stream.read(&mut self.buffer) {
            Ok(0) => look.end("the other end closed it".to_owned()),
            Ok(count) => {
                let now = wall.now_ns();
                self.lines.feed(&self.buffer[..count], &mut |line| match figure(line, now) {
                    Ok((at, value)) => look.add(at, Ok(value)),
                    Err(why) => look.add(now, Err(why)),
                });
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => look.end(format!("the connection broke: {error}")),
        }
        look
    }
}

fn figure(line: &[u8], now_ns: i64) -> Result<(i64, f64), String> {
    let text = std::str::from_utf8(line).map_err(|_| "a line is not UTF-8 text")?;
    let words: Vec<&str> = text.split_ascii_whitespace().take(3).collect();
    match *words.as_slice() {
        [value] => Ok((now_ns, number(value)?)),
        [time, value] => {
            let at = time.parse::<i64>();
            let at = at.map_err(|_| format!("`{}` is not a time in nanoseconds", shown(time)))?;
            Ok((at, number(value)?))
        }
        [] | [_, ..] => Err(format!("`{}` is neither `value` nor `time-ns value`", shown(text))),
    }
}

/// Cuts bytes into lines; one that is too long comes as what it begins with.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], take: &mut dyn FnMut(&[u8])) {
        for &byte in bytes {
            if byte == b'\n' {
                match self.begun.len() > LINE_BYTES_MAX {
                    // Not a figure, whatever it begins with.
                    true => take(b"a line longer than 200 bytes"),
                    false => take(&self.begun),
                }
                self.begun.clear();
            } else if self.begun.len() <= LINE_BYTES_MAX {
                self.begun.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_reads_end() {
        let text = [b"1.5\n1700 2\r\n\nx y\n".to_vec(), vec![b'1'; 100_000], b"\n3\n4".to_vec()];
        let text = text.concat();
        for piece in [1, 2, 7, 4096] {
            let mut lines = Lines::default();
            let mut figures = Vec::new();
            for bytes in text.chunks(piece) {
                lines.feed(bytes, &mut |line| figures.push(figure(line, 9)));
            }
            assert_eq!(figures[0], Ok((9, 1.5)));
            assert_eq!(figures[1], Ok((1700, 2.0)));
            assert!(figures[2].is_err() && figures[3].is_err() && figures[4].is_err());
            assert_eq!((figures.len(), &figures[5]), (6, &Ok((9, 3.0))));
            assert!(lines.begun.len() <= LINE_BYTES_MAX + 1);
        }
        for line in ["nan", "1 inf", "1 2 3", "1.5 2", "\u{1b}[2J", "99999999999999999999 1"] {
            assert!(figure(line.as_bytes(), 0).is_err(), "{line:?}");
        }
    }

    #[test]
    fn nobody_there_is_said_at_once() {
        let look = Stream::new("/nonexistent/t2t.sock").look(&Wall::new());
        assert!(look.refusal().unwrap().contains("cannot connect"));
    }
}
