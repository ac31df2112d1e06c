//! Signals as wishes. Ctrl-C and SIGTERM ask for the run to be put back; a hang-up asks for nothing:
//! the operator's terminal dying changes nothing.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether somebody wants the run stopped, and who.
pub(super) struct Wishes {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    /// `RUN/abort-<pid>`: another nicmend asks, for the run that the file names.
    abort: Option<PathBuf>,
    /// The run that this process drives, once it has begun one.
    run: OnceLock<String>,
}

/// More than a run's id is none.
const ABORT_BYTES_MAX: u64 = 256;

impl Wishes {
    /// Takes over the signals of this process. `abort` is the file by which `nicmend abort` asks.
    pub(super) fn take(abort: Option<PathBuf>) -> std::io::Result<Wishes> {
        let flag = |signal| {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag)).map(|_| flag)
        };
        // Registered so that the default (death) does not happen; nobody reads it.
        flag(SIGHUP)?;
        let run = OnceLock::new();
        Ok(Wishes { interrupt: flag(SIGINT)?, terminate: flag(SIGTERM)?, abort, run })
    }

    /// From now on `abort` of this run is heard. The first one counts: a process drives one run.
    pub(super) fn drives(&self, run: &str) {
        let _ = self.run.set(run.to_owned());
    }

    pub(super) fn stop(&self) -> Option<String> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Some("stopped by Ctrl-C".to_owned());
        }
        if self.terminate.load(Ordering::Relaxed) {
            return Some("stopped by SIGTERM".to_owned());
        }
        // Whoever asked may have meant a run that ended before ours began.
        let run = self.run.get()?;
        let asked = read(self.abort.as_ref()?).is_some_and(|named| named.trim_end() == run);
        asked.then(|| "stopped by `nicmend abort`".to_owned())
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(ABORT_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}
