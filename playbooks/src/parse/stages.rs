//! The stages: settings and firmware actions.

use super::{
    entries::Fields,
    findings::{Findings, shown},
    tree::Node,
    wanted,
};
use crate::{
    Name, Wanted,
    playbook::{Activate, Firmware, Stage},
    vocabulary,
};

const STAGES_MAX: usize = 16;
const SETTINGS_MAX: usize = 256;

/// All stages, each with a name and a content of its own.
pub(super) fn read(node: &Node, findings: &mut Findings) -> Option<Vec<Stage>> {
    let items = findings.list(node, "stages", STAGES_MAX)?;
    let (mut stages, mut names): (Vec<Stage>, Vec<&str>) = (Vec::new(), Vec::new());
    for item in items {
        let keys = ["name", "settings", "firmware"];
        let Some(fields) = findings.fields(item, "a stage", &keys) else { continue };
        let at = fields.mark_of("name");
        let name =
            fields.need("name", findings).and_then(|node| findings.name(node, "a stage's name"));
        if name.is_some_and(|name| names.contains(&name)) {
            findings.wrong(at, format!("two stages are named `{}`", name.unwrap_or_default()));
        }
        names.extend(name);
        let Some(stage) = stage(name.unwrap_or_default(), &fields, findings) else { continue };
        if let Some(other) = stages.iter().find(|other| says_the_same(other, &stage)) {
            let message = format!("stage `{}` repeats stage `{}`", stage.name, other.name);
            findings.wrong(at, message);
        }
        stages.push(stage);
    }
    Some(stages)
}

fn says_the_same(a: &Stage, b: &Stage) -> bool {
    let sorted = |stage: &Stage| {
        let mut settings = stage.settings.clone();
        settings.sort_by(|(a, _), (b, _)| a.cmp(b));
        settings
    };
    a.firmware == b.firmware && sorted(a) == sorted(b)
}

fn stage(name: &str, fields: &Fields, findings: &mut Findings) -> Option<Stage> {
    let (settings, firmware) = (fields.get("settings"), fields.get("firmware"));
    if settings.is_none() && firmware.is_none() {
        let help = "give it `settings` or `firmware`";
        findings.mend(fields.mark_of("name"), "the stage changes nothing", help);
        return None;
    }
    // Both are read whatever the other says, so that all errors are told.
    let settings = settings.map(|node| read_settings(node, findings));
    let firmware = firmware.map(|node| read_firmware(node, findings));
    Some(Stage {
        name: name.to_owned(),
        settings: settings.unwrap_or_else(|| Some(Vec::new()))?,
        firmware: match firmware {
            Some(read) => Some(read?),
            None => None,
        },
    })
}

fn read_settings(node: &Node, findings: &mut Findings) -> Option<Vec<(Name, Wanted)>> {
    let entries = findings.entries(node, "settings")?;
    if entries.is_empty() {
        findings.wrong(node.mark, "settings is empty: the stage changes nothing");
        return None;
    }
    if entries.len() > SETTINGS_MAX {
        findings.wrong(node.mark, format!("settings has more than {SETTINGS_MAX} entries"));
        return None;
    }
    let mut settings: Vec<(Name, Wanted)> = Vec::new();
    let mut whole = true;
    for entry in &entries {
        let Ok(name) = Name::try_from(entry.key) else {
            let message = format!("unknown setting `{}`", shown(entry.key));
            match vocabulary::nearest(entry.key) {
                Some(known) => {
                    findings.mend(entry.mark, message, format!("did you mean `{known}`?"));
                }
                None => findings.mend(entry.mark, message, "docs/settings.md lists all settings"),
            }
            whole = false;
            continue;
        };
        if let Some((other, _)) =
            settings.iter().find(|(other, _)| wanted::same_thing(&name, other))
        {
            let message = format!("{name} and {other} are one kernel variable");
            findings.wrong(entry.mark, message);
        }
        match wanted::wanted(&name, entry.value, findings) {
            Some(wanted) => settings.push((name, wanted)),
            None => whole = false,
        }
    }
    whole.then_some(settings)
}

fn read_firmware(node: &Node, findings: &mut Findings) -> Option<Firmware> {
    const ACTIVATE: &[(&str, Activate)] =
        &[("nic-reset", Activate::NicReset), ("live-patch", Activate::LivePatch)];
    let fields = findings.fields(node, "firmware", &["version", "activate"])?;
    let version = fields.need("version", findings).and_then(|node| {
        let text = findings.line(node, "a firmware version", 64)?;
        // A version may end up in the name of an image: nothing in it may climb out of a folder.
        if text.contains("..") || text.contains('\\') || text.starts_with('/') {
            findings.wrong(node.mark, format!("`{}` is not a firmware version", shown(text)));
            return None;
        }
        Some(text.trim().to_owned())
    });
    let activate = fields
        .need("activate", findings)
        .and_then(|node| findings.choice(node, "way to activate firmware", ACTIVATE));
    Some(Firmware { version: version?, activate: activate? })
}
