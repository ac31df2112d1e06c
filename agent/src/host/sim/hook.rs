//! Reading and writing the simulated files: paths, and what the kernel's handlers do.

use std::path::{Component, Path};

use super::{
    Refusal, State, cpus,
    files::{Form, Hook, NicFile, Node},
    machine::SimNic,
    quirk::{self, Quirk},
    sysctl,
};
use crate::host::Stat;

/// As deep as the kernel follows links (MAXSYMLINKS).
const LINKS_MAX: u32 = 40;
pub(super) const MTU_MIN: u64 = 68;
pub(super) const MTU_MAX: u64 = 9216;

fn errno(errno: i32) -> Refusal {
    Refusal::errno(errno)
}

pub(super) fn read(state: &State, path: &Path) -> Result<String, Refusal> {
    let path = resolve(state, path)?;
    match state.tree.get(&path) {
        Some(Node::Text(text)) => Ok(text.clone()),
        Some(Node::Hook(hook)) => read_hook(state, hook),
        Some(Node::Link(_)) => Err(errno(libc::ELOOP)),
        Some(Node::Directory) => Err(errno(libc::EISDIR)),
        None if has_children(state, &path) => Err(errno(libc::EISDIR)),
        None => Err(errno(libc::ENOENT)),
    }
}

pub(super) fn write(state: &mut State, path: &Path, text: &str) -> Result<(), Refusal> {
    let path = resolve(state, path)?;
    match state.tree.get(&path).cloned() {
        // sysfs and procfs refuse to open what has no write permission, even to root.
        Some(Node::Text(_)) => Err(errno(libc::EACCES)),
        Some(Node::Hook(hook)) if !writable(&hook) => Err(errno(libc::EACCES)),
        Some(Node::Hook(hook)) => write_hook(state, &hook, text),
        Some(Node::Link(_)) => Err(errno(libc::ELOOP)),
        Some(Node::Directory) => Err(errno(libc::EISDIR)),
        None if has_children(state, &path) => Err(errno(libc::EISDIR)),
        None => Err(errno(libc::ENOENT)),
    }
}

pub(super) fn list(state: &State, path: &Path) -> Result<Vec<String>, Refusal> {
    let path = resolve(state, path)?;
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let below = state.tree.range(prefix.clone()..).map(|(key, _)| key);
    let mut names: Vec<String> = below
        .map_while(|key| key.strip_prefix(&prefix))
        .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
        .collect();
    names.sort();
    names.dedup();
    match (names.is_empty(), state.tree.get(&path)) {
        (false, _) | (true, Some(Node::Directory)) => Ok(names),
        (true, Some(_)) => Err(errno(libc::ENOTDIR)),
        (true, None) => Err(errno(libc::ENOENT)),
    }
}

pub(super) fn target(state: &State, path: &Path) -> Result<String, Refusal> {
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(|| errno(libc::EINVAL))?;
    let path = format!("{}/{}", resolve(state, parent)?, name.to_string_lossy());
    match state.tree.get(&path) {
        Some(Node::Link(target)) => Ok(target.clone()),
        Some(_) => Err(errno(libc::EINVAL)),
        None if has_children(state, &path) => Err(errno(libc::EINVAL)),
        None => Err(errno(libc::ENOENT)),
    }
}

/// The links in a directory.
pub(super) fn links(state: &State, path: &Path) -> Result<Vec<(String, String)>, Refusal> {
    let names = list(state, path)?.into_iter();
    let link = |name: String| Some((name.clone(), target(state, &path.join(&name)).ok()?));
    Ok(names.filter_map(link).collect())
}

/// Everything here is root's, and on one file system.
pub(super) fn stat(state: &State, path: &Path) -> Result<Stat, Refusal> {
    let path = resolve(state, path)?;
    if !state.tree.contains_key(&path) && !has_children(state, &path) {
        return Err(errno(libc::ENOENT));
    }
    let device = state.machine.devices.get(&path).and_then(|numbers| {
        let (major, minor) = numbers.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let inode = state.machine.inodes.get(&path).copied().unwrap_or(0);
    Ok(Stat { file_system: (0, 1), inode, device, uid: 0 })
}

/// Permission bits, as the kernel's files state by them what may be written.
pub(super) fn mode(state: &State, path: &Path) -> Result<u32, Refusal> {
    let path = resolve(state, path)?;
    match state.tree.get(&path) {
        Some(Node::Link(_)) => Ok(0o777),
        Some(Node::Directory) => Ok(0o555),
        Some(Node::Text(_)) => Ok(0o444),
        Some(Node::Hook(hook)) if writable(hook) => Ok(0o644),
        Some(Node::Hook(_)) => Ok(0o444),
        None if has_children(state, &path) => Ok(0o755),
        None => Err(errno(libc::ENOENT)),
    }
}

fn writable(hook: &Hook) -> bool {
    match hook {
        Hook::Sysctl(key) => sysctl::writable(key),
        Hook::Module { .. } | Hook::Affinity { .. } => true,
        Hook::Nic { file, .. } => match file {
            NicFile::Mtu | NicFile::TxQueueLen | NicFile::Rps(_) | NicFile::Xps(_) => true,
            NicFile::GroFlushTimeout | NicFile::DeferHardIrqs | NicFile::Threaded => true,
            NicFile::Carrier | NicFile::Operstate | NicFile::Speed | NicFile::Flags => false,
            NicFile::Statistic(_) => false,
        },
        Hook::Effective { .. } | Hook::Interrupts | Hook::SoftnetStat | Hook::Snmp => false,
        Hook::Netstat | Hook::NetDev | Hook::Route | Hook::Uptime => false,
    }
}

fn has_children(state: &State, path: &str) -> bool {
    let prefix = format!("{path}/");
    state.tree.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(&prefix))
}

/// Follows links. The door takes absolute paths without `..` only, as the real one does.
fn resolve(state: &State, path: &Path) -> Result<String, Refusal> {
    let mut todo: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => todo.push(name.to_string_lossy().into_owned()),
            Component::Prefix(_) | Component::CurDir | Component::ParentDir => {
                return Err(errno(libc::EINVAL));
            }
        }
    }
    todo.reverse();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        if name.is_empty() {
            continue;
        }
        done.push(name);
        if let Some(Node::Link(target)) = state.tree.get(&format!("/{}", done.join("/"))) {
            links += 1;
            if links > LINKS_MAX {
                return Err(errno(libc::ELOOP));
            }
            done.pop();
            if target.starts_with('/') {
                done.clear();
            }
            todo.extend(target.split('/').rev().map(str::to_owned));
        }
    }
    let path = format!("/{}", done.join("/"));
    let below = |sealed: &String| {
        path.strip_prefix(sealed.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match state.machine.sealed.iter().any(below) {
        true => Err(errno(libc::EACCES)),
        false => Ok(path),
    }
}

fn nic(state: &State, ifindex: u32) -> Result<&SimNic, Refusal> {
    state.machine.by_index(ifindex).ok_or_else(|| errno(libc::ENODEV))
}

fn read_hook(state: &State, hook: &Hook) -> Result<String, Refusal> {
    let cpus_all = state.machine.cpus;
    match hook {
        Hook::Sysctl(key) => {
            Ok(sysctl::print(state.machine.sysctls.get(key).map_or("", String::as_str)))
        }
        Hook::Module { module, parameter } => {
            let value = state.machine.modules.get(module).and_then(|m| m.get(parameter));
            Ok(format!("{}\n", value.map_or("", String::as_str)))
        }
        Hook::Nic { ifindex, file } => read_nic(state, nic(state, *ifindex)?, file),
        Hook::Affinity { ifindex, vector, form } => {
            let list = nic(state, *ifindex)?.irq.get(*vector).ok_or_else(|| errno(libc::ENOENT))?;
            Ok(match form {
                Form::List => format!("{list}\n"),
                Form::Mask => format!("{}\n", as_mask(list, cpus_all)),
            })
        }
        Hook::Effective { ifindex, vector } => {
            let list = nic(state, *ifindex)?.irq.get(*vector).ok_or_else(|| errno(libc::ENOENT))?;
            Ok(format!("{list}\n"))
        }
        Hook::Interrupts => Ok(state.counters.interrupts(state)),
        Hook::SoftnetStat => Ok(state.counters.softnet(cpus_all)),
        Hook::Snmp => Ok(state.counters.snmp()),
        Hook::Netstat => Ok(state.counters.netstat()),
        Hook::NetDev => Ok(state.counters.net_dev(&state.machine)),
        Hook::Route => Ok(route_table(state)),
        Hook::Uptime => Ok(format!("{}.00 0.00\n", state.mono_ns / 1_000_000_000)),
    }
}

fn as_mask(list: &str, cpus_all: u32) -> String {
    cpus::mask(&cpus::parse_list(list).unwrap_or_default(), cpus_all)
}

fn read_nic(state: &State, nic: &SimNic, file: &NicFile) -> Result<String, Refusal> {
    let carrier = state.carrier(nic);
    let cpus_all = state.machine.cpus;
    let queue_list = |lists: &[String], queue: usize| {
        let list = lists.get(queue).ok_or_else(|| errno(libc::ENOENT))?;
        Ok(as_mask(list, cpus_all))
    };
    let text = match file {
        NicFile::Mtu => nic.mtu.to_string(),
        NicFile::TxQueueLen => nic.tx_queue_len.to_string(),
        // Both are EINVAL while the interface is down.
        NicFile::Carrier | NicFile::Speed if !nic.up => return Err(errno(libc::EINVAL)),
        NicFile::Carrier => u8::from(carrier).to_string(),
        NicFile::Speed => if carrier { i64::from(nic.speed) } else { -1 }.to_string(),
        NicFile::Operstate => if carrier { "up" } else { "down" }.to_owned(),
        NicFile::Flags => if nic.up { "0x1003" } else { "0x1002" }.to_owned(),
        NicFile::GroFlushTimeout => nic.napi.gro_flush_timeout.to_string(),
        NicFile::DeferHardIrqs => nic.napi.defer_hard_irqs.to_string(),
        NicFile::Threaded => nic.napi.threaded.to_string(),
        NicFile::Rps(queue) => queue_list(&nic.rps, *queue)?,
        // The kernel has no XPS on a NIC with a single transmit queue.
        NicFile::Xps(_) if nic.tx_queues() < 2 => return Err(errno(libc::ENOENT)),
        NicFile::Xps(queue) => queue_list(&nic.xps, *queue)?,
        NicFile::Statistic(name) => state.counters.of(nic.ifindex).statistic(name).to_string(),
    };
    Ok(text + "\n")
}

/// /proc/net/route of the default route, in the kernel's hexadecimal.
fn route_table(state: &State) -> String {
    let head =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    match &state.machine.default_route {
        Some(nic) => format!("{head}{nic}\t00000000\t0101000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"),
        None => head.to_owned(),
    }
}

fn write_hook(state: &mut State, hook: &Hook, text: &str) -> Result<(), Refusal> {
    match hook {
        Hook::Sysctl(key) => {
            let now = state.machine.sysctls.get(key).cloned().unwrap_or_default();
            let value = sysctl::written(key, &now, text)?;
            state.machine.sysctls.insert(key.clone(), value);
            Ok(())
        }
        Hook::Module { module, parameter } => {
            let value = text.trim().to_owned();
            let slot = state.machine.modules.get_mut(module).and_then(|m| m.get_mut(parameter));
            *slot.ok_or_else(|| errno(libc::ENOENT))? = value;
            Ok(())
        }
        Hook::Nic { ifindex, file } => write_nic(state, *ifindex, file, text),
        Hook::Affinity { ifindex, vector, form } => {
            let set = match form {
                Form::List => cpus::parse_list(text),
                Form::Mask => cpus::parse_mask(text),
            };
            let set = set.ok_or_else(|| errno(libc::EINVAL))?;
            let online = set.iter().any(|cpu| *cpu < state.machine.cpus);
            if nic(state, *ifindex)?.quirks.contains(&Quirk::ManagedIrqs) {
                return Err(errno(libc::EIO));
            }
            if !online {
                return Err(errno(libc::EINVAL));
            }
            quirk::busy(state, *ifindex, "irq")?;
            let nic = state.machine.by_index_mut(*ifindex).ok_or_else(|| errno(libc::ENODEV))?;
            let kept = quirk::ignored(nic, "irq.affinity");
            let slot = nic.irq.get_mut(*vector).ok_or_else(|| errno(libc::ENOENT))?;
            if !kept {
                *slot = cpus::list(&set);
            }
            Ok(())
        }
        Hook::Interrupts | Hook::SoftnetStat | Hook::Snmp | Hook::Netstat => {
            Err(errno(libc::EACCES))
        }
        Hook::NetDev | Hook::Route | Hook::Uptime | Hook::Effective { .. } => {
            Err(errno(libc::EACCES))
        }
    }
}

pub(super) fn set_mtu(state: &mut State, ifindex: u32, mtu: u64) -> Result<(), Refusal> {
    if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
        return Err(Refusal::because(libc::EINVAL, "mtu out of range"));
    }
    quirk::busy(state, ifindex, "link")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(|| errno(libc::ENODEV))?;
    if u64::from(nic.mtu) == mtu {
        return Ok(());
    }
    nic.mtu = quirk::taken(nic, "link.mtu", nic.mtu.into(), mtu) as u32;
    state.announce(ifindex, "link");
    quirk::felt(state, ifindex, "link.mtu");
    Ok(())
}

fn write_nic(state: &mut State, ifindex: u32, file: &NicFile, text: &str) -> Result<(), Refusal> {
    let number = || text.trim().parse::<u64>().map_err(|_| errno(libc::EINVAL));
    if *file == NicFile::Mtu {
        return set_mtu(state, ifindex, number()?);
    }
    if matches!(file, NicFile::TxQueueLen) {
        state.announce(ifindex, "link");
    }
    let cpus_all = state.machine.cpus;
    let mask = || {
        let set = cpus::parse_mask(text).ok_or_else(|| errno(libc::EINVAL))?;
        match set.iter().all(|cpu| *cpu < cpus_all) {
            true => Ok(cpus::list(&set)),
            false => Err(errno(libc::EOVERFLOW)),
        }
    };
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(|| errno(libc::ENODEV))?;
    match file {
        NicFile::TxQueueLen => nic.tx_queue_len = number()? as u32,
        // A write to the device's file goes to all its NAPI instances.
        NicFile::GroFlushTimeout => {
            nic.napi.gro_flush_timeout = number()?;
            let value = nic.napi.gro_flush_timeout;
            nic.napis.iter_mut().for_each(|napi| napi.gro_flush_timeout = value);
        }
        NicFile::DeferHardIrqs => {
            let value = number()?;
            nic.napi.defer_hard_irqs =
                i32::try_from(value).map_err(|_| errno(libc::ERANGE))?.unsigned_abs();
            let value = nic.napi.defer_hard_irqs;
            nic.napis.iter_mut().for_each(|napi| napi.defer_hard_irqs = value);
        }
        NicFile::Threaded => {
            let value = number()?;
            nic.napi.threaded = u8::try_from(value)
                .ok()
                .filter(|value| *value <= 1)
                .ok_or_else(|| errno(libc::EINVAL))?;
            let value = nic.napi.threaded;
            nic.napis.iter_mut().for_each(|napi| napi.threaded = value);
        }
        NicFile::Rps(queue) => {
            *nic.rps.get_mut(*queue).ok_or_else(|| errno(libc::ENOENT))? = mask()?;
        }
        NicFile::Xps(_) if nic.tx_queues() < 2 => return Err(errno(libc::ENOENT)),
        NicFile::Xps(queue) => {
            *nic.xps.get_mut(*queue).ok_or_else(|| errno(libc::ENOENT))? = mask()?;
        }
        NicFile::Mtu | NicFile::Carrier | NicFile::Operstate | NicFile::Speed => {
            return Err(errno(libc::EACCES));
        }
        NicFile::Flags | NicFile::Statistic(_) => return Err(errno(libc::EACCES)),
    }
    Ok(())
}

/// `02:00:00:00:00:01` as bytes; what is no byte counts as zero.
pub(super) fn mac_bytes(mac: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        mac.split(':').map(|part| u8::from_str_radix(part, 16).unwrap_or(0)).collect();
    bytes.resize(6, 0);
    bytes
}
