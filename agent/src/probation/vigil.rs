//! Watching a path window by window, for as long as it takes, in bounded memory: every sample goes to
//! the bets of [`Lookout`] as it comes, counters are held against their bounds when a window is over.
//!
//! Silence is told from loss. Lost packets count once a reply has followed them; where none follows for
//! [`SILENCE`], the peer or the whole path is gone, and that says nothing about a change that was fine
//! until then.

use std::time::Duration;

use playbooks::{Metric, external::Kind, playbook::Criteria};

use crate::{
    fault::Result,
    measure::{Meter, Sample, Window, WindowSpec},
    verdict::{Criterions, Lookout},
};

/// This long without any reply is no loss but silence: as long as the storm of which the bets by
/// themselves make no alarm.
const SILENCE: Duration = Duration::from_secs(3);
/// And no fewer packets, where they are sent rarely.
const SILENT_PACKETS: u64 = 20;
/// Lost packets handed to the bets at a time.
const LOST_AT_A_TIME: usize = 4096;

/// A guardrail that was broken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Breach {
    pub(crate) metric: Metric,
    /// One sentence: criterion, expected, measured.
    pub(crate) why: String,
}

/// What a window showed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Nothing,
    Broken(Breach),
    /// No reply any more.
    Silent,
    Stopped,
}

/// One window of a vigil.
pub(crate) struct Look {
    pub(crate) window: Window,
    pub(crate) seen: Seen,
    /// How much of it had replies; nanoseconds.
    pub(crate) watched_ns: u64,
}

/// A watch over one path.
pub(crate) struct Vigil {
    lookout: Option<Lookout>,
    /// Where the samples of a part begin in the reference, and how long they may be.
    part_ns: u64,
    /// Counters, and the slowest packet: held against their bounds window by window, exactly.
    bounds: Vec<(Metric, f64)>,
    /// Time before the present window, so that silence is seen across windows.
    before_ns: u64,
    /// Lost packets that no reply has followed yet, and since when.
    lost: u64,
    lost_since_ns: u64,
    ready: Vec<Sample>,
}

impl Vigil {
    /// Over windows like `reference`, of `parts` patterns, by these guardrails.
    pub(crate) fn over(reference: &Window, by: &Criterions, parts: usize) -> Vigil {
        let parts = parts.max(1);
        let part_ns = (reference.length_ns / parts as u64).max(1);
        Vigil {
            lookout: Some(Lookout::new(reference, by, parts)),
            part_ns,
            ..Vigil::blind(&by.guardrails)
        }
    }

    /// Sees silence and what counters say, and nothing of latency: there is no reference yet.
    pub(crate) fn blind(guardrails: &Criteria) -> Vigil {
        let bound = |(metric, criterion): (&Metric, &playbooks::playbook::Criterion)| {
            Some((metric.clone(), criterion.at_most.filter(|_| is_exact(metric))?))
        };
        Vigil {
            lookout: None,
            part_ns: u64::MAX,
            bounds: guardrails.iter().filter_map(bound).collect(),
            before_ns: 0,
            lost: 0,
            lost_since_ns: 0,
            ready: Vec::new(),
        }
    }

    /// The metrics that are under watch.
    pub(crate) fn watched(&self) -> Vec<&Metric> {
        let bets = self.lookout.iter().flat_map(Lookout::watched);
        bets.chain(self.bounds.iter().map(|(metric, _)| metric)).collect()
    }

    /// Measures one window of part `part` and watches it.
    pub(crate) fn window(
        &mut self,
        meter: &mut dyn Meter,
        spec: &WindowSpec,
        part: usize,
        stop: &dyn Fn() -> bool,
    ) -> Result<Look> {
        let (mut seen, mut last_ns) = (Seen::Nothing, None);
        let window = meter.watched(spec, stop, &mut |samples| {
            last_ns = samples.last().map(|sample| sample.due_ns).or(last_ns);
            seen = self.take(samples, part);
            seen != Seen::Nothing
        })?;
        if seen == Seen::Nothing {
            // The last packets of a window may not have been shown while it ran.
            let rest = last_ns.map_or(0, |at| window.samples.partition_point(|s| s.due_ns <= at));
            seen = self.take(&window.samples[rest..], part);
        }
        let silent_ns = match self.lost {
            0 => 0,
            _ => (self.before_ns + window.length_ns).saturating_sub(self.lost_since_ns),
        };
        let watched_ns = match seen {
            Seen::Silent => window.length_ns.saturating_sub(silent_ns),
            Seen::Nothing | Seen::Broken(_) | Seen::Stopped => window.length_ns,
        };
        match seen {
            Seen::Silent => (self.before_ns, self.lost) = (0, 0),
            Seen::Nothing | Seen::Broken(_) | Seen::Stopped => self.before_ns += window.length_ns,
        }
        if seen == Seen::Nothing {
            seen = self.exactly(&window).map_or(Seen::Nothing, Seen::Broken);
        }
        if stop() {
            seen = Seen::Stopped;
        }
        Ok(Look { window, seen, watched_ns })
    }

    fn take(&mut self, samples: &[Sample], part: usize) -> Seen {
        let from_ns = (part as u64).saturating_mul(self.part_ns);
        let last_ns = self.part_ns - 1;
        let place = |due_ns: u64| from_ns.saturating_add(due_ns.min(last_ns));
        self.ready.clear();
        for sample in samples {
            let at_ns = self.before_ns + sample.due_ns;
            let placed = Sample { due_ns: place(sample.due_ns), ..*sample };
            if sample.is_lost() {
                if self.lost == 0 {
                    self.lost_since_ns = at_ns;
                }
                self.lost += 1;
                let silent_ns = u128::from(at_ns.saturating_sub(self.lost_since_ns));
                if silent_ns >= SILENCE.as_nanos() && self.lost >= SILENT_PACKETS {
                    return Seen::Silent;
                }
                continue;
            }
            if let Some(breach) = self.believe(Sample { latency_ns: Sample::LOST, ..placed }) {
                return Seen::Broken(breach);
            }
            self.ready.push(placed);
        }
        let ready = std::mem::take(&mut self.ready);
        let breach = self.feed(&ready);
        self.ready = ready;
        breach.map_or(Seen::Nothing, Seen::Broken)
    }

    /// A reply has come: what was lost before it was loss.
    fn believe(&mut self, lost: Sample) -> Option<Breach> {
        while self.lost > 0 {
            let many = self.lost.min(LOST_AT_A_TIME as u64);
            self.lost -= many;
            self.ready.extend(std::iter::repeat_n(lost, many as usize));
            let ready = std::mem::take(&mut self.ready);
            let breach = self.feed(&ready);
            if breach.is_some() {
                return breach;
            }
        }
        None
    }

    fn feed(&mut self, samples: &[Sample]) -> Option<Breach> {
        let alarm = self.lookout.as_mut()?.feed(samples)?;
        Some(Breach { metric: alarm.metric, why: alarm.why })
    }

    /// What the window counted, against `at-most`.
    fn exactly(&self, window: &Window) -> Option<Breach> {
        self.bounds.iter().find_map(|(metric, most)| {
            let (measured, words) = counted(metric, window)?;
            let broken = measured > *most;
            broken.then(|| {
                let seconds = window.length_ns as f64 / 1e9;
                let why = format!("{metric}: {words} in {seconds:.1} s, at most {most} allowed");
                Breach { metric: metric.clone(), why }
            })
        })
    }
}

/// Whether a metric is a figure of a single window, with no interval around it.
fn is_exact(metric: &Metric) -> bool {
    match metric {
        Metric::Drops
        | Metric::NicCounter(_)
        | Metric::SoftnetSqueezed
        | Metric::LatencyMax
        | Metric::TcpSessionRetransmits
        | Metric::External(_) => true,
        Metric::LatencyQuantile(_)
        | Metric::SlowRatio
        | Metric::StormRate
        | Metric::LossRatio
        | Metric::TcpRetransmitRatio
        | Metric::TcpRtt => false,
    }
}

/// The figure, and in words; `None` where the window does not hold it.
fn counted(metric: &Metric, window: &Window) -> Option<(f64, String)> {
    match metric {
        Metric::Drops => {
            let sum = window.drops.values().fold(0_i64, |sum, &drops| sum.saturating_add(drops));
            let moved = window.drops.iter().filter(|(_, drops)| **drops != 0);
            let named: Vec<String> = moved.map(|(name, drops)| format!("{name} {drops}")).collect();
            Some((sum as f64, format!("{sum} ({})", named.join(", "))))
        }
        Metric::NicCounter(name) => {
            let moved = *window.counters.get(name)?;
            Some((moved as f64, moved.to_string()))
        }
        Metric::SoftnetSqueezed => {
            Some((window.softnet_squeezed as f64, window.softnet_squeezed.to_string()))
        }
        Metric::LatencyMax => {
            let slowest = window.samples.iter().map(|sample| sample.latency_ns).max()?;
            let words = match slowest {
                Sample::LOST => "a packet was lost".to_owned(),
                ns => format!("{:.1} us", ns as f64 / 1e3),
            };
            Some((slowest as f64, words))
        }
        // Of a figure from outside its increase; one that is a level has scatter, and is not exact.
        Metric::External(_) | Metric::TcpSessionRetransmits => {
            let recorded = window.readings.get(&metric.to_string())?;
            let sound = recorded.missing(window.length_ns).is_none();
            let counts = recorded.kind == Kind::Counter && sound;
            counts.then(|| (recorded.increase(), recorded.increase().to_string()))
        }
        Metric::LatencyQuantile(_)
        | Metric::SlowRatio
        | Metric::StormRate
        | Metric::LossRatio
        | Metric::TcpRetransmitRatio
        | Metric::TcpRtt => None,
    }
}
