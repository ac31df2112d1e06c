//! Performing a firmware stage: each order of the transaction, fenced, on the right device, read back.

mod outages;
mod ports;

use std::time::Duration;

use playbooks::vocabulary::Disruption;

pub(super) use self::outages::Outages;
use super::{Engine, Telling};
use crate::{
    fault::{Fault, Kind, Result},
    firmware::{device, flash, images, restart},
    log::firmware::Found,
    plan::firmware::{FirmwareAction, Which},
    run::{
        Answer, Before, Durable, Event, Order, Run, Seen,
        lease::{BUSY_MS_MAX, BUSY_PAUSE_MS_MAX, TELL_MS_MAX},
    },
};

/// Between two looks for a port that is coming back.
const LOOK: Duration = Duration::from_millis(100);
/// 0.1, 0.2, 0.4, … 5 s between tries: a minute in all.
const BUSY_TRIES: u32 = 16;
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(BUSY_PAUSE_MS_MAX);
/// What the guard saw is not relied on for longer: somebody may have come, a venue opened.
const GUARDED_MS_MAX: u64 = 3_000;

impl Engine<'_> {
    pub(super) fn firmware(&mut self, run: &Run, order: &Order) -> Event {
        let Some(action) = run.firmware().cloned() else {
            let fault = Fault::new(Kind::Malformed, "flash", "this run has no firmware stage");
            return Event::Firmware { answer: Err(fault), took_ms: 0 };
        };
        let began_ns = self.host.now().mono_ns;
        let answer = self.obey(run, &action, order);
        Event::Firmware { answer, took_ms: self.ms_since(began_ns) }
    }

    fn obey(&mut self, run: &Run, action: &FirmwareAction, order: &Order) -> Result<Answer> {
        match order {
            // What holds the device in the kernel would hold us, too.
            Order::Place(_) | Order::Drain | Order::Clear => {}
            Order::Guard(_)
            | Order::Keep
            | Order::Flash(_)
            | Order::Look
            | Order::Activate(_)
            | Order::Await
            | Order::Restore(_) => self.host.free(&action.device.handle)?,
        }
        match order {
            Order::Guard(before) => self.guard(run, action, *before),
            Order::Keep => self.keep_ports(run, action),
            Order::Place(which) => {
                self.fence(run)?;
                let image = image(action, *which)?;
                let bytes = images::load(self.store, image)?;
                self.placed = Some(self.host.place(&image.sha256, &bytes)?);
                Ok(Answer::Done)
            }
            Order::Flash(which) => self.flash(run, action, *which),
            Order::Look => self.look(run, action),
            Order::Drain => Ok(self.drain(action)),
            Order::Activate(which) => self.activate(run, action, *which),
            Order::Await => self.await_ports(run, action),
            Order::Restore(name) => self.restore_ports(run, action, name),
            Order::Clear => {
                self.host.unplace()?;
                self.placed = None;
                Ok(Answer::Done)
            }
        }
    }

    /// On the way back it counts, too, whether the ports are still the interfaces that were kept: a card
    /// that was pulled and came back has lost what a restart would have taken.
    fn look(&self, run: &Run, action: &FirmwareAction) -> Result<Answer> {
        if run.is_forward() {
            return Ok(Answer::Seen(self.told(action)?));
        }
        let mut seen = device::look(self.host, action)?;
        if let Some((_, kept)) = &self.kept {
            seen.renewed = kept.is_older_than(&device::found(self.host, action)?);
        }
        Ok(Answer::Seen(seen))
    }

    /// A device that is coming up may tell no version for a moment.
    fn told(&self, action: &FirmwareAction) -> Result<Seen> {
        let began = self.host.now().mono_ns;
        loop {
            let seen = device::look(self.host, action)?;
            if seen.running.is_some() || self.ms_since(began) >= TELL_MS_MAX {
                return Ok(seen);
            }
            self.host.wait(LOOK);
        }
    }

    /// Milliseconds since this moment, CLOCK_MONOTONIC.
    fn ms_since(&self, then_ns: u64) -> u64 {
        self.host.now().mono_ns.saturating_sub(then_ns) / 1_000_000
    }

    /// Before anything is written, and again before the restart: the device is the one of the plan and as
    /// the plan found it, and nobody whom the restart would hurt holds a port. Before the restart the policies
    /// are asked again, too: a flash takes minutes, and a venue may have opened.
    fn guard(&mut self, run: &Run, action: &FirmwareAction, before: Before) -> Result<Answer> {
        let seen = self.told(action)?;
        let act = format!("flash {}", action.device.handle);
        let wanted = match before {
            Before::Flash => &action.from,
            Before::Activation => &action.to,
        };
        let other = seen.stored.as_ref().is_some_and(|stored| !action.is_version(stored, wanted));
        if other
            || !seen
                .running
                .as_ref()
                .is_some_and(|running| action.is_version(running, &action.from))
        {
            // A version that is not told is no version, neither the right one nor another.
            let kind = if seen.running.is_none() { Kind::Unsupported } else { Kind::Drift };
            let said = |text: &Option<String>| {
                text.clone().unwrap_or_else(|| "nothing that it tells".to_owned())
            };
            let cause = format!(
                "it runs {} and stores {}; the plan is from {}",
                said(&seen.running),
                said(&seen.stored),
                action.from
            );
            return Err(Fault::new(kind, act, cause));
        }
        let ports = device::ports_now(self.host, action)?;
        if ports.iter().all(|nic| nic.id != run.nic.id) {
            return Err(Fault::new(
                Kind::Gone,
                act,
                format!("{} is not among its ports", run.nic.id),
            ));
        }
        // Who uses the device is looked up for all of its ports at once.
        let gate = self.bench.as_ref().map(|bench| bench.gate);
        let barred = gate.and_then(|gate| gate.bars(&run.nic, Disruption::NicReset));
        let Before::Activation = before else {
            return match barred {
                Some(why) => Err(Fault::new(Kind::Denied, act, why)),
                None => Ok(Answer::Guarded(Found { stored: seen.stored })),
            };
        };
        let refused = match (barred, gate) {
            (Some(why), _) => Some(why),
            (None, None) => None,
            (None, Some(gate)) => {
                let (decisions, refused) = gate.permits()?;
                // A refusal that is waited for is said once. Made durable together with the word of the restart.
                if refused.is_none() || refused != self.refused {
                    self.record(decisions, Durable::BestEffort)?;
                }
                self.refused.clone_from(&refused);
                refused
            }
        };
        Ok(match refused {
            Some(why) => {
                let act = format!("restart {} into {}", action.device.handle, action.to);
                self.bar(action, Fault::new(Kind::Denied, act, why))
            }
            None => {
                self.guarded_ns = Some(self.host.now().mono_ns);
                Answer::Guarded(Found { stored: seen.stored })
            }
        })
    }

    /// Where there is a way back the run turns back now. Where there is none it waits, and says so aloud.
    fn bar(&self, action: &FirmwareAction, fault: Fault) -> Answer {
        if action.way_back.is_none() {
            let words = format!(
                "{fault}. {} STORES {} AND THERE IS NO WAY BACK: any reset of the device or boot of this host \
                 runs it unverified. The guard is asked again, for ten minutes",
                action.device.handle, action.to
            );
            (self.tell)(&Telling::Note(words));
        }
        Answer::Barred(fault)
    }

    /// On the way back a disk that fails is no reason to restart without knowing what is lost: it is held
    /// in memory too.
    fn keep_ports(&mut self, run: &Run, action: &FirmwareAction) -> Result<Answer> {
        let ports = device::ports_now(self.host, action)?;
        let kept = crate::firmware::kept::take(self.host, &ports)?;
        let cannot = kept.surroundings.cannot_restore();
        if !cannot.is_empty() && run.is_forward() {
            let act = format!("flash {}", action.device.handle);
            let cause = format!("a restart would take for good: {}", cannot.join("; "));
            return Err(Fault::new(Kind::Denied, act, cause));
        }
        let name = match run.is_forward() {
            true => format!("runs/{}/ports.json", self.id),
            false => format!("runs/{}/ports-before-return.json", self.id),
        };
        match self.store.put(&name, &kept.encode()?) {
            Err(fault) if run.is_forward() => return Err(fault),
            Err(_) | Ok(()) => {}
        }
        self.kept = Some((name.clone(), kept));
        Ok(Answer::Kept(name))
    }

    fn flash(&mut self, run: &Run, action: &FirmwareAction, which: Which) -> Result<Answer> {
        self.fence(run)?;
        if action.version_name.is_some() {
            device::recognise(self.host, action)?;
        }
        let port = self.port(run, action)?;
        let path = self.placed.clone().unwrap_or_default();
        let (tell, to) = (self.tell, action.version_of(which).to_owned());
        tell(&Telling::Flashing { what: format!("{} to {to}", action.device.handle) });
        let mut last = String::new();
        let mut told = |progress: flash::Progress| {
            let words = progress.to_string();
            if words != last && !words.is_empty() {
                tell(&Telling::Flashing { what: words.clone() });
                last = words;
            }
        };
        let act = |engine: &Self| flash::flash(engine.host, action, which, &path, &port, &mut told);
        match self.while_busy(run, |_| Ok(None), act)? {
            Busy::Done(()) => Ok(Answer::Done),
            Busy::Not(answer) => Ok(answer),
        }
    }

    /// A device that is busy (another flash, a reset) is asked again for a while; who then finds it
    /// still busy has done nothing to it. `before` each try: what has to hold by then, or why not.
    fn while_busy<T>(
        &mut self,
        run: &Run,
        before: impl Fn(&mut Self) -> Result<Option<Answer>>,
        mut act: impl FnMut(&Self) -> Result<T>,
    ) -> Result<Busy<T>> {
        let (began, mut pause) = (self.host.now().mono_ns, LOOK);
        for tried in 1..=BUSY_TRIES {
            if let Some(answer) = before(self)? {
                return Ok(Busy::Not(answer));
            }
            let last = tried == BUSY_TRIES || self.ms_since(began) >= BUSY_MS_MAX;
            match act(self) {
                Err(fault) if fault.kind == Kind::Busy && !last && (self.stop)().is_none() => {
                    if tried == 1 {
                        let words = format!("{fault}; it is asked again for a minute");
                        (self.tell)(&Telling::Note(words));
                    }
                    self.host.wait(pause);
                }
                done => return done.map(Busy::Done),
            }
            pause = (pause * 2).min(BUSY_PAUSE_MAX);
            // Time has passed: another writer may have taken over.
            self.fence(run)?;
        }
        Err(Fault::new(Kind::Busy, format!("ask {}", self.id), "it was never asked"))
    }

    /// Strategies get this long to leave; whoever asks for a stop is heard within a tenth of a second.
    fn drain(&self, action: &FirmwareAction) -> Answer {
        let mut left = Duration::from_millis(action.leases.drain_ms);
        if !left.is_zero() {
            let what = format!("drain: {:.0} s until the restart", left.as_secs_f64());
            (self.tell)(&Telling::Note(what));
        }
        while !left.is_zero() && (self.stop)().is_none() {
            let slice = left.min(LOOK);
            self.host.wait(slice);
            left -= slice;
        }
        Answer::Done
    }

    fn activate(&mut self, run: &Run, action: &FirmwareAction, which: Which) -> Result<Answer> {
        self.fence(run)?;
        if action.version_name.is_some() {
            device::recognise(self.host, action)?;
        }
        let port = self.port(run, action)?;
        let what = format!("{} restarts into {}", action.device.handle, action.version_of(which));
        (self.tell)(&Telling::Flashing { what });
        // A restart that failed goes on being an outage until another one has mended it.
        let before = |engine: &mut Self| {
            if let Some(barred) = engine.guard_anew(run, action)? {
                return Ok(Some(barred));
            }
            engine.begin_outages(run, action);
            Ok(None)
        };
        let restart = |engine: &Self| restart::restart(engine.host, action, which, &port);
        match self.while_busy(run, before, restart)? {
            Busy::Done(performed) => Ok(Answer::Activated(performed)),
            Busy::Not(barred) => Ok(barred),
        }
    }

    /// The guard once more, where it has not looked just now: `None` where it lets the restart be. On the way back
    /// nobody is asked.
    fn guard_anew(&mut self, run: &Run, action: &FirmwareAction) -> Result<Option<Answer>> {
        let fresh = self.guarded_ns.is_some_and(|then| self.ms_since(then) <= GUARDED_MS_MAX);
        if fresh || !run.is_forward() {
            return Ok(None);
        }
        // Nothing has restarted yet. A socket of ours that is opened anew meanwhile could be taken for a stranger's.
        self.outages = None;
        match self.guard(run, action, Before::Activation)? {
            barred @ Answer::Barred(_) => Ok(Some(barred)),
            _ => Ok(None),
        }
    }

    /// A name to address the device by where ethtool's ioctls need one.
    fn port(&self, run: &Run, action: &FirmwareAction) -> Result<String> {
        let ports = device::found(self.host, action)?;
        let own = ports.iter().find(|nic| nic.id == run.nic.id).or(ports.first());
        Ok(own.map(|nic| nic.name.clone()).unwrap_or_default())
    }
}

fn image(action: &FirmwareAction, which: Which) -> Result<&crate::plan::firmware::Image> {
    action.image_of(which).ok_or_else(|| {
        let act = format!("flash {} to {}", action.device.handle, action.version_of(which));
        Fault::new(Kind::Unsupported, act, "the request accepted that there is no image of it")
    })
}

/// What came of trying while a device was busy.
enum Busy<T> {
    Done(T),
    /// It was not tried to the end.
    Not(Answer),
}
