//! The caller's part while a window's threads work: asking whether to stop, and passing samples on.

use std::{
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use crate::measure::{Each, Sample, Window, clock};

use super::Control;

/// Samples on their way to the caller: what a million packets a second make in 65 ms. More than that is
/// not waited for: the threads that measure never wait for the one that looks on.
const UNDERWAY_MAX: usize = 65_536;
/// How often the caller looks.
const LOOK: Duration = Duration::from_millis(20);

/// Who looks on while a window is measured.
pub(super) struct Onlooker<'a> {
    pub stop: &'a dyn Fn() -> bool,
    pub each: Each<'a>,
}

/// Why, and when (CLOCK_MONOTONIC), a window ended early.
pub(super) struct Cut {
    pub at_ns: u64,
    pub why: &'static str,
}

/// Where the measuring threads put finished samples.
#[derive(Clone)]
pub(super) struct Live(SyncSender<Sample>);

impl Live {
    pub(super) fn channel() -> (Live, Receiver<Sample>) {
        let (sender, receiver) = sync_channel(UNDERWAY_MAX);
        (Live(sender), receiver)
    }

    pub(super) fn put(&self, sample: Sample) {
        // Full: this sample is not seen live. The window has it all the same.
        let _ = self.0.try_send(sample);
    }
}

/// Waits until `done`, looking every 20 ms; when it is to end early, tells the threads and says when.
pub(super) fn attend(
    control: &Control,
    onlooker: &mut Onlooker<'_>,
    live: &Receiver<Sample>,
    done: &dyn Fn() -> bool,
) -> Option<Cut> {
    let mut batch = Vec::with_capacity(4096);
    while !done() {
        batch.clear();
        batch.extend(live.try_iter().take(UNDERWAY_MAX));
        let why = if (onlooker.each)(&batch) {
            Some(Window::CALLED_EARLY)
        } else if (onlooker.stop)() {
            Some("stopped on request")
        } else {
            None
        };
        if let Some(why) = why {
            control.over.store(true, Ordering::Relaxed);
            return Some(Cut { at_ns: clock::monotonic_ns(), why });
        }
        std::thread::park_timeout(LOOK);
    }
    None
}
