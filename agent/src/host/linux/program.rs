//! Vendors' programs: no shell, an empty environment, bounded in time and output, one at a time.
// This is the door: it starts programs for everyone else.
#![allow(clippy::disallowed_methods)]

use std::{
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::image;
use crate::fault::{Fault, Kind, Result};

/// Where a program is looked for.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Of a program's output.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Of its last line, where that says why it failed.
const WORDS_CHARS_MAX: usize = 300;
/// Looks at a pipe after its program has ended.
const LAST_WORDS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

/// Runs a vendor's program to its end. Its standard input is the lock that says it runs.
pub(super) fn run(argv: &[String], limit: Duration) -> Result<String> {
    let act = argv.join(" ");
    let Some((name, arguments)) = argv.split_first() else {
        return Err(Fault::new(Kind::Invalid, act, "no program is named"));
    };
    let path = find(name).ok_or_else(|| {
        let cause = format!("{name} is neither an absolute path nor in {}", DIRECTORIES.join(", "));
        Fault::new(Kind::Unsupported, &act, cause)
    })?;
    let io =
        |error: std::io::Error| Fault::errno(&act, error.raw_os_error().unwrap_or(libc::EIO), None);
    let lock = image::lock(&act)?;
    let (reader, writer) = std::io::pipe().map_err(io)?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("LC_ALL", "C");
    command.env("PATH", DIRECTORIES.join(":")).current_dir("/");
    // The lock lasts until every descriptor of this opening is closed: ours is, after the spawn.
    command.stdin(Stdio::from(lock)).stdout(writer.try_clone().map_err(io)?).stderr(writer);
    // A group of its own: a Ctrl-C at the terminal is ours to hear, and must not end a flash.
    let child = command.process_group(0).spawn().map_err(io)?;
    drop(command);
    let told = std::thread::spawn(move || tail(reader));
    let ended = wait(child, limit);
    // What it left running may hold the pipe open: its last words are not worth waiting for.
    for _ in 0..LAST_WORDS {
        if told.is_finished() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let output = if told.is_finished() { told.join().unwrap_or_default() } else { String::new() };
    let words = last_words(&output);
    match ended {
        Ok(0) => Ok(output),
        Ok(code) => Err(Fault::new(Kind::Io, act, format!("{words} (exit status {code})"))),
        Err(why) => Err(Fault::new(Kind::Io, act, format!("{why}; its last words: {words}"))),
    }
}

/// By absolute path, or by name where the system keeps its programs.
fn find(name: &str) -> Option<PathBuf> {
    if Path::new(name).is_absolute() {
        return Some(PathBuf::from(name));
    }
    let plain = !name.is_empty() && !name.contains('/');
    let places = DIRECTORIES.iter().filter(|_| plain).map(|place| Path::new(place).join(name));
    places.into_iter().find(|path| path.is_file())
}

/// The exit status, or why there is none.
fn wait(mut child: Child, limit: Duration) -> Result<i32, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return status.code().ok_or_else(|| format!("it ended by {status}"));
            }
            Ok(None) if began.elapsed() < limit => std::thread::sleep(LOOK),
            Ok(None) => {
                let group = i32::try_from(child.id()).unwrap_or(i32::MAX);
                let group = Pid::from_raw(group);
                let _ = killpg(group, Signal::SIGKILL);
                let _ = child.wait();
                // Its children end a moment later, and with them what they hold open.
                for _ in 0..LAST_WORDS {
                    if killpg(group, None).is_err() {
                        break;
                    }
                    std::thread::sleep(LOOK);
                }
                return Err(format!("it was killed after {limit:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The last line that says anything, cut where it goes on and on: it stands in the log.
fn last_words(output: &str) -> String {
    let line = output.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or("it said nothing");
    match line.char_indices().nth(WORDS_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Reads to the end and keeps the last part.
fn tail(mut reader: impl Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = reader.read(&mut buffer) {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
