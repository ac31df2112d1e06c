//! A setting by its name in the vocabulary: for scripts, traffic models and tests' own eyes.

use playbooks::Value;

use super::{
    Refusal, State, channels, cpus, feature, hook,
    machine::{Machine, Napi, SimNic},
    numbers::{self, Asked},
    param, sysctl, tables,
};

/// Sysctls that the vocabulary calls settings of NAPI.
const NAPI_SYSCTLS: [(&str, &str); 3] = [
    ("weight", "net.core.dev_weight"),
    ("budget", "net.core.netdev_budget"),
    ("budget-usecs", "net.core.netdev_budget_usecs"),
];

/// What `setting` is now; `None` where the machine has no such thing.
pub(super) fn get(machine: &Machine, nic: &str, setting: &str) -> Option<Value> {
    let (family, rest) = setting.split_once('.')?;
    let sysctl = |key: &str| machine.sysctls.get(key).map(|text| Value::text(text));
    match family {
        "sysctl" => sysctl(rest),
        "module-param" => {
            let (module, parameter) = rest.split_once('.')?;
            machine.modules.get(module)?.get(parameter).map(|text| Value::text(text))
        }
        "napi" if NAPI_SYSCTLS.iter().any(|(name, _)| *name == rest) => {
            let (_, key) = NAPI_SYSCTLS.iter().find(|(name, _)| *name == rest)?;
            machine.sysctls.get(*key)?.parse().ok().map(Value::Number)
        }
        _ => of_nic(machine.nic(nic)?, family, rest),
    }
}

fn is_switch(rows: &[tables::Row], name: &str) -> bool {
    rows.iter().any(|row| row.name == name && row.width == tables::Width::U8)
}

fn number_or_switch(rows: &[tables::Row], name: &str, value: u64) -> Value {
    // tcp-data-split is a byte with three words, not a switch.
    match is_switch(rows, name) && name != "tcp-data-split" {
        true => Value::Bool(value != 0),
        false => Value::Number(value),
    }
}

fn of_nic(nic: &SimNic, family: &str, rest: &str) -> Option<Value> {
    let texts = |lists: &[String]| Value::Texts(lists.to_vec());
    Some(match (family, rest) {
        ("ring", name) => number_or_switch(tables::RING, name, nic.rings.get(name)?.value),
        ("channels", name) => Value::Number(nic.channels.get(name)?.value),
        ("coalesce", name) => number_or_switch(tables::COALESCE, name, *nic.coalesce.get(name)?),
        ("feature", name) => Value::Bool(match feature::changeable(nic, name) {
            true => feature::wanted(nic, name),
            false => feature::active(nic, name),
        }),
        ("private-flag", name) => Value::Bool(*nic.private_flags.get(name)?),
        ("devlink-param", name) => Value::Text(param::value(nic, name)?),
        ("pause", "autoneg") => Value::Bool(nic.pause?.autoneg),
        ("pause", "rx") => Value::Bool(nic.pause?.rx),
        ("pause", "tx") => Value::Bool(nic.pause?.tx),
        ("eee", "enabled") => Value::Bool(nic.eee?.enabled),
        ("eee", "tx-lpi-enabled") => Value::Bool(nic.eee?.tx_lpi_enabled),
        ("eee", "tx-lpi-timer") => Value::Number(nic.eee?.tx_lpi_timer.into()),
        ("rss", "indirection") => match &nic.rss.as_ref()?.table {
            None => Value::Text("default".to_owned()),
            Some(table) => Value::Numbers(table.iter().map(|q| u64::from(*q)).collect()),
        },
        ("napi", name) => return napi(nic, name),
        ("irq", "affinity") => texts(&nic.irq),
        ("xps", "cpus") => texts(&nic.xps),
        ("rps", "cpus") => texts(&nic.rps),
        ("link", "mtu") => Value::Number(nic.mtu.into()),
        ("link", "tx-queue-len") => Value::Number(nic.tx_queue_len.into()),
        _ => return None,
    })
}

/// The modes of threaded polling, by number.
const MODES: [&str; 3] = ["disabled", "enabled", "busy-poll"];

/// The interface's value, where it and every instance agree; else all of them, the interface's first
/// (it has no `irq-suspend-timeout`).
fn napi(nic: &SimNic, name: &str) -> Option<Value> {
    let one = |napi: &Napi| match name {
        "gro-flush-timeout" => Some(napi.gro_flush_timeout),
        "defer-hard-irqs" => Some(napi.defer_hard_irqs.into()),
        "irq-suspend-timeout" => Some(napi.irq_suspend_timeout),
        "threaded" => Some(napi.threaded.into()),
        _ => None,
    };
    let own = (name != "irq-suspend-timeout").then_some(&nic.napi);
    let mut numbers: Vec<u64> =
        own.into_iter().chain(&nic.napis).map(one).collect::<Option<_>>()?;
    let first = *numbers.first()?;
    if numbers.iter().all(|&number| number == first) {
        numbers.truncate(1);
    }
    if name != "threaded" {
        let alone = (numbers.len() == 1).then_some(Value::Number(first));
        return Some(alone.unwrap_or(Value::Numbers(numbers)));
    }
    let word = |&n: &u64| MODES.get(n as usize).map(|word| (*word).to_owned());
    let words: Vec<String> = numbers.iter().map(word).collect::<Option<_>>()?;
    let alone = (words.len() == 1).then(|| Value::Text(words[0].clone()));
    Some(alone.unwrap_or(Value::Texts(words)))
}

/// Somebody writes `setting`, through the same checks and quirks as everybody.
pub(super) fn set(
    state: &mut State,
    nic: &str,
    setting: &str,
    value: &Value,
) -> Result<(), Refusal> {
    let no_such = || Refusal::errno(libc::ENOENT);
    let (family, rest) = setting.split_once('.').ok_or_else(no_such)?;
    let text = value.to_string();
    if family == "sysctl" {
        let path = sysctl::path(rest);
        return hook::write(state, path.as_ref(), &text);
    }
    if family == "module-param" {
        let path = format!("/sys/module/{}", rest.replacen('.', "/parameters/", 1));
        return hook::write(state, path.as_ref(), &text);
    }
    let ifindex = state.machine.nic(nic).ok_or_else(|| Refusal::errno(libc::ENODEV))?.ifindex;
    let number = match value {
        Value::Number(n) => *n,
        Value::Bool(on) => u64::from(*on),
        Value::Text(_) | Value::Numbers(_) | Value::Texts(_) => 0,
    };
    let asked = Asked::from([(rest.to_owned(), number)]);
    match family {
        "ring" => numbers::write_rings(state, ifindex, &asked),
        "channels" => channels::write(state, ifindex, &asked),
        "coalesce" => numbers::write_coalesce(state, ifindex, &asked),
        "pause" => numbers::write_pause(state, ifindex, &asked),
        "eee" => numbers::write_eee(state, ifindex, &asked),
        "feature" => feature::set(state, ifindex, &[(rest, number != 0)]),
        "devlink-param" => param::write(state, ifindex, rest, 0, text),
        "private-flag" => feature::set_flags(state, ifindex, &[(rest, number != 0)]),
        "rss" => {
            let table = match value {
                Value::Numbers(table) => Some(table.iter().map(|q| *q as u32).collect()),
                Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Texts(_) => None,
            };
            channels::write_rss(state, ifindex, table)
        }
        "link" | "napi" => {
            let file = match rest {
                "tx-queue-len" => "tx_queue_len",
                "gro-flush-timeout" => "gro_flush_timeout",
                "defer-hard-irqs" => "napi_defer_hard_irqs",
                other => other,
            };
            let path = format!("/sys/class/net/{nic}/{file}");
            let mode = MODES.iter().position(|mode| *mode == text);
            hook::write(state, path.as_ref(), &mode.map_or(text, |mode| mode.to_string()))
        }
        "irq" | "xps" | "rps" => lists(state, ifindex, family, value),
        _ => Err(no_such()),
    }
}

fn lists(state: &mut State, ifindex: u32, family: &str, value: &Value) -> Result<(), Refusal> {
    let refused = || Refusal::errno(libc::EINVAL);
    let Value::Texts(wanted) = value else { return Err(refused()) };
    if wanted.iter().any(|list| cpus::parse_list(list).is_none()) {
        return Err(refused());
    }
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(refused)?;
    let slots = match family {
        "irq" => &mut nic.irq,
        "xps" => &mut nic.xps,
        _ => &mut nic.rps,
    };
    for (slot, list) in slots.iter_mut().zip(wanted) {
        slot.clone_from(list);
    }
    Ok(())
}
