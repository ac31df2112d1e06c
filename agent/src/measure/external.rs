//! Figures from outside, read while a window is measured: a file, a unix socket, a Prometheus endpoint.
//!
//! Each source has a thread of its own, so that none of them can hold up the window or another: a read
//! is bounded in time and bytes where the kernel lets it be, and a thread that hangs all the same (a
//! file on a dead server) is left behind. Nothing here fails a window. What did not come, or came as no
//! finite number, is counted, and the figure then says why it may not be judged.

mod exposition;
mod file;
mod gathered;
mod http;
mod stream;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use playbooks::{
    External,
    external::{Endpoint, Series, Source},
};

use super::{clock, reading::Recorded};
use crate::fault::{Fault, Kind, Result};

pub(super) use gathered::{Gathered, Look};

/// A read that takes longer is given up.
const READ_MAX: Duration = Duration::from_secs(1);
/// How often a socket is looked at. Together with the size of a read it bounds what a flood can cost.
const STREAM_EVERY: Duration = Duration::from_millis(10);
/// Threads that have not ended this long after they were told to are left behind.
const END_MAX_NS: u64 = 1_500_000_000;

/// A place where a figure is read, one look at a time.
pub(super) trait Watched: Send {
    /// Reads what is there now; bounded in time where the kernel lets it be.
    fn look(&mut self, wall: &Wall) -> Look;
}

/// The wall clock of a recording, which no step of the real one disturbs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wall {
    offset_ns: i64,
}

impl Wall {
    pub(super) fn new() -> Wall {
        Wall { offset_ns: clock::realtime_offset_ns() }
    }

    /// Nanoseconds since 1970, UTC.
    pub(super) fn now_ns(&self) -> i64 {
        self.offset_ns.saturating_add_unsigned(clock::monotonic_ns())
    }
}

/// Every declared figure, being read.
pub struct Recorder {
    over: Arc<AtomicBool>,
    running: Vec<Running>,
}

struct Running {
    name: String,
    external: External,
    gathered: Arc<Mutex<Gathered>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Begins to read all of them. Never fails: what cannot be read says so in the end.
    pub fn start(declared: &BTreeMap<String, External>) -> Recorder {
        let over = Arc::new(AtomicBool::new(false));
        let running = declared.iter().map(|(name, external)| Running::start(name, external, &over));
        Recorder { running: running.collect(), over }
    }

    /// Ends reading; what came within the window that began then, by metric name, and notes on it.
    pub fn finish(
        self,
        began_utc_ns: i64,
        length_ns: u64,
    ) -> (BTreeMap<String, Recorded>, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.running.iter().filter_map(|running| running.thread.as_ref()) {
            thread.thread().unpark();
        }
        let until = clock::monotonic_ns() + END_MAX_NS;
        let mut recorded = BTreeMap::new();
        let mut notes = Vec::new();
        for running in self.running {
            let metric = playbooks::Metric::External(running.name.clone()).to_string();
            let (one, note) = running.finish(until, began_utc_ns, length_ns);
            notes.extend(note.map(|note| format!("{metric}: {note}")));
            recorded.insert(metric, one);
        }
        (recorded, notes)
    }
}

impl Running {
    fn start(name: &str, external: &External, over: &Arc<AtomicBool>) -> Running {
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let (mut source, to, over) = (watched(external), Arc::clone(&gathered), Arc::clone(over));
        let every = external.period().unwrap_or(STREAM_EVERY);
        let wall = Wall::new();
        let read = move || {
            watch(every, &over, &mut || {
                let look = source.look(&wall);
                lock(&to).take(look)
            });
        };
        let thread = std::thread::Builder::new().name("reading".to_owned()).spawn(read);
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                let end = Look::ended(format!("no thread to read it by: {error}"));
                lock(&gathered).take(end);
                None
            }
        };
        Running { name: name.to_owned(), external: external.clone(), gathered, thread }
    }

    fn finish(
        self,
        until_ns: u64,
        began_utc_ns: i64,
        length_ns: u64,
    ) -> (Recorded, Option<String>) {
        let hangs = |thread: &JoinHandle<()>| !thread.is_finished();
        while self.thread.as_ref().is_some_and(hangs) && clock::monotonic_ns() < until_ns {
            clock::sleep_until(clock::monotonic_ns() + 2_000_000);
        }
        let mut gathered = std::mem::take(&mut *lock(&self.gathered));
        if self.thread.as_ref().is_some_and(hangs) {
            gathered.take(Look::ended("a read of it hangs".to_owned()));
        }
        let External { source: _, kind, better, every: _ } = self.external;
        let every_ns = self.external.period().map_or(0, |every| every.as_nanos() as u64);
        let frame =
            Recorded { kind, better, every_ns, readings: Vec::new(), refused: 0, trouble: None };
        gathered.recorded(frame, began_utc_ns, length_ns)
    }
}

/// Calls `look` every so often until it says that it is over, or `over` does. A look that took longer
/// than a period leaves out what it missed.
pub(super) fn watch(every: Duration, over: &AtomicBool, look: &mut dyn FnMut() -> Going) {
    let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX / 4).max(1);
    let mut due_ns = clock::monotonic_ns();
    while !over.load(Ordering::Relaxed) {
        match look() {
            Going::On => {}
            Going::Over => return,
        }
        let now = clock::monotonic_ns();
        due_ns += (now.saturating_sub(due_ns) / every_ns + 1) * every_ns;
        loop {
            let left = due_ns.saturating_sub(clock::monotonic_ns());
            if left == 0 || over.load(Ordering::Relaxed) {
                break;
            }
            // Woken by the end; in short naps besides, should that be missed.
            std::thread::park_timeout(Duration::from_nanos(left.min(50_000_000)));
        }
    }
}

/// Whether there is more to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    On,
    Over,
}

/// Reads this figure once. A socket answers by taking the connection: it may have nothing to say yet.
///
/// # Errors
///
/// Where it does not answer, or with no finite number.
pub fn check(name: &str, external: &External) -> Result<()> {
    let act = || {
        let metric = playbooks::Metric::External(name.to_owned());
        format!("read {metric} from {}", external.source)
    };
    // In a thread, for a file on a dead server; whatever hangs there is left behind.
    let (tell, told) = std::sync::mpsc::channel();
    let mut source = watched(external);
    let look = move || {
        // Nobody may be waiting any more.
        let _ = tell.send(source.look(&Wall::new()));
    };
    std::thread::Builder::new()
        .spawn(look)
        .map_err(|error| Fault::new(Kind::Io, act(), format!("no thread: {error}")))?;
    match told.recv_timeout(2 * READ_MAX) {
        Ok(look) => match look.refusal() {
            Some(why) => Err(Fault::new(Kind::Gone, act(), why)),
            None => Ok(()),
        },
        Err(_) => {
            Err(Fault::new(Kind::Busy, act(), format!("no answer within {:?}", 2 * READ_MAX)))
        }
    }
}

fn watched(external: &External) -> Box<dyn Watched> {
    match &external.source {
        Source::File(path) => Box::new(file::File::new(path)),
        Source::Unix(path) => Box::new(stream::Stream::new(path)),
        Source::Prometheus { url, series } => {
            Box::new(Scrape { url: url.clone(), series: series.clone() })
        }
    }
}

/// A Prometheus endpoint, asked anew each time.
struct Scrape {
    url: Endpoint,
    series: Series,
}

impl Watched for Scrape {
    fn look(&mut self, wall: &Wall) -> Look {
        let answer =
            http::get(&self.url, READ_MAX).and_then(|body| exposition::find(&body, &self.series));
        match answer {
            Ok(sample) => {
                Look::reading(wall.now_ns(), sample.value).stamped(sample.time_ms.map(i128::from))
            }
            Err(why) => Look::refused(why),
        }
    }
}

/// A finite number as text.
fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("`{}` is not finite", shown(text))),
        Err(_) => Err(format!("`{}` is not a number", shown(text))),
    }
}

/// Foreign text, short and harmless.
fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut safe: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        safe.push('…');
    }
    safe
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has at worst left out a look.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
