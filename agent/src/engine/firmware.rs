//! Performing a firmware stage: each order of the transaction, fenced, on the right device, read back.

use std::time::Duration;

use playbooks::{Name, Value, vocabulary::Disruption};

use super::{Engine, Telling, hands};
use crate::{
    fault::{Fault, Kind, Result},
    firmware::{device, flash, images, kept::Kept, restart},
    host::Nic,
    plan::{
        firmware::{FirmwareAction, Which},
        order,
    },
    run::{Answer, Before, Durable, Event, Order, Restored, Run},
    setting::family_of,
    surroundings::{self, Change},
};

/// Between two looks for a port that is coming back.
const LOOK: Duration = Duration::from_millis(100);
/// 0.1, 0.2, 0.4, … 5 s between tries: a minute in all.
const BUSY_TRIES: u32 = 16;
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// For the ports of a device that is at rest.
const BACK_MS_MAX: u64 = 30_000;
/// Settings of a restarted port are written and read again so often.
const PASSES_MAX: u32 = 4;
/// What stands around the ports and their settings are put back in turn so often.
const ROUNDS_MAX: u32 = 3;
const PASS_PAUSE: Duration = Duration::from_millis(250);

impl Engine<'_> {
    pub(super) fn firmware(&mut self, run: &Run, order: &Order) -> Event {
        let Some(action) = run.firmware().cloned() else {
            let fault = Fault::new(Kind::Malformed, "flash", "this run has no firmware stage");
            return Event::Firmware(Err(fault));
        };
        Event::Firmware(self.obey(run, &action, order))
    }

    fn obey(&mut self, run: &Run, action: &FirmwareAction, order: &Order) -> Result<Answer> {
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
        let mut seen = device::look(self.host, action)?;
        if let Some((_, kept)) = self.kept.as_ref().filter(|_| run.is_returning()) {
            seen.renewed = kept.is_older_than(&device::found(self.host, action)?);
        }
        Ok(Answer::Seen(seen))
    }

    /// Before anything is written, and again before the restart: the device is the one of the plan and as
    /// the plan found it, and nobody whom the restart would hurt holds a port. Before the restart the policies
    /// are asked again, too: a flash takes minutes, and a venue may have opened.
    fn guard(&mut self, run: &Run, action: &FirmwareAction, before: Before) -> Result<Answer> {
        let seen = device::look(self.host, action)?;
        let act = format!("flash {}", action.device.handle);
        let stored = match before {
            Before::Flash => &action.from,
            Before::Activation => &action.to,
        };
        let differs = |found: &Option<String>, wanted: &String| {
            found.as_ref().is_some_and(|found| !action.is_version(found, wanted))
        };
        if differs(&seen.running, &action.from) || differs(&seen.stored, stored) {
            let said = |text: Option<String>| text.unwrap_or_else(|| "nothing it tells".to_owned());
            let cause = format!(
                "it runs {} and stores {}; the plan is from {}",
                said(seen.running),
                said(seen.stored),
                action.from
            );
            return Err(Fault::new(Kind::Drift, act, cause));
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
        if let Some(why) = gate.and_then(|gate| gate.bars(&run.nic, Disruption::NicReset)) {
            return Err(Fault::new(Kind::Denied, act, why));
        }
        if let (Before::Activation, Some(gate)) = (before, gate) {
            let (decisions, refused) = gate.permits()?;
            // Made durable together with the word of the restart.
            self.record(decisions, Durable::BestEffort)?;
            if let Some(why) = refused {
                let act = format!("restart {} into {}", action.device.handle, action.to);
                return Err(Fault::new(Kind::Denied, act, why));
            }
        }
        Ok(Answer::Done)
    }

    /// On the way back a disk that fails is no reason to restart without knowing what is lost: it is held
    /// in memory too.
    fn keep_ports(&mut self, run: &Run, action: &FirmwareAction) -> Result<Answer> {
        let ports = device::ports_now(self.host, action)?;
        let kept = crate::firmware::kept::take(self.host, &ports)?;
        let cannot = kept.surroundings.cannot_restore();
        if !cannot.is_empty() && !run.is_returning() {
            let act = format!("flash {}", action.device.handle);
            let cause = format!("a restart would take for good: {}", cannot.join("; "));
            return Err(Fault::new(Kind::Denied, act, cause));
        }
        let name = match run.is_returning() {
            true => format!("runs/{}/ports-before-return.json", self.id),
            false => format!("runs/{}/ports.json", self.id),
        };
        match self.store.put(&name, &kept.encode()?) {
            Err(fault) if !run.is_returning() => return Err(fault),
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
        self.while_busy(run, || flash::flash(self.host, action, which, &path, &port, &mut told))?;
        Ok(Answer::Done)
    }

    /// A device that is busy (another flash, a reset) is asked again for a while; who then finds it
    /// still busy has done nothing to it.
    fn while_busy<T>(&self, run: &Run, mut act: impl FnMut() -> Result<T>) -> Result<T> {
        let mut pause = LOOK;
        for tried in 1..BUSY_TRIES {
            match act() {
                Err(fault) if fault.kind == Kind::Busy && (self.stop)().is_none() => {
                    if tried == 1 {
                        let words = format!("{fault}; it is asked again for a minute");
                        (self.tell)(&Telling::Note(words));
                    }
                    self.host.wait(pause);
                }
                done => return done,
            }
            pause = (pause * 2).min(BUSY_PAUSE_MAX);
            // Time has passed: another writer may have taken over.
            self.fence(run)?;
        }
        act()
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
        self.restarted_ns.get_or_insert(self.host.now().mono_ns);
        let what = format!("{} restarts into {}", action.device.handle, action.version_of(which));
        (self.tell)(&Telling::Flashing { what });
        // A restart that failed goes on being an outage until another one has mended it.
        if let Some(bench) = self.bench.as_mut().filter(|bench| bench.pinger.is_none()) {
            bench.pinger = bench.meter.pinger();
        }
        let performed =
            self.while_busy(run, || restart::restart(self.host, action, which, &port))?;
        Ok(Answer::Activated(performed))
    }

    /// A name to address the device by where ethtool's ioctls need one.
    fn port(&self, run: &Run, action: &FirmwareAction) -> Result<String> {
        let ports = device::found(self.host, action)?;
        let own = ports.iter().find(|nic| nic.id == run.nic.id).or(ports.first());
        Ok(own.map(|nic| nic.name.clone()).unwrap_or_default())
    }

    /// An index says nothing here: the interfaces may be new ones. They are known by what they are.
    fn await_ports(&self, run: &Run, action: &FirmwareAction) -> Result<Answer> {
        // On the way back the device has answered just before: it restarts no more.
        let patience_ms = match run.is_returning() {
            true => action.leases.back_ms.min(BACK_MS_MAX),
            false => action.leases.back_ms,
        };
        let began = self.host.now().mono_ns;
        loop {
            let fault = match device::ports_now(self.host, action) {
                Ok(ports) => {
                    let own = ports.into_iter().find(|nic| nic.id == run.nic.id);
                    return Ok(Answer::Back(Box::new(own.unwrap_or_else(|| run.nic.clone()))));
                }
                Err(fault) => fault,
            };
            let waited_ms = self.host.now().mono_ns.saturating_sub(began) / 1_000_000;
            if waited_ms >= patience_ms {
                let cause = format!("{} ({} s after the restart)", fault.cause, waited_ms / 1_000);
                return Err(Fault { cause, ..fault });
            }
            self.host.wait(LOOK);
        }
    }

    fn restore_ports(&mut self, run: &Run, action: &FirmwareAction, name: &str) -> Result<Answer> {
        self.fence(run)?;
        let kept = match &self.kept {
            Some((known, kept)) if known == name => kept.clone(),
            Some(_) | None => {
                let bytes = self.store.get(name)?.ok_or_else(|| {
                    Fault::new(Kind::Gone, "put back the ports", format!("{name} is missing"))
                })?;
                Kept::decode(&bytes)?
            }
        };
        let mut restored = Restored::default();
        // Writing a setting may flap a link, which drops what stands around it: both until neither differs.
        for _ in 0..ROUNDS_MAX {
            restored = self.restore_round(run, action, &kept)?;
            if restored.left.is_empty() {
                break;
            }
        }
        if !restored.left.is_empty() {
            return Ok(Answer::Restored(restored));
        }
        let since = self.restarted_ns.take();
        let now_ns = self.host.now().mono_ns;
        restored.mended_ms = since.map(|began| now_ns.saturating_sub(began) / 1_000_000);
        // From now on these are the interfaces.
        let ports = device::found(self.host, action)?;
        if let Some((_, kept)) = &mut self.kept {
            kept.stand_on(&ports);
        }
        if let Some(bench) = &mut self.bench
            && let Some(pinger) = bench.pinger.take()
        {
            restored.outage = Some(pinger.end(bench.verify.settle));
        }
        Ok(Answer::Restored(restored))
    }

    /// What stood around the ports, then their settings, then a look at both.
    fn restore_round(&self, run: &Run, action: &FirmwareAction, kept: &Kept) -> Result<Restored> {
        let mut restored = Restored::default();
        let ports = device::ports_now(self.host, action)?;
        let faults = kept.surroundings.restore(self.host, &ports);
        // By their names again.
        let ports = device::ports_now(self.host, action)?;
        for port in &kept.ports {
            let Some(nic) = ports.iter().find(|nic| nic.id == port.id) else {
                restored.left.push(format!("{} is not there", port.name));
                continue;
            };
            restored.left.extend(self.restore_settings(run, nic, &port.settings)?);
        }
        let now = surroundings::take(self.host, &ports)?;
        let differences = kept.surroundings.differences(&now);
        let unlike = differences.iter().filter(|difference| difference.change != Change::Added);
        let unlike: Vec<String> = unlike.map(ToString::to_string).collect();
        if !unlike.is_empty() {
            restored.left.extend(faults.iter().map(ToString::to_string));
        }
        restored.left.extend(unlike);
        restored.lost = kept.surroundings.lost_joins(&now);
        restored.nic = ports.into_iter().find(|nic| nic.id == run.nic.id).map(Box::new);
        Ok(restored)
    }

    /// Writes what differs, in the planned order, until all of it is as it was; what is left, in words.
    fn restore_settings(
        &self,
        run: &Run,
        nic: &Nic,
        settings: &[(Name, Value)],
    ) -> Result<Vec<String>> {
        let names: Vec<Name> = settings.iter().map(|(name, _)| name.clone()).collect();
        let mut pass = 0;
        loop {
            let read = hands::read_values(self.host, nic, &names);
            let now = read.iter().filter_map(|(n, v)| Some((n.clone(), v.as_ref().ok()?.clone())));
            let changes = order::changes(&now.collect(), settings);
            let unread = read.iter().filter_map(|(name, read)| {
                let fault = read.as_ref().err()?;
                Some(format!("{name} on {}: {fault}", nic.name))
            });
            let left: Vec<String> = changes
                .iter()
                .map(|c| format!("{} on {} is {}, was {}", c.name, nic.name, c.from, c.to))
                .chain(unread)
                .collect();
            if left.is_empty() || pass == PASSES_MAX {
                return Ok(left);
            }
            if pass > 0 {
                self.host.wait(PASS_PAUSE);
            }
            pass += 1;
            for step in order::steps(nic, changes) {
                self.fence(run)?;
                // What fails is read again, and written again, in the next pass.
                if let Some(first) = step.batch.first()
                    && let Ok(family) = family_of(&first.name)
                {
                    let _ = family.write(self.host, nic, &step.batch);
                }
            }
        }
    }
}

fn image(action: &FirmwareAction, which: Which) -> Result<&crate::plan::firmware::Image> {
    action.image_of(which).ok_or_else(|| {
        let act = format!("flash {} to {}", action.device.handle, action.version_of(which));
        Fault::new(Kind::Unsupported, act, "the request accepted that there is no image of it")
    })
}
