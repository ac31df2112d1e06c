//! Signals as wishes. Ctrl-C and SIGTERM ask for the run to be put back; a hang-up asks for nothing:
//! the operator's terminal dying changes nothing.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether somebody wants the run stopped, and who.
pub(super) struct Wishes {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    /// `RUN/abort-<pid>`: another nicmend asks.
    abort: Option<PathBuf>,
}

impl Wishes {
    /// Takes over the signals of this process. `abort` is the file by which `nicmend abort` asks.
    pub(super) fn take(abort: Option<PathBuf>) -> std::io::Result<Wishes> {
        let flag = |signal| {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag)).map(|_| flag)
        };
        // Registered so that the default (death) does not happen; nobody reads it.
        flag(SIGHUP)?;
        Ok(Wishes { interrupt: flag(SIGINT)?, terminate: flag(SIGTERM)?, abort })
    }

    pub(super) fn stop(&self) -> Option<String> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Some("stopped by Ctrl-C".to_owned());
        }
        if self.terminate.load(Ordering::Relaxed) {
            return Some("stopped by SIGTERM".to_owned());
        }
        let asked = self.abort.as_ref().is_some_and(|path| path.exists());
        asked.then(|| "stopped by `nicmend abort`".to_owned())
    }
}
