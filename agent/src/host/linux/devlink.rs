//! What devlink announces: parameters, reloads, health.
//!
//! Source: include/uapi/linux/devlink.h, net/devlink/{dev,param,health}.c.

use super::notices::FAMILIES;
use crate::host::tlv::{Attr, Attrs};

/// The multicast group of everything that a device announces of itself.
pub(super) const GROUP: &str = "config";

// DEVLINK_CMD_*
const NEW: u8 = 3;
const DEL: u8 = 4;
const PARAM_NEW: u8 = 40;
const PARAM_DEL: u8 = 41;
const HEALTH_REPORTER_RECOVER: u8 = 54;
// DEVLINK_ATTR_*
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const PARAM: u16 = 80;
const PARAM_NAME: u16 = 81;
const HEALTH_REPORTER: u16 = 114;
const HEALTH_REPORTER_NAME: u16 = 115;
const HEALTH_REPORTER_STATE: u16 = 116;
const HEALTH_REPORTER_ERR_COUNT: u16 = 117;
const RELOAD_FAILED: u16 = 136;
const DEV_STATS: u16 = 156;
const RELOAD_STATS: u16 = 157;
const RELOAD_STATS_ENTRY: u16 = 158;
const RELOAD_STATS_VALUE: u16 = 160;
const REMOTE_RELOAD_STATS: u16 = 161;
const RELOAD_ACTION_INFO: u16 = 162;
const RELOAD_ACTION_STATS: u16 = 163;

/// The setting families that an announcement concerns, and what it says; `None` for those that say
/// nothing of settings (ports, regions, traps, a flash's progress).
pub(super) fn announced(
    command: u8,
    attrs: Attrs<'_>,
) -> Option<(&'static [&'static str], Option<String>)> {
    let text = |kind| attrs.find(kind).map(|attr| attr.text());
    let device = format!("{}/{}", text(BUS_NAME)?, text(DEV_NAME)?);
    match command {
        PARAM_NEW | PARAM_DEL => {
            let name = attrs.find(PARAM)?.nested().find(PARAM_NAME)?.text();
            Some((&["devlink-param"], Some(format!("{device}: parameter {name} was set"))))
        }
        // A reload makes the driver begin anew, and so does a recovery for a part of it.
        NEW | DEL => Some((&FAMILIES, Some(reloads(&device, attrs)))),
        HEALTH_REPORTER_RECOVER => {
            let reporter = attrs.find(HEALTH_REPORTER)?.nested();
            let name = reporter.find(HEALTH_REPORTER_NAME)?.text();
            let number = |kind| reporter.find(kind).and_then(|attr| attr.number());
            let state = match number(HEALTH_REPORTER_STATE) {
                Some(0) => "is healthy",
                Some(_) | None => "is in error",
            };
            let errors = number(HEALTH_REPORTER_ERR_COUNT).unwrap_or(0);
            let words = format!("{device}: health reporter {name} {state}, {errors} errors so far");
            Some((&FAMILIES, Some(words)))
        }
        _ => None,
    }
}

/// How often the device was reloaded so far, by this host and by another of the same device.
fn reloads(device: &str, attrs: Attrs<'_>) -> String {
    let stats = attrs.find(DEV_STATS).map(|stats| stats.nested());
    let count = |kind| {
        let all = stats.and_then(|stats| stats.find(kind)).map(|stats| stats.nested());
        let actions = all.into_iter().flatten().filter(|attr| attr.kind == RELOAD_ACTION_INFO);
        let inner = actions.flat_map(|info| info.nested()).filter(is(RELOAD_ACTION_STATS));
        let entries = inner.flat_map(|stats| stats.nested()).filter(is(RELOAD_STATS_ENTRY));
        entries.filter_map(|entry| entry.nested().find(RELOAD_STATS_VALUE)?.number()).sum::<u64>()
    };
    let failed = attrs.find(RELOAD_FAILED).and_then(|attr| attr.number()).unwrap_or(0) != 0;
    let (own, remote) = (count(RELOAD_STATS), count(REMOTE_RELOAD_STATS));
    let failed = if failed { "; the last reload failed" } else { "" };
    format!("{device}: reloaded {own} times by this host, {remote} by another{failed}")
}

fn is<'a>(kind: u16) -> impl Fn(&Attr<'a>) -> bool {
    move |attr| attr.kind == kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tlv::Writer;

    #[test]
    fn a_parameter_a_reload_and_a_health_error_are_told() {
        let begin = || {
            let mut begun = Writer::new();
            begun.text(BUS_NAME, "pci").text(DEV_NAME, "0000:3b:00.0");
            begun
        };
        let (mut inner, mut message) = (Writer::new(), begin());
        inner.text(PARAM_NAME, "enable_roce");
        message.nest(PARAM, &inner);
        let (families, words) = announced(PARAM_NEW, Attrs(message.as_bytes())).unwrap();
        assert_eq!(families, ["devlink-param"]);
        assert_eq!(words.unwrap(), "pci/0000:3b:00.0: parameter enable_roce was set");

        let (mut entry, mut stats, mut info, mut own, mut all) =
            (Writer::new(), Writer::new(), Writer::new(), Writer::new(), Writer::new());
        entry.u8(159, 0).u32(RELOAD_STATS_VALUE, 3);
        stats.nest(RELOAD_STATS_ENTRY, &entry);
        info.u8(153, 1).nest(RELOAD_ACTION_STATS, &stats);
        own.nest(RELOAD_ACTION_INFO, &info);
        all.nest(RELOAD_STATS, &own);
        let mut message = begin();
        message.nest(DEV_STATS, &all);
        let (families, words) = announced(NEW, Attrs(message.as_bytes())).unwrap();
        assert!(families.contains(&"ring"));
        let words = words.unwrap();
        assert_eq!(words, "pci/0000:3b:00.0: reloaded 3 times by this host, 0 by another");

        let (mut reporter, mut message) = (Writer::new(), begin());
        reporter.text(HEALTH_REPORTER_NAME, "fw").u8(HEALTH_REPORTER_STATE, 1);
        reporter.u64(HEALTH_REPORTER_ERR_COUNT, 2);
        message.nest(HEALTH_REPORTER, &reporter);
        let (_, words) = announced(HEALTH_REPORTER_RECOVER, Attrs(message.as_bytes())).unwrap();
        let expected = "pci/0000:3b:00.0: health reporter fw is in error, 2 errors so far";
        assert_eq!(words.unwrap(), expected);
        let whole = message.into_bytes();
        for length in 0..whole.len() {
            let _ = announced(HEALTH_REPORTER_RECOVER, Attrs(&whole[..length]));
        }
    }
}
