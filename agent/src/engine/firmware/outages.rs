//! For how long a restart takes a device's ports away: each port's interface, its carrier, and its packets.

use std::time::Duration;

use super::{super::Engine, LOOK};
use crate::{
    firmware::{
        device,
        kept::{Kept, carries},
    },
    host::NicId,
    log::firmware::{Outage, PortBack},
    measure::Pinger,
    plan::firmware::FirmwareAction,
    run::{
        Restored, Run,
        lease::{ANSWER_MS_MAX, CARRIER_MS_MAX},
    },
};

/// What is known of a restart that the ports are not back from.
pub struct Outages {
    /// When it began, CLOCK_MONOTONIC.
    began_ns: u64,
    ports: Vec<Watched>,
}

struct Watched {
    id: NicId,
    name: String,
    pinger: Result<Box<dyn Pinger>, String>,
    there_ms: Option<u64>,
}

impl Engine<'_> {
    /// From right before a restart, unless an earlier one is not mended yet.
    pub(super) fn begin_outages(&mut self, run: &Run, action: &FirmwareAction) {
        if self.outages.is_some() {
            return;
        }
        let there = device::found(self.host, action).unwrap_or_default();
        let mut ports = Vec::new();
        for port in &action.ports {
            let nic = there.iter().find(|nic| nic.id == port.id);
            let pinger = match nic {
                None => Err("its interface was not there before the restart".to_owned()),
                Some(nic) if nic.id == run.nic.id => self.own_pinger(&nic.name),
                Some(nic) => self.reach.neighbour(nic),
            };
            let name = nic.map_or_else(|| port.name.clone(), |nic| nic.name.clone());
            ports.push(Watched { id: port.id.clone(), name, pinger, there_ms: None });
        }
        self.outages = Some(Outages { began_ns: self.host.now().mono_ns, ports });
    }

    /// The run's own probe, or one like it where the run only goes back.
    fn own_pinger(&mut self, nic: &str) -> Result<Box<dyn Pinger>, String> {
        if let Some(bench) = &mut self.bench {
            return bench.meter.pinger().ok_or_else(|| "the probe cannot ping".to_owned());
        }
        match &self.peer {
            Some(peer) => self.reach.peer(nic, peer),
            None => Err("the run has no peer".to_owned()),
        }
    }

    /// Notes which interfaces are there again.
    pub(super) fn note_ports(&mut self, action: &FirmwareAction) {
        let Some(mut outages) = self.outages.take() else { return };
        let there = device::found(self.host, action).unwrap_or_default();
        let ms = self.ms_since(outages.began_ns);
        for port in &mut outages.ports {
            if port.there_ms.is_none() && there.iter().any(|nic| nic.id == port.id) {
                port.there_ms = Some(ms);
            }
        }
        self.outages = Some(outages);
    }

    /// Everything is as it was: until when each port was away. A carrier that stays away is a port that is not
    /// back, on the way forward; on the way back nothing that is written would bring it.
    pub(super) fn end_outages(&mut self, run: &Run, kept: &Kept, restored: &mut Restored) {
        let Some(outages) = self.outages.take() else {
            // With a bench it is the process that began the run: then nothing has restarted.
            if self.bench.is_none() {
                let why = "where the device was restarted another process did it, whose measuring ended with it";
                restored.unmeasured = Some(why.to_owned());
            }
            return;
        };
        restored.mended_ms = Some(self.ms_since(outages.began_ns));
        let mut ports: Vec<PortBack> = Vec::new();
        let carriers = self.carriers(&outages, kept);
        for (port, carrier) in outages.ports.into_iter().zip(carriers) {
            let own = port.id == run.nic.id;
            let patience = self.bench.as_ref().filter(|_| own).map(|bench| bench.verify.settle);
            let limit = Duration::from_millis(ANSWER_MS_MAX);
            let patience = patience.map_or(limit, |settle| settle.min(limit));
            let (outage, unmeasured): (Option<Outage>, _) = match port.pinger {
                Ok(pinger) => (Some(pinger.end(patience)), None),
                Err(why) => (None, Some(why)),
            };
            if own {
                restored.outage.clone_from(&outage);
                restored.unmeasured.clone_from(&unmeasured);
            }
            let dark = carrier == Carrier::Away;
            if dark && !own && run.is_forward() {
                let ms = CARRIER_MS_MAX / 1_000;
                restored
                    .left
                    .push(format!("{} has had no carrier for {ms} s; it had one", port.name));
            }
            ports.push(PortBack {
                name: port.name,
                there_ms: port.there_ms,
                carrier_ms: match carrier {
                    Carrier::Back { ms } => Some(ms),
                    Carrier::Away | Carrier::NotKnown => None,
                },
                dark,
                outage,
                unmeasured,
            });
        }
        restored.ports = ports;
    }

    /// Waits for those carriers that were there before, all at once.
    fn carriers(&self, outages: &Outages, kept: &Kept) -> Vec<Carrier> {
        let had = |port: &Watched| kept.ports.iter().any(|k| k.id == port.id && k.carrier);
        let mut carriers: Vec<Carrier> = outages
            .ports
            .iter()
            .map(|port| if had(port) { Carrier::Away } else { Carrier::NotKnown })
            .collect();
        let began = self.host.now().mono_ns;
        loop {
            for (port, carrier) in outages.ports.iter().zip(&mut carriers) {
                if *carrier == Carrier::Away && carries(self.host, &port.name) {
                    *carrier = Carrier::Back { ms: self.ms_since(outages.began_ns) };
                }
            }
            let away = carriers.contains(&Carrier::Away);
            if !away || self.ms_since(began) >= CARRIER_MS_MAX {
                return carriers;
            }
            self.host.wait(LOOK);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// It had none before, or nobody knows.
    NotKnown,
    Away,
    Back {
        ms: u64,
    },
}
