//! What nicmend does to a NIC, as far as some driver on some kernel cannot stand it.

use std::fmt;

use playbooks::{Value, vocabulary::Disruption};

/// What may be read of a NIC that some driver cannot stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Interrupt coalescing (`ethtool -c`).
    Coalesce,
    /// The RSS indirection table and hash key (`ethtool -x`).
    Rss,
    /// Statistics: the driver's (`ethtool -S`), and the interface's, which a dump of links asks for along
    /// with all else (`ndo_get_stats64`).
    Stats,
}

/// One act of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Read(Read),
    /// A setting is written.
    Set(Write),
    /// Anything else that is done to the device or its driver.
    Do(Deed),
}

/// A setting that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `channels.combined`.
    pub setting: String,
    pub direction: Direction,
    /// What traffic feels of it on this driver.
    pub felt: Disruption,
}

impl Write {
    pub fn new(setting: &str, from: &Value, to: &Value, felt: Disruption) -> Write {
        Write { setting: setting.to_owned(), direction: Direction::of(from, to), felt }
    }
}

/// Which way a setting moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Fewer,
    More,
    Off,
    On,
    /// Neither numbers nor switches, or not known.
    Elsewhere,
}

impl Direction {
    pub fn of(from: &Value, to: &Value) -> Direction {
        match (from.as_number().zip(to.as_number()), to) {
            (Some((from, to)), _) if to < from => Direction::Fewer,
            (Some(_), _) => Direction::More,
            (None, Value::Bool(false)) => Direction::Off,
            (None, Value::Bool(true)) => Direction::On,
            (None, _) => Direction::Elsewhere,
        }
    }
}

/// An act that is no setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// The interface is taken down and up again.
    LinkDown,
    /// devlink reload, action `driver_reinit`.
    DriverReinit,
    /// devlink reload, action `fw_activate`: the NIC resets into its stored firmware.
    FwActivate,
    /// devlink reload, action `fw_activate`, limit `no_reset`.
    LivePatch,
    /// Firmware is written into flash, by whatever way.
    Flash,
    /// ETHTOOL_RESET.
    EthtoolReset,
    /// A PCI function level reset (`1` into the device's `reset`).
    FunctionReset,
    /// The driver is unbound, or its module unloaded.
    DriverUnload,
    /// The driver is bound, or its module loaded.
    DriverLoad,
    /// devlink health recover, or a report that makes the driver recover.
    HealthRecover,
    /// devlink health diagnose or dump.
    HealthDump,
    /// `0` into `sriov_numvfs`.
    DisableVfs,
    AttachXdp,
    /// A BPF or ftrace program is attached anywhere in the kernel.
    Trace,
    /// One of the driver's own tracepoints is switched on.
    TraceDriver,
    /// A queue's `rps_flow_cnt` is written.
    FlowCount,
    /// A DIM profile is written (ETHTOOL_A_COALESCE_RX_PROFILE).
    CoalesceProfile,
}

const DEEDS: [(&str, Deed); 17] = [
    ("link-down", Deed::LinkDown),
    ("driver-reinit", Deed::DriverReinit),
    ("fw-activate", Deed::FwActivate),
    ("live-patch", Deed::LivePatch),
    ("flash", Deed::Flash),
    ("ethtool-reset", Deed::EthtoolReset),
    ("function-reset", Deed::FunctionReset),
    ("driver-unload", Deed::DriverUnload),
    ("driver-load", Deed::DriverLoad),
    ("health-recover", Deed::HealthRecover),
    ("health-dump", Deed::HealthDump),
    ("disable-vfs", Deed::DisableVfs),
    ("attach-xdp", Deed::AttachXdp),
    ("trace", Deed::Trace),
    ("trace-driver", Deed::TraceDriver),
    ("flow-count", Deed::FlowCount),
    ("coalesce-profile", Deed::CoalesceProfile),
];

const READS: [(&str, Read); 3] =
    [("read-coalesce", Read::Coalesce), ("read-rss", Read::Rss), ("read-stats", Read::Stats)];

impl Deed {
    /// The word for it in catalog files.
    pub fn name(self) -> &'static str {
        DEEDS.iter().find(|(_, deed)| *deed == self).map_or("", |(word, _)| word)
    }
}

impl Act {
    /// Whether not knowing forbids it: traffic feels it, or the host would hang in it.
    pub fn is_disruptive(&self) -> bool {
        match self {
            Act::Set(write) => write.felt > Disruption::None,
            Act::Read(_) | Act::Do(_) => true,
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Read(read) => {
                f.write_str(READS.iter().find(|(_, r)| r == read).map_or("", |(word, _)| word))
            }
            Act::Do(deed) => f.write_str(deed.name()),
            Act::Set(write) => match write.direction {
                Direction::Fewer => write!(f, "set {} lower", write.setting),
                Direction::More => write!(f, "set {} higher", write.setting),
                Direction::Off => write!(f, "set {} off", write.setting),
                Direction::On => write!(f, "set {} on", write.setting),
                Direction::Elsewhere => write!(f, "set {}", write.setting),
            },
        }
    }
}

/// Acts that an issue forbids, as its file says it: `set ring`, `set channels lower`, `fw-activate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Read(Read),
    Do(Deed),
    Set {
        /// A setting or a whole family.
        setting: String,
        /// `None`: whichever way.
        direction: Option<Direction>,
    },
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, String> {
        if let Some((_, read)) = READS.iter().find(|(word, _)| *word == text) {
            return Ok(Pattern::Read(*read));
        }
        if let Some((_, deed)) = DEEDS.iter().find(|(word, _)| *word == text) {
            return Ok(Pattern::Do(*deed));
        }
        let Some(set) = text.strip_prefix("set ") else {
            let words: Vec<&str> = Pattern::words().collect();
            return Err(format!(
                "`set SETTING [lower|higher|off|on]`, or one of {}",
                words.join(", ")
            ));
        };
        let (setting, direction) = match set.split_once(' ') {
            None => (set, None),
            Some((setting, way)) => (setting, Some(direction(way)?)),
        };
        let is_family = || {
            let prefix = format!("{setting}.");
            playbooks::vocabulary::SETTINGS.iter().any(|row| row.name.starts_with(&prefix))
        };
        if !is_family() && playbooks::Name::try_from(setting).is_err() {
            return Err(format!("`{setting}` is no setting and no family of settings"));
        }
        Ok(Pattern::Set { setting: setting.to_owned(), direction })
    }

    /// The words that are no settings.
    pub(crate) fn words() -> impl Iterator<Item = &'static str> {
        READS.iter().map(|(word, _)| *word).chain(DEEDS.iter().map(|(word, _)| *word))
    }

    pub fn covers(&self, act: &Act) -> bool {
        match (self, act) {
            (Pattern::Read(mine), Act::Read(read)) => mine == read,
            (Pattern::Do(mine), Act::Do(deed)) => mine == deed,
            (Pattern::Set { setting, direction }, Act::Set(write)) => {
                let family = write.setting.split_once('.').map(|(family, _)| family);
                let named = *setting == write.setting || Some(setting.as_str()) == family;
                // Not known whichever way it goes: it may be this one.
                let this_way = direction.is_none_or(|way| {
                    way == write.direction || write.direction == Direction::Elsewhere
                });
                named && this_way
            }
            (Pattern::Read(_) | Pattern::Do(_) | Pattern::Set { .. }, _) => false,
        }
    }
}

fn direction(word: &str) -> Result<Direction, String> {
    match word {
        "lower" => Ok(Direction::Fewer),
        "higher" => Ok(Direction::More),
        "off" => Ok(Direction::Off),
        "on" => Ok(Direction::On),
        other => Err(format!("`{other}` is no direction: lower, higher, off or on")),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Read(read) => Act::Read(*read).fmt(f),
            Pattern::Do(deed) => f.write_str(deed.name()),
            Pattern::Set { setting, direction } => {
                let direction = direction.unwrap_or(Direction::Elsewhere);
                let (setting, felt) = (setting.clone(), Disruption::None);
                Act::Set(Write { setting, direction, felt }).fmt(f)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(setting: &str, from: u64, to: u64) -> Act {
        let (from, to) = (Value::Number(from), Value::Number(to));
        Act::Set(Write::new(setting, &from, &to, Disruption::QueueReset))
    }

    #[test]
    fn patterns_cover_families_settings_and_directions() {
        let covers = |pattern: &str, act: &Act| Pattern::parse(pattern).unwrap().covers(act);
        let fewer = write("channels.combined", 8, 4);
        assert!(covers("set channels", &fewer) && covers("set channels.combined", &fewer));
        assert!(covers("set channels lower", &fewer) && !covers("set channels higher", &fewer));
        assert!(!covers("set ring", &fewer) && !covers("set channels.rx", &fewer));
        let off = Act::Set(Write {
            setting: "feature.rx-ntuple-filter".to_owned(),
            direction: Direction::Off,
            felt: Disruption::None,
        });
        assert!(covers("set feature.rx-ntuple-filter off", &off));
        assert!(covers("fw-activate", &Act::Do(Deed::FwActivate)));
        assert!(!covers("fw-activate", &Act::Do(Deed::LivePatch)));
        assert!(covers("read-rss", &Act::Read(Read::Rss)));
    }

    #[test]
    fn every_word_is_read_back_as_it_is_written() {
        for word in Pattern::words().chain(["set ring", "set channels lower", "set pause.rx off"]) {
            assert_eq!(Pattern::parse(word).unwrap().to_string(), word);
        }
        for bad in ["", "set", "set no-such", "set channels sideways", "reset", "set ring lower x"]
        {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
