//! `private-flag.*`: switches that only one driver has (ethtool --show-priv-flags, --set-priv-flags).
//!
//! Source: net/ethtool/privflags.c.

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{
    bitset, disruption,
    ethnl::{self, Bitsets},
    feature, resolve, words,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Host, Nic, tlv::Attrs},
    setting::{Change, Current, Family, Readings},
};

const PRIVFLAGS_GET: u8 = 13;
const PRIVFLAGS_SET: u8 = 14;
/// `ETHTOOL_A_PRIVFLAGS_FLAGS`.
const FLAGS: u16 = 2;

/// The family of driver-private flags.
#[derive(Debug)]
pub(super) struct PrivateFlag;

impl Family for PrivateFlag {
    fn name(&self) -> &'static str {
        "private-flag"
    }

    /// A NIC without any has nothing to name, so nothing is listed as unsupported either.
    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        // Each driver has its own names, so they come with the bits.
        let replies = ethnl::get_each(host, PRIVFLAGS_GET, Bitsets::Verbose, nics);
        let readings = |reply: Result<Vec<u8>>| {
            let mut readings = Readings::default();
            for (flag, on) in reply.map(|reply| flags(&reply)).unwrap_or_default() {
                if let Ok(name) = Name::try_from(format!("private-flag.{flag}")) {
                    readings.supported.insert(name, Current::of(Value::Bool(on)));
                }
            }
            readings
        };
        replies.into_iter().map(readings).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        let reply = ethnl::get(host, PRIVFLAGS_GET, Bitsets::Verbose, nic);
        let flags = reply.map(|reply| flags(&reply));
        let one = |name: &Name| {
            let act = || format!("read {name} on {}", nic.name);
            let flags = flags.as_ref().map_err(|fault| fault.clone().during(act()))?;
            let flag = flags.iter().find(|(flag, _)| flag == name.rest());
            flag.map(|(_, on)| Current::of(Value::Bool(*on)))
                .ok_or_else(|| Fault::new(Kind::Unsupported, act(), "the driver has no such flag"))
        };
        names.iter().map(one).collect()
    }

    fn resolve(
        &self,
        _host: &dyn Host,
        nic: &Nic,
        name: &Name,
        wanted: &Wanted,
        now: &Current,
    ) -> Result<Value> {
        resolve::switch(nic, name, wanted, now)
    }

    fn batches(&self, _nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        if changes.is_empty() { Vec::new() } else { vec![changes] }
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        feature::set_bits(host, PRIVFLAGS_SET, FLAGS, nic, batch)
    }

    fn disruption(&self, nic: &Nic, name: &Name) -> Disruption {
        disruption::of(nic, name)
    }

    fn disturbs(&self, nic: &Nic, name: &Name) -> Vec<&'static str> {
        disruption::disturbed(nic, name)
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        words::ethtool("--set-priv-flags", nic, batch, |c| Some(c.name.rest().to_owned()))
    }
}

fn flags(reply: &[u8]) -> Vec<(String, bool)> {
    Attrs(reply).find(FLAGS).map(|flags| bitset::verbose(flags.nested())).unwrap_or_default()
}
