//! One measured window: every packet that was due, and every counter that moved.

use std::{collections::BTreeMap, time::Duration};

use playbooks::playbook::{Pattern, Transport};
use serde::{Deserialize, Serialize};

use super::{outage::Pinger, reading::Recorded};
use crate::fault::Result;

/// One probe packet that was due in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was due, nanoseconds since the window began (the schedule's time, not the send's, so
    /// that a stalled sender cannot hide a stall: no coordinated omission).
    pub due_ns: u64,
    /// Nanoseconds; [`Sample::LOST`] where no reply came in time.
    pub latency_ns: u64,
    /// Which flow (and so, with RSS, which receive queue) it belonged to.
    pub flow: u16,
}

impl Sample {
    /// A lost packet: larger than every latency, so it sits at the top of every quantile.
    pub const LOST: u64 = u64::MAX;

    pub fn is_lost(&self) -> bool {
        self.latency_ns == Sample::LOST
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowSpec {
    pub transport: Transport,
    pub length: Duration,
    /// Packets a second.
    pub rate: u32,
    /// Bytes of payload.
    pub payload: u32,
    pub pattern: Pattern,
    /// How many flows (source ports) to spread over; at least the number of receive queues.
    pub flows: u16,
}

/// What was measured. Serializable as evidence; samples are stored beside it in their own file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// UTC nanoseconds at which the window began.
    pub began_utc_ns: i64,
    pub length_ns: u64,
    /// In order of `due_ns`; every packet that was due is here, lost ones included.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    pub sent: u64,
    pub lost: u64,
    /// Replies that came after the deadline; counted as lost in the samples.
    pub late: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Where time went, by part: quantiles in nanoseconds. `sender`: due until the kernel's stamp T1,
    /// `sender-stack` the part of it in the kernel; `wire`: the latency; `reflector`: T3 - T2;
    /// `receiver`: from T4 until this program looked, every half millisecond. Only `wire` is judged.
    pub split: BTreeMap<String, Quantiles>,
    /// How each sample was stamped: `software`, `hardware`, `user-space` -> count.
    pub stamps: BTreeMap<String, u64>,
    /// NIC statistics and host counters: name -> delta over the window.
    pub counters: BTreeMap<String, i64>,
    /// Drop counters only, by name, as deltas; their sum is the metric `drops`.
    pub drops: BTreeMap<String, i64>,
    /// Packets received a queue over the window, where the driver counts them.
    pub per_queue: Vec<u64>,
    /// TCP segments sent and retransmitted on this host during the window.
    pub tcp_out: u64,
    pub tcp_retransmitted: u64,
    pub softnet_squeezed: u64,
    /// What was read beside the probe, by the name of its metric (`external.t2t`, `tcp.rtt`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub readings: BTreeMap<String, Recorded>,
    /// Packets a second that the NIC carried apart from the probe: the load.
    pub load_pps: f64,
    /// Anything a reader should know: a counter that went backwards, stamps that did not come.
    pub notes: Vec<String>,
    /// Set when the window ended early, with the reason.
    pub cut_short: Option<String>,
}

impl Window {
    /// In `cut_short` where whoever watched the samples had seen enough.
    pub const CALLED_EARLY: &str = "enough was seen";

    /// Adds a window measured right after this one (the next pattern): one longer window.
    pub fn append(&mut self, next: Window) {
        let offset = self.length_ns;
        self.samples.extend(
            next.samples.iter().map(|sample| Sample { due_ns: sample.due_ns + offset, ..*sample }),
        );
        let (mine, theirs) = (self.length_ns as f64, next.length_ns as f64);
        if mine + theirs > 0.0 {
            self.load_pps = (self.load_pps * mine + next.load_pps * theirs) / (mine + theirs);
        }
        self.length_ns += next.length_ns;
        self.sent += next.sent;
        self.lost += next.lost;
        self.late += next.late;
        self.duplicated += next.duplicated;
        self.reordered += next.reordered;
        for (part, quantiles) in next.split {
            let mine = self.split.entry(part).or_default();
            // Quantiles do not add: the worse of the two is said, never the better.
            mine.p50 = mine.p50.max(quantiles.p50);
            mine.p99 = mine.p99.max(quantiles.p99);
            mine.p999 = mine.p999.max(quantiles.p999);
            mine.max = mine.max.max(quantiles.max);
        }
        self.append_readings(next.readings, offset);
        add_counts(&mut self.counters, next.counters);
        add_counts(&mut self.drops, next.drops);
        for (stamp, count) in next.stamps {
            *self.stamps.entry(stamp).or_default() += count;
        }
        self.per_queue.resize(self.per_queue.len().max(next.per_queue.len()), 0);
        for (mine, theirs) in self.per_queue.iter_mut().zip(next.per_queue) {
            *mine += theirs;
        }
        self.tcp_out += next.tcp_out;
        self.tcp_retransmitted += next.tcp_retransmitted;
        self.softnet_squeezed += next.softnet_squeezed;
        self.notes.extend(next.notes);
        self.cut_short = self.cut_short.take().or(next.cut_short);
    }

    fn append_readings(&mut self, next: BTreeMap<String, Recorded>, offset_ns: u64) {
        for (name, recorded) in next {
            match self.readings.get_mut(&name) {
                Some(mine) => mine.append(recorded, offset_ns),
                // It began late: its silence until then is seen by its times.
                None => {
                    let mut late =
                        Recorded { readings: Vec::new(), refused: 0, ..recorded.clone() };
                    late.append(recorded, offset_ns);
                    self.readings.insert(name, late);
                }
            }
        }
    }
}

fn add_counts(mine: &mut BTreeMap<String, i64>, theirs: BTreeMap<String, i64>) {
    for (name, delta) in theirs {
        *mine.entry(name).or_default() += delta;
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// Handed the samples of a window while it runs, in order of when they were due; says when they are enough.
pub type Each<'a> = &'a mut dyn FnMut(&[Sample]) -> bool;

/// Something that can measure: the probe against a peer, or the simulated host's traffic.
pub trait Meter: Send {
    /// Waits until carrier and replies are back, at most `limit`. Ok(how long it took).
    fn settle(&mut self, limit: Duration, stop: &dyn Fn() -> bool) -> Result<Duration>;

    /// Measures one window. `stop` is asked at least every 100 ms; when it says so, the window ends
    /// early with `cut_short` set.
    fn window(&mut self, spec: &WindowSpec, stop: &dyn Fn() -> bool) -> Result<Window> {
        self.watched(spec, stop, &mut |_| false)
    }

    /// The same, with an eye on the samples as they come. When `each` says that they are enough, the
    /// window ends early with [`Window::CALLED_EARLY`] in `cut_short`. A sample may be missing from
    /// this view (a caller too slow for it); the window itself has them all.
    fn watched(
        &mut self,
        spec: &WindowSpec,
        stop: &dyn Fn() -> bool,
        each: Each<'_>,
    ) -> Result<Window>;

    /// Begins to ask whether packets come through, while what is measured restarts. `None` where this
    /// meter cannot.
    fn pinger(&mut self) -> Option<Box<dyn Pinger>> {
        None
    }
}
