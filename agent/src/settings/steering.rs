//! What XPS and RPS have in common: one file a queue that holds a mask of CPUs.

use std::path::Path;

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{
    cpus::{self, Cpus, Share},
    plain,
    queues::{self, Direction},
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic},
    setting::{Change, Current, Family, Readings},
};

/// A family of one setting, `FAMILY.cpus`.
pub struct Steering {
    pub family: &'static str,
    pub direction: Direction,
    /// The file in each queue's directory.
    pub file: &'static str,
    pub default: Default,
}

/// What `default` means.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// The kernel does not keep what the driver set at first.
    Unknown,
    /// The mask in this file, or no CPU where there is no such file.
    MaskIn(&'static str),
}

impl Family for Steering {
    fn name(&self) -> &'static str {
        self.family
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let Some(name) = plain::name(&format!("{}.cpus", self.family)) else {
            return vec![Readings::default(); nics.len()];
        };
        let of = |nic| plain::readings([(name.clone(), self.current(host, nic))]);
        nics.iter().map(of).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        names.iter().map(|_| self.current(host, nic)).collect()
    }

    fn resolve(
        &self,
        host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        let act = plain::setting(name, &nic.name);
        let Value::Texts(queues) = &now.value else {
            return Err(Fault::new(Kind::Malformed, act, "the present value is no list a queue"));
        };
        let numbers: Vec<u32> = (0..).take(queues.len()).collect();
        match cpus::share(host, nic, wanted, &act)? {
            Share::Dealt(cpus) => Ok(Value::Texts(cpus.deal(&numbers))),
            Share::Each(lists) if lists.len() == queues.len() => Ok(Value::Texts(lists)),
            Share::Each(lists) => {
                let cause = format!("{} lists for {} queues", lists.len(), queues.len());
                Err(Fault::new(Kind::Invalid, act, cause))
            }
            Share::Default => {
                let list = self.default_list(host, &act)?;
                Ok(Value::Texts(vec![list; queues.len()]))
            }
        }
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        plain::one_by_one(changes)
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        for change in batch {
            let act = plain::change(change, &nic.name);
            let Value::Texts(lists) = &change.to else {
                return Err(plain::wrong_kind(change, &nic.name));
            };
            let files = queues::files(host, nic, self.direction, self.file)?;
            if files.len() != lists.len() {
                let cause = format!("it has {} queues now, not {}", files.len(), lists.len());
                return Err(Fault::new(Kind::Gone, act, cause));
            }
            for (file, list) in files.iter().zip(lists) {
                let mask = Cpus::from_list(list).map_err(|f| f.during(&act))?.mask();
                host.write(file, &mask).map_err(|fault| fault.during(&act))?;
            }
        }
        Ok(())
    }

    fn disruption(&self, _nic: &Nic, name: &Name) -> Disruption {
        name.setting().disruption
    }

    fn disturbs(&self, _nic: &Nic, name: &Name) -> Vec<&'static str> {
        name.setting().disturbs.to_vec()
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        let queue = match self.direction {
            Direction::Rx => "rx",
            Direction::Tx => "tx",
        };
        let mut lines = Vec::new();
        for change in batch {
            let Value::Texts(lists) = &change.to else { continue };
            for (n, list) in lists.iter().enumerate() {
                let Ok(cpus) = Cpus::from_list(list) else { continue };
                let file = format!("/sys/class/net/{}/queues/{queue}-{n}/{}", nic.name, self.file);
                lines.push(plain::echo(&cpus.mask(), &file));
            }
        }
        lines
    }
}

impl Steering {
    fn current(&self, host: &dyn Host, nic: &Nic) -> Result<Current> {
        let act = format!("read {}.cpus of {}", self.family, nic.name);
        let none = match self.direction {
            Direction::Rx => "the kernel is built without it (CONFIG_RPS)",
            // xps_cpus_show answers ENOENT for a device that has one transmit queue.
            Direction::Tx => "a single transmit queue: there is nothing to choose",
        };
        let files = queues::files(host, nic, self.direction, self.file);
        let mut lists = Vec::new();
        for file in files.map_err(|fault| fault.during(&act))? {
            let mask = host.read(&file).map_err(|fault| plain::absent(fault, &act, none))?;
            lists.push(Cpus::from_mask(&mask).map_err(|fault| fault.during(&act))?.list());
        }
        Ok(Current::of(Value::Texts(lists)))
    }

    fn default_list(&self, host: &dyn Host, act: &str) -> Result<String> {
        let file = match self.default {
            Default::Unknown => {
                let cause = "the kernel does not keep what the driver set; name the CPUs";
                return Err(Fault::new(Kind::Unsupported, act, cause));
            }
            Default::MaskIn(file) => file,
        };
        match host.read(Path::new(file)) {
            Ok(mask) => Ok(Cpus::from_mask(&mask).map_err(|fault| fault.during(act))?.list()),
            Err(fault) if fault.kind == Kind::Unsupported => Ok(String::new()),
            Err(fault) => Err(fault.during(act)),
        }
    }
}
