//! `nicmend inventory`, for people: a line a NIC, or one NIC with everything.

use std::{collections::BTreeMap, fmt::Write};

use playbooks::{Name, Value};
use policy::holders::Holder;

use super::{Common, Done, out, place, site};
use crate::{
    fault::Kind,
    guard,
    host::Nic,
    inventory::{self, Health, HostFacts, Inventory, NicFacts, Reporter, Taken},
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
    site::adopt(common);
    let host = place::machine()?;
    let mut taken = inventory::taken(&host, args.nic.as_deref()).map_err(|fault| {
        let exit = if fault.kind == Kind::Gone { Exit::Wrong } else { Exit::Failed };
        Declined::new(exit, "nic", fault.to_string())
    })?;
    used_by(&mut taken);
    let taken = taken.inventory;
    if common.json {
        out::json(&taken);
    } else {
        let view = if args.nic.is_some() { View::Details } else { View::List };
        out::line(render(&taken, view).trim_end());
    }
    Ok(Exit::Done)
}

/// Who uses each of them.
fn used_by(taken: &mut Taken<'_>) {
    if taken.nics.is_empty() {
        return;
    }
    let report = guard::look_further(&taken.look, &taken.nics);
    for facts in &mut taken.inventory.nics {
        let own = report.holders().iter().filter(|holder| belongs(holder, facts, &taken.nics));
        facts.holders = own.cloned().collect();
    }
}

/// A port that is not listed itself (a function without an interface here) is told with its device.
fn belongs(holder: &Holder, facts: &NicFacts, listed: &[Nic]) -> bool {
    let is_listed = listed.iter().any(|nic| nic.name == holder.port);
    let slot = facts.pci.as_ref().map(|pci| inventory::slot(&pci.address));
    let same_slot = slot.is_some_and(|slot| slot == inventory::slot(&holder.port));
    holder.port == facts.name || (!is_listed && (listed.len() == 1 || same_slot))
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
    let linux = format!("Linux {}{base}", host.kernel);
    let known = [host.name.as_str(), &host.system, &linux].into_iter().filter(|w| !w.is_empty());
    line(&mut text, &known.collect::<Vec<_>>().join("  "));
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
    let mut rows = vec![
        ["NIC", "MODEL", "DRIVER", "FIRMWARE", "LINK", "PCI", "NODE", "USE"].map(str::to_owned),
    ];
    rows.extend(inventory.nics.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> =
        (0..7).map(|column| width(column).unwrap_or(0).min(CELL_MAX)).collect();
    for row in &rows {
        let mut words = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(words, "{:width$}  ", fit(cell, *width));
        }
        words.push_str(&row[7]);
        line(text, &fit(&words, WIDTH));
    }
}

/// The widest cell of the list; details show the whole.
const CELL_MAX: usize = 24;

fn row(nic: &NicFacts) -> [String; 8] {
    let dash = || "-".to_owned();
    [
        nic.name.clone(),
        nic.model.clone().unwrap_or_else(|| nic.kind.clone()),
        nic.driver.clone(),
        nic.firmware.running.clone().unwrap_or_else(dash),
        link(nic),
        nic.pci.as_ref().map_or_else(dash, |pci| pci.address.clone()),
        nic.numa_node.map_or_else(dash, |node| node.to_string()),
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
        block(text, name, &[words]);
    }
    let holders: Vec<String> = nic.holders.iter().map(ToString::to_string).collect();
    if !holders.is_empty() {
        block(text, "holders", &holders);
    }
    block(text, "queues", &queues(nic));
    line(text, "settings");
    let mut families: BTreeMap<&str, Vec<(&Name, &Current)>> = BTreeMap::new();
    for (name, current) in &nic.settings {
        families.entry(name.family()).or_default().push((name, current));
    }
    let order = |family: &str| crate::setting::SETTINGS.iter().position(|f| f.name() == family);
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by_key(|(family, _)| order(family));
    for (family, settings) in families {
        family_block(text, family, &settings);
    }
    for skip in &nic.skips {
        block(text, "skipped", &[format!("{}: {} ({})", skip.family, skip.why, skip.issue)]);
    }
    unsupported(text, nic);
}

/// The facts that there are, in reading order.
/// Reporters that ever saw an error; all of them in one word where none did.
fn health(nic: &NicFacts) -> String {
    let told =
        nic.health.iter().filter(|reporter| reporter.errors > 0 || reporter.state == Health::Error);
    let words = told.map(|reporter| {
        let state = match reporter.state {
            Health::Healthy => "healthy",
            Health::Error => "in error",
        };
        let Reporter { name, errors, recoveries, .. } = reporter;
        format!("{name} {state} ({errors} errors, {recoveries} recoveries)")
    });
    let words: Vec<String> = words.collect();
    match (nic.health.is_empty(), words.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("healthy ({} reporters)", nic.health.len()),
        (false, false) => words.join(", "),
    }
}

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
    let qdisc = nic.qdisc.as_ref().map(|qdisc| format!("qdisc {qdisc}"));
    for word in [&nic.link.port, &qdisc].into_iter().flatten() {
        let _ = write!(state, ", {word}");
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
        ("health", health(nic)),
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

/// `8 rx`, `8 tx`, then what serves what: `rx-0 tx-0 irq 35 on 0-3`.
fn queues(nic: &NicFacts) -> Vec<String> {
    let count = |direction: &str| {
        let queues = nic.queues.iter().filter(|queue| queue.name.starts_with(direction));
        format!("{} {direction}", queues.count())
    };
    let mut words = vec![count("rx"), count("tx")];
    for interrupt in &nic.interrupts {
        let served = nic.queues.iter().filter(|queue| queue.irq == Some(interrupt.number));
        let served: Vec<&str> = served.map(|queue| queue.name.as_str()).collect();
        if !served.is_empty() {
            let served = served.join(" ");
            words.push(format!("{served} irq {} on {}", interrupt.number, interrupt.cpus));
        }
    }
    words
}

/// Numbers and words with their limits; switches as lists, since there are dozens of them, and of
/// those that are fixed off, only how many.
fn family_block(text: &mut String, family: &str, settings: &[(&Name, &Current)]) {
    let (mut plain, mut on, mut off, mut fixed_off) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (name, current) in settings {
        match current.value {
            Value::Bool(true) => on.push(format!("{}{}", name.rest(), remark(current))),
            Value::Bool(false) if current.fixed.is_some() => fixed_off += 1,
            Value::Bool(false) => off.push(format!("{}{}", name.rest(), remark(current))),
            Value::Number(_) | Value::Text(_) | Value::Numbers(_) | Value::Texts(_) => {
                let value = value(&current.value);
                plain.push(format!("{} {value}{}", name.rest(), remark(current)));
            }
        }
    }
    let mut title = family;
    for (word, mut names) in [("", plain), ("on: ", on), ("off: ", off)] {
        if let Some(first) = names.first_mut() {
            first.insert_str(0, word);
            block(text, title, &names);
            title = "";
        }
    }
    if fixed_off > 0 {
        block(text, title, &[format!("fixed off: {fixed_off}")]);
    }
}

/// A list with one value a queue is said once where all are alike; an empty CPU list is `none`.
fn value(value: &Value) -> String {
    let Value::Texts(each) = value else { return value.to_string() };
    let said = |text: &String| if text.is_empty() { "none".to_owned() } else { text.clone() };
    match each.split_first() {
        Some((first, rest)) if rest.iter().all(|text| text == first) => said(first),
        Some(_) | None => each.iter().map(said).collect::<Vec<_>>().join(" / "),
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

/// One entry a reason, and a whole family by its name: the JSON has each setting.
fn unsupported(text: &mut String, nic: &NicFacts) {
    let mut reasons: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for (name, reason) in &nic.unsupported {
        reasons.entry(reason).or_default().entry(name.family()).or_default().push(name.rest());
    }
    if !reasons.is_empty() {
        line(text, &format!("unsupported ({})", nic.unsupported.len()));
    }
    for (reason, families) in reasons {
        let said = families.iter().map(|(family, members)| match members.len() {
            ..=SPELLED_MAX => format!("{family}.{}", members.join("|")),
            count => format!("{family}.* ({count})"),
        });
        let said: Vec<String> = said.collect();
        block(text, "", &[format!("{reason}: {}", said.join(", "))]);
    }
}

/// Up to so many of a family are spelled out.
const SPELLED_MAX: usize = 5;

/// A title in its column and the items beside it, broken between items, else at spaces.
fn block(text: &mut String, title: &str, items: &[String]) {
    const INDENT: usize = 16;
    let mut row = format!("  {title:14}");
    let mut used = INDENT;
    let mut put = |piece: &str| {
        let length = piece.chars().count();
        if used > INDENT && used + 1 + length > WIDTH {
            line(text, &row);
            row = " ".repeat(INDENT);
            used = INDENT;
        }
        if used > INDENT {
            row.push(' ');
            used += 1;
        }
        row.push_str(piece);
        used += length;
    };
    for (index, item) in items.iter().enumerate() {
        let comma = if index + 1 < items.len() { "," } else { "" };
        let item = format!("{item}{comma}");
        if item.chars().count() > WIDTH - INDENT {
            item.split(' ').for_each(&mut put);
        } else {
            put(&item);
        }
    }
    line(text, &row);
}
