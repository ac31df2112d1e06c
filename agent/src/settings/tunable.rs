//! Families whose settings are plain attributes of one ethtool message: tables, and one code path.
//!
//! The kernel's GET reply and SET request use the same attribute numbers; a limit, where there is
//! one, is an attribute of its own in the reply. A SET carries only what changes: what it leaves out
//! stays as it is (Documentation/networking/ethtool-netlink.rst).

use playbooks::{Name, Value, Wanted, vocabulary::Disruption};

use super::{
    disruption,
    ethnl::{self, Bitsets},
    resolve, words,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Host, Nic,
        tlv::{Attrs, Writer},
    },
    setting::{Change, Current, Family, Readings},
};

/// A family as data.
#[derive(Debug)]
pub(super) struct Tunable {
    /// `ring`
    pub(super) name: &'static str,
    /// `ETHTOOL_MSG_*_GET` and `_SET` of the user's side.
    pub(super) get: u8,
    pub(super) set: u8,
    /// ethtool(8)'s option: `-G`.
    pub(super) option: &'static str,
    pub(super) rows: &'static [Row],
    /// Settings that these drivers need in a request of their own, before all others.
    pub(super) first: &'static [(&'static str, &'static [&'static str])],
}

/// One setting of a family.
#[derive(Debug)]
pub(super) struct Row {
    /// The setting's whole name: `ring.rx`.
    pub(super) setting: &'static str,
    /// What ethtool(8) calls it: `rx`.
    pub(super) word: &'static str,
    pub(super) attribute: u16,
    /// The attribute of the reply that holds its upper limit.
    pub(super) max: Option<u16>,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A u32 attribute.
    Number,
    /// A u8 attribute, 0 or 1.
    Switch,
}

impl Row {
    /// A number that the reply gives an upper limit for.
    pub(super) const fn limited(
        setting: &'static str,
        word: &'static str,
        attribute: u16,
        max: u16,
    ) -> Row {
        Row { setting, word, attribute, max: Some(max), shape: Shape::Number }
    }

    /// A number without a limit of the driver's.
    pub(super) const fn number(setting: &'static str, word: &'static str, attribute: u16) -> Row {
        Row { setting, word, attribute, max: None, shape: Shape::Number }
    }

    pub(super) const fn switch(setting: &'static str, word: &'static str, attribute: u16) -> Row {
        Row { setting, word, attribute, max: None, shape: Shape::Switch }
    }

    fn current(&self, reply: &[u8]) -> Option<Current> {
        let number = |attribute| Attrs(reply).find(attribute)?.number();
        let value = number(self.attribute)?;
        let value = match self.shape {
            Shape::Number => Value::Number(value),
            Shape::Switch => Value::Bool(value != 0),
        };
        Some(Current { max: self.max.and_then(number), ..Current::of(value) })
    }

    fn put(&self, attributes: &mut Writer, value: &Value) -> Result<(), &'static str> {
        match (self.shape, value) {
            (Shape::Number, Value::Number(number)) => {
                let number = u32::try_from(*number).map_err(|_| "the kernel takes 32 bits")?;
                attributes.u32(self.attribute, number);
            }
            (Shape::Switch, Value::Bool(on)) => {
                attributes.u8(self.attribute, u8::from(*on));
            }
            (Shape::Number | Shape::Switch, _) => return Err("not a value of its type"),
        }
        Ok(())
    }
}

impl Tunable {
    fn row(&self, name: &Name) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.setting == name.as_str())
    }

    fn known(&self, act: String, name: &Name) -> Result<&'static Row> {
        self.row(name).ok_or_else(|| {
            let cause = format!("{} has no such setting", self.name);
            Fault::new(Kind::Unsupported, act, cause)
        })
    }

    fn readings(&self, reply: Result<Vec<u8>>) -> Readings {
        let mut readings = Readings::default();
        for row in self.rows {
            // Every row's name is in the vocabulary: a test holds the two tables together.
            let Ok(name) = Name::try_from(row.setting) else { continue };
            match &reply {
                Ok(reply) => match row.current(reply) {
                    Some(current) => drop(readings.supported.insert(name, current)),
                    None => drop(readings.unsupported.insert(name, NOT_REPORTED.to_owned())),
                },
                Err(fault) => drop(readings.unsupported.insert(name, self.why_none(fault))),
            }
        }
        readings
    }

    fn why_none(&self, fault: &Fault) -> String {
        if fault.kind == Kind::Unsupported {
            return format!("the driver has no {} settings", self.name);
        }
        fault.to_string()
    }
}

const NOT_REPORTED: &str = "the driver does not report it";

impl Family for Tunable {
    fn name(&self) -> &'static str {
        self.name
    }

    fn survey(&self, host: &dyn Host, nics: &[Nic]) -> Vec<Readings> {
        let replies = ethnl::get_each(host, self.get, Bitsets::Compact, nics);
        replies.into_iter().map(|reply| self.readings(reply)).collect()
    }

    fn read(&self, host: &dyn Host, nic: &Nic, names: &[Name]) -> Vec<Result<Current>> {
        let reply = ethnl::get(host, self.get, Bitsets::Compact, nic);
        let one = |name: &Name| {
            let act = || format!("read {name} on {}", nic.name);
            let row = self.known(act(), name)?;
            let reply = reply.as_ref().map_err(|fault| fault.clone().during(act()))?;
            row.current(reply).ok_or_else(|| Fault::new(Kind::Unsupported, act(), NOT_REPORTED))
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
        let act = format!("set {name} on {} to {wanted}", nic.name);
        match self.known(act, name)?.shape {
            Shape::Number => resolve::number(nic, name, wanted, now),
            Shape::Switch => resolve::switch(nic, name, wanted, now),
        }
    }

    fn batches(&self, nic: &Nic, changes: Vec<Change>) -> Vec<Vec<Change>> {
        let first = self.first.iter().find(|(driver, _)| *driver == nic.driver);
        let alone = |change: &Change| {
            first.is_some_and(|(_, settings)| settings.contains(&change.name.as_str()))
        };
        // Moderation goes off before the interval is set, and on again after it.
        let goes_on = |change: &Change| {
            change.name.as_str().starts_with("coalesce.adaptive-") && change.to == Value::Bool(true)
        };
        let (alone, rest): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(alone);
        let (last, ahead): (Vec<Change>, Vec<Change>) = alone.into_iter().partition(goes_on);
        [ahead, rest, last].into_iter().filter(|batch| !batch.is_empty()).collect()
    }

    fn write(&self, host: &dyn Host, nic: &Nic, batch: &[Change]) -> Result<()> {
        let act = words::act(nic, batch);
        let mut attributes = Writer::new();
        for change in batch {
            let row = self.known(act.clone(), &change.name)?;
            row.put(&mut attributes, &change.to)
                .map_err(|cause| Fault::new(Kind::Invalid, &act, cause))?;
        }
        ethnl::set(host, self.set, nic, &attributes).map_err(|fault| fault.during(act))
    }

    fn disruption(&self, nic: &Nic, name: &Name) -> Disruption {
        disruption::of(nic, name)
    }

    fn disturbs(&self, nic: &Nic, name: &Name) -> Vec<&'static str> {
        disruption::disturbed(nic, name)
    }

    fn by_hand(&self, nic: &Nic, batch: &[Change]) -> Vec<String> {
        words::ethtool(self.option, nic, batch, |change| {
            self.row(&change.name).map(|row| row.word.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::NicId,
        settings::{channels::CHANNELS, coalesce::COALESCE, eee::EEE, pause::PAUSE, ring::RING},
    };

    const ALL: [&Tunable; 5] = [&RING, &COALESCE, &CHANNELS, &PAUSE, &EEE];

    /// The user's messages in the order of include/uapi/linux/ethtool_netlink_generated.h, from 0.
    const MESSAGES: &str = "NONE STRSET_GET LINKINFO_GET LINKINFO_SET LINKMODES_GET LINKMODES_SET \
        LINKSTATE_GET DEBUG_GET DEBUG_SET WOL_GET WOL_SET FEATURES_GET FEATURES_SET \
        PRIVFLAGS_GET PRIVFLAGS_SET RINGS_GET RINGS_SET CHANNELS_GET CHANNELS_SET COALESCE_GET \
        COALESCE_SET PAUSE_GET PAUSE_SET EEE_GET EEE_SET";

    /// The attributes of each message likewise, from 0.
    const ATTRIBUTES: [(&str, &str); 5] = [
        (
            "RINGS",
            "UNSPEC HEADER RX_MAX RX_MINI_MAX RX_JUMBO_MAX TX_MAX RX RX_MINI RX_JUMBO TX \
             RX_BUF_LEN TCP_DATA_SPLIT CQE_SIZE TX_PUSH RX_PUSH TX_PUSH_BUF_LEN \
             TX_PUSH_BUF_LEN_MAX HDS_THRESH HDS_THRESH_MAX",
        ),
        (
            "COALESCE",
            "UNSPEC HEADER RX_USECS RX_MAX_FRAMES RX_USECS_IRQ RX_MAX_FRAMES_IRQ TX_USECS \
             TX_MAX_FRAMES TX_USECS_IRQ TX_MAX_FRAMES_IRQ STATS_BLOCK_USECS USE_ADAPTIVE_RX \
             USE_ADAPTIVE_TX PKT_RATE_LOW RX_USECS_LOW RX_MAX_FRAMES_LOW TX_USECS_LOW \
             TX_MAX_FRAMES_LOW PKT_RATE_HIGH RX_USECS_HIGH RX_MAX_FRAMES_HIGH TX_USECS_HIGH \
             TX_MAX_FRAMES_HIGH RATE_SAMPLE_INTERVAL USE_CQE_MODE_TX USE_CQE_MODE_RX \
             TX_AGGR_MAX_BYTES TX_AGGR_MAX_FRAMES TX_AGGR_TIME_USECS RX_PROFILE TX_PROFILE \
             RX_CQE_FRAMES RX_CQE_NSECS",
        ),
        (
            "CHANNELS",
            "UNSPEC HEADER RX_MAX TX_MAX OTHER_MAX COMBINED_MAX RX_COUNT TX_COUNT OTHER_COUNT \
             COMBINED_COUNT",
        ),
        ("PAUSE", "UNSPEC HEADER AUTONEG RX TX STATS STATS_SRC"),
        ("EEE", "UNSPEC HEADER MODES_OURS MODES_PEER ACTIVE ENABLED TX_LPI_ENABLED TX_LPI_TIMER"),
    ];

    fn nic(driver: &str) -> Nic {
        Nic {
            id: NicId::Virtual { netns: 1, name: "eth1".into(), mac: String::new() },
            name: "eth1".into(),
            ifindex: 2,
            driver: driver.into(),
            kernel_base: None,
            pci: None,
            numa: None,
        }
    }

    fn change(name: &str, from: Value, to: Value) -> Change {
        Change { name: Name::try_from(name).unwrap(), from, to }
    }

    #[test]
    fn every_row_has_the_kernels_numbers() {
        for (family, (message, attributes)) in ALL.iter().zip(ATTRIBUTES) {
            let messages: Vec<&str> = MESSAGES.split_whitespace().collect();
            assert_eq!(messages[usize::from(family.get)], format!("{message}_GET"));
            assert_eq!(messages[usize::from(family.set)], format!("{message}_SET"));
            let attributes: Vec<&str> = attributes.split_whitespace().collect();
            for row in family.rows {
                // The vocabulary names the constant; this table only has its number.
                let source = Name::try_from(row.setting).unwrap().setting().source;
                let constant = attributes[usize::from(row.attribute)];
                let whole = format!("ETHTOOL_A_{message}_{constant}");
                assert_eq!(source.split_whitespace().last(), Some(whole.as_str()), "{source}");
                if let Some(max) = row.max {
                    let limit = format!("{}_MAX", constant.trim_end_matches("_COUNT"));
                    assert_eq!(attributes[usize::from(max)], limit, "{}", row.setting);
                }
            }
        }
    }

    #[test]
    fn every_row_and_the_vocabulary_agree() {
        use playbooks::vocabulary::{Kind as Type, SETTINGS};
        for family in ALL {
            let known = SETTINGS.iter().filter(|s| s.name.split('.').next() == Some(family.name));
            for setting in known.clone() {
                let row = family.rows.iter().find(|row| row.setting == setting.name);
                let shape = row.map(|row| row.shape);
                match setting.kind {
                    Type::Number { .. } => assert_eq!(shape, Some(Shape::Number), "{setting:?}"),
                    Type::Bool => assert_eq!(shape, Some(Shape::Switch), "{setting:?}"),
                    Type::Choice(_) | Type::Text | Type::Indirection | Type::Cpus => {
                        panic!("{setting:?} is no plain attribute")
                    }
                }
            }
            assert_eq!(known.count(), family.rows.len(), "{}", family.name);
        }
    }

    #[test]
    fn adaptive_goes_ahead_on_mlx5_and_bnxt_only() {
        let changes = || {
            vec![
                change("coalesce.rx-usecs", Value::Number(50), Value::Number(3)),
                change("coalesce.adaptive-rx", Value::Bool(true), Value::Bool(false)),
            ]
        };
        for driver in ["mlx5_core", "bnxt_en"] {
            let batches = COALESCE.batches(&nic(driver), changes());
            let names: Vec<&str> =
                batches.iter().flatten().map(|change| change.name.as_str()).collect();
            assert_eq!(batches.len(), 2, "{driver}");
            assert_eq!(names, ["coalesce.adaptive-rx", "coalesce.rx-usecs"]);
        }
        assert_eq!(COALESCE.batches(&nic("igb"), changes()).len(), 1);
        assert!(COALESCE.batches(&nic("igb"), Vec::new()).is_empty());
    }

    #[test]
    fn lines_by_hand_are_ethtools() {
        let number = |name, to| change(name, Value::Number(1), Value::Number(to));
        let switch = |name, to: bool| change(name, Value::Bool(!to), Value::Bool(to));
        for (family, batch, line) in [
            (&RING, vec![number("ring.rx", 4096)], "ethtool -G eth1 rx 4096"),
            (&RING, vec![switch("ring.tx-push", true)], "ethtool -G eth1 tx-push on"),
            (
                &COALESCE,
                vec![switch("coalesce.adaptive-rx", false), number("coalesce.rx-usecs", 3)],
                "ethtool -C eth1 adaptive-rx off rx-usecs 3",
            ),
            (
                &COALESCE,
                vec![switch("coalesce.cqe-mode-rx", true)],
                "ethtool -C eth1 cqe-mode-rx on",
            ),
            (&CHANNELS, vec![number("channels.combined", 2)], "ethtool -L eth1 combined 2"),
            (&PAUSE, vec![switch("pause.autoneg", false)], "ethtool -A eth1 autoneg off"),
            (
                &EEE,
                vec![switch("eee.enabled", false), number("eee.tx-lpi-timer", 16)],
                "ethtool --set-eee eth1 eee off tx-timer 16",
            ),
        ] {
            assert_eq!(family.by_hand(&nic("igb"), &batch), [line]);
        }
    }

    #[test]
    fn limits_bind_before_the_kernel_is_asked() {
        let host = crate::host::linux::Linux::new().unwrap();
        let name = Name::try_from("ring.rx").unwrap();
        let now = Current { max: Some(4096), ..Current::of(Value::Number(512)) };
        let resolve = |wanted| RING.resolve(&host, &nic("igb"), &name, &wanted, &now);
        assert_eq!(resolve(Wanted::Max), Ok(Value::Number(4096)));
        let fault = resolve(Wanted::Exactly(Value::Number(8192))).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "set ring.rx on eth1 to 8192: above the driver's limit of 4096"
        );
        for wanted in [Wanted::Min, Wanted::Default, Wanted::Exactly(Value::Bool(true))] {
            assert_eq!(resolve(wanted).unwrap_err().kind, Kind::Invalid);
        }
    }
}
