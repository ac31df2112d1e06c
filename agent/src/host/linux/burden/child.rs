//! The burden's own process. It is told by its parent when to begin; it ends with the parent's thread
//! or with the pipe, whichever goes first.
#![allow(unsafe_code)] // mmap(2) and madvise(2) of memory that only this process touches

use std::{
    io::{BufRead, Read, Write},
    num::NonZeroUsize,
};

use nix::{sys::signal::Signal, unistd::Pid};

use crate::fault::{Fault, Kind, Result};

/// The child's word that it may be put where it belongs.
pub(crate) const READY: &str = "ready";
const PAGE: usize = 4096;
/// Touched in one go before it is given back.
const CHUNK: usize = 1 << 20;
/// What may be mapped at all, in the end.
const MAPPED_MAX: usize = 64 << 30;

/// What kind of burden this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Memory { bytes: usize },
    Cpu,
}

/// Works until the parent ends; never returns but with an error.
pub(crate) fn run(parent: i32, work: &Work) -> Result<()> {
    let act = "carry a burden";
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| Fault::errno(act, errno as i32, None))?;
    // Had it ended before the line above, no signal would come any more.
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        return Err(Fault::new(Kind::Gone, act, "its parent has ended"));
    }
    let io = |e: std::io::Error| Fault::new(Kind::Io, act, e.to_string());
    writeln!(std::io::stdout(), "{READY}").map_err(io)?;
    let mut word = String::new();
    std::io::stdin().lock().read_line(&mut word).map_err(io)?;
    if word.trim() != "go" {
        return Err(Fault::new(Kind::Gone, act, "its parent has ended"));
    }
    std::thread::spawn(|| {
        // Whatever the read comes to, the pipe has ended.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    match work {
        Work::Memory { bytes } => eat(*bytes),
        Work::Cpu => loop {
            std::hint::spin_loop();
        },
    }
}

/// Touches twice as much as its group may hold, chunk by chunk, and gives each chunk back lazily
/// (MADV_FREE, Linux 4.5): at the limit the kernel has something to reclaim, so that it reclaims
/// instead of killing.
fn eat(bytes: usize) -> Result<()> {
    use std::ptr::NonNull;
    let act = "map memory";
    let length = NonZeroUsize::new(bytes.saturating_mul(2).clamp(2 * CHUNK, MAPPED_MAX));
    let Some(length) = length else { return Err(Fault::new(Kind::Invalid, act, "no bytes")) };
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length.get(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOMEM);
        return Err(Fault::errno(act, errno, None));
    }
    let Some(base) = NonNull::new(base.cast::<u8>()) else {
        return Err(Fault::new(Kind::Io, act, "mapped at zero"));
    };
    let chunks = length.get() / CHUNK;
    loop {
        for chunk in 0..chunks {
            // SAFETY: `chunk * CHUNK + CHUNK <= length`, so this stays inside the mapping, which lives
            // as long as the process.
            let begin = unsafe { base.add(chunk * CHUNK) };
            for page in 0..CHUNK / PAGE {
                // SAFETY: inside the same chunk; nobody else knows of this memory.
                unsafe { begin.add(page * PAGE).write_volatile(1) };
            }
            // SAFETY: page-aligned (CHUNK is a multiple of the page) and inside the mapping. What it
            // comes to does not matter: without it the group's limit kills this process alone.
            let _ = unsafe { libc::madvise(begin.as_ptr().cast(), CHUNK, libc::MADV_FREE) };
        }
    }
}
