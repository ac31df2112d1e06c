//! A regular file whose last line is one number.

use std::{
    io::Read,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::{Mode, SFlag, fstat},
};

use super::{Look, Wall, Watched, number};

const BYTES_MAX: usize = 64 << 10;

pub(super) struct File {
    path: String,
}

impl File {
    pub(super) fn new(path: &str) -> File {
        File { path: path.to_owned() }
    }

    fn read(&self) -> Result<(f64, i128), String> {
        // Looked at before it is opened: opening a device or a pipe may already do something.
        let place = self.open(OFlag::O_PATH, &self.path)?;
        let stat = fstat(&place).map_err(words)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err("not a regular file".to_owned());
        }
        // The very file that was looked at, whatever its path leads to by now.
        let same = format!("/proc/self/fd/{}", place.as_raw_fd());
        let file = self.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, &same)?;
        let mut bytes = Vec::new();
        let mut start = std::fs::File::from(file).take(BYTES_MAX as u64 + 1);
        start.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        let written = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        Ok((last_number(&bytes)?, written))
    }

    fn open(&self, flags: OFlag, path: &str) -> Result<OwnedFd, String> {
        open(path, flags | OFlag::O_CLOEXEC, Mode::empty()).map_err(words)
    }
}

impl Watched for File {
    fn look(&mut self, wall: &Wall) -> Look {
        match self.read() {
            Ok((value, written)) => Look::reading(wall.now_ns(), value).stamped(Some(written)),
            Err(why) => Look::refused(why),
        }
    }
}

fn last_number(bytes: &[u8]) -> Result<f64, String> {
    if bytes.len() > BYTES_MAX {
        return Err("it is longer than 64 KiB".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
    match text.trim().lines().next_back() {
        Some(line) => number(line.trim()),
        None => Err("it is empty".to_owned()),
    }
}

fn words(errno: Errno) -> String {
    format!("{} ({errno:?})", errno.desc().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_one_number() {
        for (text, value) in [("12", 12.0), (" -1.5e3 \n", -1500.0), ("1\n2\n0.25\n\n", 0.25)] {
            assert_eq!(last_number(text.as_bytes()), Ok(value));
        }
        let long = "1\n".repeat(40_000);
        for text in
            ["", "\n\n", "NaN", "inf", "-Infinity", "1e999", "12 us", "1,5", "1\n\u{1b}[2J", &long]
        {
            let refused = last_number(text.as_bytes()).unwrap_err();
            assert!(refused.len() < 300 && !refused.contains('\u{1b}'), "{refused}");
        }
        assert!(last_number(b"\xff\xfe").is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        for path in ["/dev/zero", "/dev/tty", "/proc", "/nonexistent/t2t"] {
            let look = File::new(path).look(&Wall::new());
            assert!(look.refusal().is_some(), "{path}");
        }
    }
}
