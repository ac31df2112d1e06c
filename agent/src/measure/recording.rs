//! A meter that reads other figures while another meter measures: what a playbook's criteria name beside
//! the probe's own.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use playbooks::{External, Metric, Playbook, external::Kind as Figure};

use super::{
    Each, Meter, Pinger, Window, WindowSpec,
    external::{self, Recorder},
    reading::{GAUGE_READINGS_MIN, Recorded},
    sessions::{self, Watcher},
};
use crate::{
    fault::{Fault, Kind, Result},
    host::Host,
};

/// Records beside `meter`.
///
/// Before the first window every figure that a criterion names is read once, and the first window must
/// hold them all: a run that could not be judged is refused while nothing is written. Later a figure
/// that fails is missing from its window, and so inconclusive.
pub struct Recording<'a> {
    meter: &'a mut dyn Meter,
    host: &'a dyn Host,
    nic: String,
    declared: BTreeMap<String, External>,
    /// What criteria name and this records.
    named: Vec<Metric>,
    /// As long as all windows of a side are together.
    whole: Duration,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Fresh,
    Checked,
    Measured,
}

impl<'a> Recording<'a> {
    /// What `playbook` declares is read, and live TCP sessions of `nic` where a criterion names them.
    pub fn beside(
        meter: &'a mut dyn Meter,
        host: &'a dyn Host,
        nic: &str,
        playbook: &Playbook,
    ) -> Recording<'a> {
        let criteria = playbook.objective.keys().chain(playbook.guardrails.keys());
        let recorded =
            |metric: &&Metric| is_session(metric) || matches!(metric, Metric::External(_));
        Recording {
            meter,
            host,
            nic: nic.to_owned(),
            declared: playbook.metrics.clone(),
            named: criteria.filter(recorded).cloned().collect(),
            whole: playbook.verify.window,
            progress: Progress::Fresh,
        }
    }

    fn check(&self) -> Result<()> {
        for metric in &self.named {
            if let Metric::External(name) = metric
                && let Some(external) = self.declared.get(name)
            {
                external::check(name, external)?;
            }
        }
        match self.named.iter().any(is_session) {
            true => sessions::check(self.host, &self.nic),
            false => Ok(()),
        }
    }

    fn record(
        &mut self,
        spec: &WindowSpec,
        stop: &dyn Fn() -> bool,
        each: Each<'_>,
    ) -> Result<Window> {
        let recorder = Recorder::start(&self.declared);
        let over = AtomicBool::new(false);
        let watched = self.named.iter().any(is_session);
        let mut watcher = watched.then(|| Watcher::new(self.host, &self.nic));
        let meter = &mut self.meter;
        let measured = std::thread::scope(|scope| {
            // Its requests to the kernel are bounded, so this ends.
            let thread = watcher.as_mut().map(|watcher| scope.spawn(|| watcher.run(&over)));
            let measured = meter.watched(spec, stop, each);
            over.store(true, Ordering::Relaxed);
            if let Some(thread) = &thread {
                thread.thread().unpark();
            }
            measured
        });
        let (began, length) = measured.as_ref().map_or((0, 0), |w| (w.began_utc_ns, w.length_ns));
        let (recorded, notes) = recorder.finish(began, length);
        let mut window = measured?;
        window.readings.extend(recorded);
        window.notes.extend(notes);
        if let Some(told) = watcher.map(|watcher| watcher.finish(began, length)) {
            window.readings.extend(told.recorded);
            window.notes.extend(told.notes);
        }
        Ok(window)
    }

    /// What the first window lacks of what it will be compared by.
    fn lacks(&self, window: &Window) -> Option<Fault> {
        if window.cut_short.is_some() {
            return None;
        }
        self.named.iter().find_map(|metric| {
            let recorded = window.readings.get(&metric.to_string())?;
            let missing = recorded.missing(window.length_ns);
            let cause = missing.or_else(|| self.too_few(recorded, window.length_ns))?;
            Some(Fault::new(Kind::Gone, format!("record {metric}"), cause))
        })
    }
}

impl Recording<'_> {
    /// Fewer readings than a window of this length must bring, for all of a side to come to enough.
    fn too_few(&self, recorded: &Recorded, length_ns: u64) -> Option<String> {
        let count = recorded.readings.len() as u128;
        let needed =
            u128::from(GAUGE_READINGS_MIN) * u128::from(length_ns) / self.whole.as_nanos().max(1);
        let few = recorded.kind == Figure::Gauge && count < needed;
        few.then(|| format!("{count} readings, {needed} needed: a longer `window`"))
    }
}

impl Meter for Recording<'_> {
    fn pinger(&mut self) -> Option<Box<dyn Pinger>> {
        self.meter.pinger()
    }

    fn settle(&mut self, limit: Duration, stop: &dyn Fn() -> bool) -> Result<Duration> {
        let took = self.meter.settle(limit, stop)?;
        if self.progress == Progress::Fresh {
            self.check()?;
            self.progress = Progress::Checked;
        }
        Ok(took)
    }

    fn watched(
        &mut self,
        spec: &WindowSpec,
        stop: &dyn Fn() -> bool,
        each: Each<'_>,
    ) -> Result<Window> {
        let window = self.record(spec, stop, each)?;
        let first = self.progress != Progress::Measured;
        self.progress = Progress::Measured;
        match self.lacks(&window).filter(|_| first) {
            Some(fault) => Err(fault),
            None => Ok(window),
        }
    }
}

fn is_session(metric: &Metric) -> bool {
    matches!(metric, Metric::TcpRtt | Metric::TcpSessionRetransmits)
}
