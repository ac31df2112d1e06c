//! A device's ports: awaited, and brought back to what they were.

use std::time::Duration;

use playbooks::{Name, Value};

use super::{
    super::{Engine, hands},
    LOOK,
};
use crate::{
    fault::{Fault, Kind, Result},
    firmware::{device, kept::Kept},
    host::Nic,
    plan::{firmware::FirmwareAction, order},
    run::{
        Answer, Restored, Run,
        lease::{BACK_MS_MAX, RESTORE_MS_MAX},
    },
    setting::family_of,
    surroundings::{self, Change},
};

/// Settings of a restarted port are written and read again so often.
const PASSES_MAX: u32 = 4;
/// What stands around the ports and their settings are put back in turn so often.
const ROUNDS_MAX: u32 = 3;
const PASS_PAUSE: Duration = Duration::from_millis(250);

impl Engine<'_> {
    /// An index says nothing here: the interfaces may be new ones. They are known by what they are.
    pub(super) fn await_ports(&mut self, run: &Run, action: &FirmwareAction) -> Result<Answer> {
        // On the way back the device has answered just before: it restarts no more.
        let patience_ms = match run.is_forward() {
            true => action.leases.back_ms,
            false => action.leases.back_ms.min(BACK_MS_MAX),
        };
        let began = self.host.now().mono_ns;
        loop {
            self.note_ports(action);
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

    pub(super) fn restore_ports(
        &mut self,
        run: &Run,
        action: &FirmwareAction,
        name: &str,
    ) -> Result<Answer> {
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
        let until_ns = self.host.now().mono_ns.saturating_add(RESTORE_MS_MAX * 1_000_000);
        // Writing a setting may flap a link, which drops what stands around it: both until neither differs.
        for _ in 0..ROUNDS_MAX {
            restored = self.restore_round(run, action, &kept, until_ns)?;
            if restored.left.is_empty() || self.host.now().mono_ns >= until_ns {
                break;
            }
        }
        if !restored.left.is_empty() {
            return Ok(Answer::Restored(restored));
        }
        // From now on these are the interfaces.
        let ports = device::found(self.host, action)?;
        if let Some((_, kept)) = &mut self.kept {
            kept.stand_on(&ports);
        }
        self.end_outages(run, &kept, &mut restored);
        Ok(Answer::Restored(restored))
    }

    /// What stood around the ports, then their settings, then a look at both.
    fn restore_round(
        &self,
        run: &Run,
        action: &FirmwareAction,
        kept: &Kept,
        until_ns: u64,
    ) -> Result<Restored> {
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
            let (left, by_hand) = self.restore_settings(run, nic, &port.settings, until_ns)?;
            restored.left.extend(left);
            restored.by_hand.extend(by_hand);
        }
        let now = surroundings::look(self.host, &ports)?;
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

    /// Writes what differs, in the planned order, until all of it is as it was or the time is up; what is left,
    /// in words, and the lines for a person to do it.
    fn restore_settings(
        &self,
        run: &Run,
        nic: &Nic,
        settings: &[(Name, Value)],
        until_ns: u64,
    ) -> Result<(Vec<String>, Vec<String>)> {
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
            let over = self.host.now().mono_ns >= until_ns;
            if left.is_empty() || pass == PASSES_MAX || over {
                let steps = order::steps(nic, changes);
                let lines = steps.iter().filter_map(|step| {
                    let family = family_of(&step.batch.first()?.name).ok()?;
                    Some(family.by_hand(nic, &step.batch))
                });
                return Ok((left, lines.flatten().collect()));
            }
            if pass > 0 {
                self.host.wait(PASS_PAUSE);
            }
            pass += 1;
            for step in order::steps(nic, changes) {
                self.fence(run)?;
                if self.host.now().mono_ns >= until_ns {
                    break;
                }
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
