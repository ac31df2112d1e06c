//! The vocabulary as a page: docs/settings.md is this, word for word.

use std::fmt::Write;

use super::{Disruption, Kind, Persistence, SETTINGS, Scope, Setting, TakesEffect};

const HEAD: &str = "# Settings

Every setting that a playbook may name. This page is made from the vocabulary (`playbooks/src/vocabulary`);
a test holds the two together.

- A name ending in `.*` is an open family: the kernel, the driver or the site gives the last part. Where a
  member has a row of its own, that row governs it.
- **scope**: whose state it is. `nic`: this interface. `device`: all ports of the PCI device. `netns`: the
  network namespace. `host`: every NIC of the host.
- **disruption**: what traffic feels at least while it is written; a driver may make it worse, and the plan says so.
- **in force**: from when on the new value governs traffic.
- **disturbs**: what the kernel or driver may change along with it. It is recorded before and put back too.
- Unless a row says *kept by the device*, the value is gone after a reboot.
";

/// All rows as Markdown, a table a family.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut family = "";
    for row in SETTINGS {
        let of = row.name.split('.').next().unwrap_or(row.name);
        if of != family {
            family = of;
            // Writing to a string cannot fail.
            let _ = write!(
                page,
                "\n## {family}\n\n| setting | value | scope | disruption | in force | disturbs | what it does | source |\n\
                 |---|---|---|---|---|---|---|---|\n"
            );
        }
        let _ = writeln!(page, "{}", line(row));
    }
    page
}

fn line(row: &Setting) -> String {
    let kept = match row.persistence {
        Persistence::Volatile => "",
        Persistence::SurvivesReboot => " *Kept by the device.*",
    };
    let disturbed: Vec<String> = row.disturbs.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {}{kept} | {} |",
        row.name,
        value(row),
        scope(row.scope),
        disruption(row.disruption),
        takes_effect(row.takes_effect),
        disturbed.join(", "),
        row.doc,
        row.source,
    )
}

fn value(row: &Setting) -> String {
    match row.kind {
        Kind::Number { unit, max } => format!("{unit}, 0 to {max}; `max`, `min`"),
        Kind::Bool if row.name.starts_with("feature.") => "`true`, `false`, `default`".to_owned(),
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Choice(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Text => "text".to_owned(),
        Kind::Indirection => "`default`, `equal N`, `weights a b c`".to_owned(),
        Kind::Cpus => "CPU list, `local-cpus`, `default`".to_owned(),
    }
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Nic => "nic",
        Scope::Device => "device",
        Scope::Netns => "netns",
        Scope::Host => "host",
    }
}

fn disruption(disruption: Disruption) -> &'static str {
    match disruption {
        Disruption::None => "none",
        Disruption::QueueReset => "queue reset",
        Disruption::LinkFlap => "link flap",
        Disruption::NicReset => "nic reset",
    }
}

fn takes_effect(takes_effect: TakesEffect) -> &'static str {
    match takes_effect {
        TakesEffect::Now => "now",
        TakesEffect::NewSockets => "new sockets",
        TakesEffect::Reload => "reload",
    }
}
