//! `nicmend inventory`, for people: a line a NIC, or one NIC with everything.

use std::{collections::BTreeMap, fmt::Write};

use playbooks::{Name, Value};

use super::{Common, Done, out, place};
use crate::{
    fault::Kind,
    inventory::{self, HostFacts, Inventory, NicFacts},
    runs::{Declined, Exit},
    setting::Current,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this interface, with every fact and setting.
    #[arg(long, value_name = "IF")]
    pub nic: Option<String>,
}

pub fn run(common: &Common, args: &Args) -> Done {
    let host = place::machine()?;
    let taken = inventory::take(&host, args.nic.as_deref()).map_err(|fault| {
        let exit = if fault.kind == Kind::Gone { Exit::Wrong } else { Exit::Failed };
        Declined::new(exit, "nic", fault.to_string())
    })?;
    if common.json {
        out::json(&taken);
    } else {
        let view = if args.nic.is_some() { View::Details } else { View::List };
        out::line(render(&taken, view).trim_end());
    }
    Ok(Exit::Done)
}

/// How much to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// One line a NIC.
    List,
    /// Every fact and setting of each NIC; what is unsupported folded at the end.
    Details,
}

/// Columns of a terminal that nobody widened and still want aligned.
const WIDTH: usize = 100;

/// The inventory as text, at most [`WIDTH`] columns wide where words allow.
pub fn render(inventory: &Inventory, view: View) -> String {
    let mut text = head(&inventory.host);
    match view {
        View::List => list(&mut text, inventory),
        View::Details => inventory.nics.iter().for_each(|nic| details(&mut text, nic)),
    }
    for note in &inventory.notes {
        line(&mut text, &format!("note: {note}"));
    }
    text
}

fn line(text: &mut String, words: &str) {
    text.push_str(words.trim_end());
    text.push('\n');
}

fn head(host: &HostFacts) -> String {
    let mut text = String::new();
    let base = if host.kernel == host.kernel_base {
        String::new()
    } else {
        format!(" (upstream {})", host.kernel_base)
    };
    line(&mut text, &format!("{}  {}  Linux {}{base}", host.name, host.system, host.kernel));
    let mut cpus = format!("CPUs {}  NUMA nodes {}", host.cpus, host.numa_nodes);
    for (name, list) in [("isolated", &host.isolated_cpus), ("nohz_full", &host.nohz_full_cpus)] {
        if !list.is_empty() {
            let _ = write!(cpus, "  {name} {list}");
        }
    }
    line(&mut text, &cpus);
    text
}

fn list(text: &mut String, inventory: &Inventory) {
    if inventory.nics.is_empty() {
        line(text, "no NIC in this network namespace");
        return;
    }
    let mut rows =
        vec![["NIC", "MODEL", "DRIVER", "FIRMWARE", "LINK", "PLACE", "USE"].map(str::to_owned)];
    rows.extend(inventory.nics.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0).min(24)).collect();
    for row in &rows {
        let mut words = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(words, "{:width$}  ", fit(cell, *width));
        }
        words.push_str(&row[6]);
        line(text, &words);
    }
}

fn row(nic: &NicFacts) -> [String; 7] {
    let firmware = nic.firmware.running.clone().unwrap_or_else(|| "-".to_owned());
    let place = match (&nic.pci, nic.numa_node) {
        (Some(pci), Some(node)) => format!("{} node {node}", pci.address),
        (Some(pci), None) => pci.address.clone(),
        (None, Some(_) | None) => "-".to_owned(),
    };
    [
        nic.name.clone(),
        nic.model.clone().unwrap_or_else(|| nic.kind.clone()),
        nic.driver.clone(),
        firmware,
        link(nic),
        place,
        uses(nic).join(", "),
    ]
}

/// `25G full`, `up`, `no carrier`, `down`.
fn link(nic: &NicFacts) -> String {
    let link = &nic.link;
    match (link.up, link.carrier, link.speed) {
        (false, _, _) => "down".to_owned(),
        (true, false, _) => "no carrier".to_owned(),
        (true, true, None) => "up".to_owned(),
        (true, true, Some(speed)) => {
            let speed = match speed {
                mbit if mbit >= 1000 && mbit % 1000 == 0 => format!("{}G", mbit / 1000),
                mbit if mbit >= 1000 => format!("{:.1}G", f64::from(mbit) / 1000.0),
                mbit => format!("{mbit}M"),
            };
            format!("{speed} {}", link.duplex.as_deref().unwrap_or_default()).trim().to_owned()
        }
    }
}

/// Who uses it, most binding first.
fn uses(nic: &NicFacts) -> Vec<String> {
    let mut uses = Vec::new();
    if !nic.default_route.is_empty() {
        uses.push(format!("default route ({})", nic.default_route.join(", ")));
    }
    uses.extend(nic.member_of.as_ref().map(|member| format!("{} {}", member.kind, member.name)));
    uses.extend(nic.over.as_ref().map(|over| match nic.vlan {
        Some(id) => format!("VLAN {id} on {over}"),
        None => format!("on {over}"),
    }));
    uses.extend(nic.peer.as_ref().map(|peer| format!("peer {peer}")));
    if !nic.under.is_empty() {
        uses.push(format!("under {}", nic.under.join(", ")));
    }
    if let Some(vfs) = nic.vfs.filter(|vfs| vfs.configured > 0) {
        uses.push(format!("{} of {} VFs", vfs.configured, vfs.max));
    }
    uses.extend(nic.xdp.as_ref().map(|xdp| format!("XDP ({})", xdp.mode)));
    let sockets = nic.queues.iter().filter(|queue| queue.af_xdp).count();
    if sockets > 0 {
        uses.push(format!("AF_XDP on {sockets} queues"));
    }
    if !nic.rdma.is_empty() {
        uses.push(format!("RDMA {}", nic.rdma.join(", ")));
    }
    uses
}

fn fit(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn details(text: &mut String, nic: &NicFacts) {
    line(text, "");
    let known = match (&nic.vendor, &nic.model) {
        (Some(vendor), Some(model)) => format!("{vendor} {model}"),
        (_, Some(model)) => model.clone(),
        (_, None) => nic.kind.clone(),
    };
    line(text, &format!("{}  {known}", nic.name));
    for (name, words) in facts(nic) {
        block(text, name, &words);
    }
    line(text, "settings");
    let mut families: BTreeMap<&str, Vec<(&Name, &Current)>> = BTreeMap::new();
    for (name, current) in &nic.settings {
        families.entry(name.family()).or_default().push((name, current));
    }
    for (family, settings) in families {
        family_block(text, family, &settings);
    }
    for skip in &nic.skips {
        block(text, "skipped", &format!("{}: {} ({})", skip.family, skip.why, skip.issue));
    }
    unsupported(text, nic);
}

/// The facts that there are, in reading order.
fn facts(nic: &NicFacts) -> Vec<(&'static str, String)> {
    let mac = match &nic.permanent_mac {
        Some(permanent) if *permanent != nic.mac => format!("{} (permanent {permanent})", nic.mac),
        Some(_) | None => nic.mac.clone(),
    };
    let mut version = nic.driver.clone();
    if let Some(number) = &nic.driver_version {
        let _ = write!(version, " {number}");
    }
    version.push_str(match nic.in_tree {
        Some(true) => ", in tree",
        Some(false) => ", out of tree",
        None => "",
    });
    let firmware = match (&nic.firmware.running, &nic.firmware.stored) {
        (Some(running), Some(stored)) if running != stored => {
            format!("{running}, stored {stored}")
        }
        (Some(version), _) | (None, Some(version)) => version.clone(),
        (None, None) => String::new(),
    };
    let mut state = link(nic);
    for word in [&nic.link.port, &nic.qdisc.as_ref().map(|qdisc| format!("qdisc {qdisc}"))] {
        if let Some(word) = word {
            let _ = write!(state, ", {word}");
        }
    }
    if nic.link.autoneg == Some(true) {
        state.push_str(", autonegotiated");
    }
    let facts = vec![
        ("also called", nic.altnames.join(", ")),
        ("mac", mac),
        ("serial", nic.serial.clone().unwrap_or_default()),
        ("board", nic.board.clone().unwrap_or_default()),
        ("pci", pci(nic)),
        ("driver", version),
        ("firmware", firmware),
        ("link", state),
        ("queues", queues(nic)),
        ("ptp clock", nic.ptp.clone().unwrap_or_default()),
        ("siblings", nic.siblings.join(", ")),
        ("used by", uses(nic).join("; ")),
        ("addresses", nic.addresses.join(", ")),
        ("fingerprint", nic.fingerprint.clone()),
    ];
    facts.into_iter().filter(|(_, words)| !words.is_empty()).collect()
}

fn pci(nic: &NicFacts) -> String {
    let Some(pci) = &nic.pci else { return String::new() };
    let mut words = format!(
        "{} {}:{} ({}:{})",
        pci.address, pci.vendor, pci.device, pci.subsystem_vendor, pci.subsystem_device
    );
    if let (Some(speed), Some(width)) = (&pci.speed, pci.width) {
        let _ = write!(words, ", {speed} x{width}");
        if let (Some(speed_max), Some(width_max)) = (&pci.speed_max, pci.width_max)
            && (speed_max != speed || width_max != width)
        {
            let _ = write!(words, " of {speed_max} x{width_max}");
        }
    }
    if let Some(node) = nic.numa_node {
        let _ = write!(words, ", NUMA node {node}");
    }
    if let Some(function) = &pci.physical_function {
        let _ = write!(words, ", virtual function of {function}");
    }
    words
}

/// `8 rx, 8 tx; rx-0 irq 35 on 0-3, …`.
fn queues(nic: &NicFacts) -> String {
    let count =
        |direction: &str| nic.queues.iter().filter(|q| q.name.starts_with(direction)).count();
    let mut words = format!("{} rx, {} tx", count("rx"), count("tx"));
    let served = nic.queues.iter().filter_map(|queue| {
        let (irq, cpus) = (queue.irq?, queue.cpus.as_deref()?);
        Some(format!("{} irq {irq} on {cpus}", queue.name))
    });
    let served: Vec<String> = served.collect();
    if !served.is_empty() {
        let _ = write!(words, "; {}", served.join(", "));
    }
    words
}

/// Numbers and words with their limits; switches as two lists, since there are dozens of them.
fn family_block(text: &mut String, family: &str, settings: &[(&Name, &Current)]) {
    let switch = |want: bool| {
        let is = |current: &Current| current.value == Value::Bool(want);
        let chosen = settings.iter().filter(|(_, current)| is(current));
        chosen.map(|(name, current)| format!("{}{}", name.rest(), remark(current))).collect()
    };
    let (on, off): (Vec<String>, Vec<String>) = (switch(true), switch(false));
    let plain = settings.iter().filter(|(_, current)| current.value.as_bool().is_none());
    let plain: Vec<String> = plain
        .map(|(name, current)| format!("{} {}{}", name.rest(), current.value, remark(current)))
        .collect();
    let mut title = family;
    for (word, names) in [("", plain), ("on: ", on), ("off: ", off)] {
        if !names.is_empty() {
            block(text, title, &format!("{word}{}", names.join(", ")));
            title = "";
        }
    }
}

/// ` (64..8192)`, ` (fixed)`, ` (in force: off)`.
fn remark(current: &Current) -> String {
    let mut words = Vec::new();
    match (current.min, current.max) {
        (Some(min), Some(max)) => words.push(format!("{min}..{max}")),
        (None, Some(max)) => words.push(format!("to {max}")),
        (Some(min), None) => words.push(format!("from {min}")),
        (None, None) => {}
    }
    if let Some(effective) = current.effective.as_ref().filter(|value| **value != current.value) {
        words.push(format!("in force: {effective}"));
    }
    if current.fixed.is_some() {
        words.push("fixed".to_owned());
    }
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// One entry a reason: many settings are missing for the same one.
fn unsupported(text: &mut String, nic: &NicFacts) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in &nic.unsupported {
        reasons.entry(reason).or_default().push(name.as_str());
    }
    if !reasons.is_empty() {
        line(text, &format!("unsupported ({})", nic.unsupported.len()));
    }
    for (reason, names) in reasons {
        block(text, "", &format!("{reason}: {}", names.join(", ")));
    }
}

/// A title in its column and words beside it, broken at spaces.
fn block(text: &mut String, title: &str, words: &str) {
    const INDENT: usize = 16;
    let mut row = format!("  {title:14}");
    let mut used = INDENT;
    for word in words.split(' ') {
        let length = word.chars().count();
        if used > INDENT && used + 1 + length > WIDTH {
            line(text, &row);
            row = " ".repeat(INDENT);
            used = INDENT;
        }
        if used > INDENT {
            row.push(' ');
            used += 1;
        }
        row.push_str(word);
        used += length;
    }
    line(text, &row);
}
