//! Entries for regulators and for a SIEM.

use serde_json::{Value, json};

use super::{reading::Read, words};
use crate::{host::clock::Within, log::Fact};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Each entry's own bytes, a line each: their hashes are the log's.
    Jsonl,
    /// OCSF events (<https://schema.ocsf.io>, 1.3.0), a line each, with the whole entry under `unmapped`.
    Ocsf,
    /// A header and a line each, RFC 4180.
    Csv,
}

pub const CSV_HEAD: &str = "entry,utc,boot_id,monotonic_ns,host,uid,principal,clock_synchronised,\
    clock_by,clock_error_ns,clock_within_100us,epoch,run,nic,nic_identity,kind,summary,json";

/// One line, without its end.
pub fn line(read: &Read, format: Format) -> String {
    match format {
        Format::Jsonl => String::from_utf8_lossy(&read.bytes).into_owned(),
        Format::Ocsf => ocsf(read).to_string(),
        Format::Csv => csv(read),
    }
}

/// RFC 3339, UTC, nanoseconds.
pub fn utc(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .map(|time| format!("{time:.9}"))
        .unwrap_or_default()
}

/// `yes`, `no`, `unknown`; `not recorded` for entries of version 1.
pub fn within(read: &Read) -> &'static str {
    match read.entry.clock.as_ref().map(|clock| clock.within_100us) {
        Some(Within::Yes) => "yes",
        Some(Within::No) => "no",
        Some(Within::Unknown) => "unknown",
        None => "not recorded",
    }
}

fn csv(read: &Read) -> String {
    let entry = &read.entry;
    let text = |value: Option<String>| value.unwrap_or_default();
    let clock = entry.clock.as_ref();
    let (nic, identity) = read.nic.clone().unwrap_or_default();
    let columns = [
        entry.seq.to_string(),
        utc(entry.at.utc_ns),
        entry.at.boot_id.clone(),
        entry.at.mono_ns.to_string(),
        text(entry.host.clone()),
        text(entry.who.as_ref().map(|who| who.uid.to_string())),
        text(entry.who.as_ref().and_then(|who| who.principal.clone())),
        text(clock.map(|clock| clock.synchronised.to_string())),
        text(clock.and_then(|clock| clock.by.clone())),
        text(clock.and_then(|clock| clock.error_ns).map(|ns| ns.to_string())),
        within(read).to_owned(),
        entry.epoch.to_string(),
        text(entry.run.clone()),
        nic,
        identity,
        words::kind(&entry.fact),
        words::of(&entry.fact),
        String::from_utf8_lossy(&read.bytes).into_owned(),
    ];
    columns.map(|column| quoted(&column)).join(",")
}

/// A leading `=`, `+`, `-` or `@` would be a formula to a spreadsheet, and a control character an order to
/// a terminal; the entry's own bytes, in the last column, have them escaped.
fn quoted(column: &str) -> String {
    let column: String = column.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let formula = column.starts_with(['=', '+', '-', '@']);
    let column = if formula { format!("'{column}") } else { column };
    match column.contains(['"', ',']) {
        true => format!("\"{}\"", column.replace('"', "\"\"")),
        false => column,
    }
}

/// An event class of OCSF: category, class, activity.
struct Class {
    category: u32,
    class: u32,
    activity: u32,
    name: &'static str,
}

impl Class {
    /// The schema's caption; only activity 99, Other, has the source's own.
    fn activity_name<'a>(&self, own: &'a str) -> &'a str {
        match (self.class, self.activity) {
            (6002, 3) => "Start",
            (6002, 4) => "Stop",
            (5019, 1) => "Log",
            (_, _) => own,
        }
    }
}

/// Application Lifecycle (6002), API Activity (6003), Device Config State Change (5019).
fn class(fact: &Fact) -> Class {
    let of = |category, class, activity, name| Class { category, class, activity, name };
    match fact {
        Fact::AgentStarted { .. } => of(6, 6002, 3, "Application Lifecycle"),
        Fact::AgentStopped { .. } => of(6, 6002, 4, "Application Lifecycle"),
        Fact::Mended { .. }
        | Fact::Adopted { .. }
        | Fact::KeyCreated(_)
        | Fact::KeyRotated(_)
        | Fact::Versions(_)
        | Fact::DeedRefused { .. } => of(6, 6002, 99, "Application Lifecycle"),
        Fact::Requested(_)
        | Fact::Decision(_)
        | Fact::ApprovalsUsed { .. }
        | Fact::Begun { .. }
        | Fact::HazardOverridden { .. }
        | Fact::Users { .. }
        | Fact::Standby { .. }
        | Fact::Refused { .. }
        | Fact::Frozen { .. }
        | Fact::Thawed { .. } => of(6, 6003, 99, "API Activity"),
        Fact::DriftSeen { .. }
        | Fact::Uncountersigned { .. }
        | Fact::Baseline { .. }
        | Fact::Intent { .. }
        | Fact::Wrote { .. }
        | Fact::Disturbed { .. }
        | Fact::Firmware { .. }
        | Fact::WriteFailed { .. }
        | Fact::Judged { .. }
        | Fact::ForeignChange { .. }
        | Fact::PutBack { .. }
        | Fact::Reverting { .. }
        | Fact::Restored { .. }
        | Fact::Committed { .. }
        | Fact::Reverted { .. }
        | Fact::Stuck { .. }
        | Fact::ProbationBegan { .. }
        | Fact::ProbationWatched { .. }
        | Fact::ProbationEnded { .. }
        | Fact::Aftermath { .. }
        | Fact::CampaignBegan { .. }
        | Fact::Burdened { .. }
        | Fact::Unburdened { .. }
        | Fact::CampaignJudged { .. }
        | Fact::CampaignEnded { .. } => of(5, 5019, 1, "Device Config State Change"),
    }
}

/// Severity and status: 1 informational, 3 medium, 4 high; 1 success, 2 failure.
fn weight(fact: &Fact) -> (u32, u32) {
    let denied = matches!(fact, Fact::Decision(decision) if !decision.allowed);
    let failed = matches!(fact, Fact::Refused { .. } | Fact::WriteFailed { .. });
    let odd = matches!(
        fact,
        Fact::ForeignChange { .. }
            | Fact::DriftSeen { .. }
            | Fact::Mended { .. }
            | Fact::Adopted { .. }
            | Fact::DeedRefused { .. }
            | Fact::Uncountersigned { .. }
    );
    if matches!(fact, Fact::Stuck { .. }) {
        return (4, 2);
    }
    if denied || failed { (3, 2) } else { (if odd { 3 } else { 1 }, 1) }
}

fn ocsf(read: &Read) -> Value {
    let entry = &read.entry;
    let class = class(&entry.fact);
    let (severity, status) = weight(&entry.fact);
    let kind = words::kind(&entry.fact);
    let whole: Value = serde_json::from_slice(&read.bytes).unwrap_or_default();
    let uid = entry.who.as_ref().map(|who| who.uid.to_string());
    let name = entry.who.as_ref().and_then(|who| who.principal.clone());
    let mut event = json!({
        "category_uid": class.category,
        "class_uid": class.class,
        "class_name": class.name,
        "activity_id": class.activity,
        "activity_name": class.activity_name(&kind),
        "type_uid": class.class * 100 + class.activity,
        "severity_id": severity,
        "status_id": status,
        "time": entry.at.utc_ns / 1_000_000,
        "message": words::of(&entry.fact),
        "metadata": {
            "version": "1.3.0",
            "uid": entry.seq.to_string(),
            "sequence": entry.seq,
            "original_time": utc(entry.at.utc_ns),
            "product": {"name": "nicmend", "vendor_name": "nicmend"},
        },
        "actor": {"user": {"uid": uid, "name": name}, "app_name": "nicmend"},
        "device": {"hostname": entry.host, "type_id": 1},
        "unmapped": {"entry": whole, "clock_within_100us": within(read)},
    });
    if class.class == 6002 {
        event["app"] = json!({"name": "nicmend", "vendor_name": "nicmend"});
    }
    if class.class == 6003 {
        event["api"] = json!({"operation": kind, "request": {"uid": entry.run}});
        event["src_endpoint"] = json!({"hostname": entry.host});
    }
    event
}

#[cfg(test)]
mod tests {
    use super::{quoted, utc};

    #[test]
    fn columns_are_quoted_and_never_formulas() {
        for (column, wanted) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("-1", "'-1"),
            ("\u{1b}[2Jgone\n", " [2Jgone "),
        ] {
            assert_eq!(quoted(column), wanted);
        }
    }

    #[test]
    fn times_have_all_nine_digits() {
        assert_eq!(utc(1_767_576_600_000_000_001), "2026-01-05T01:30:00.000000001Z");
        assert_eq!(utc(0), "1970-01-01T00:00:00.000000000Z");
    }
}
