//! A setting's value: what each kind of setting may be asked to be.

use super::{
    findings::{Findings, shown},
    tree::{Node, Scalar},
    unit,
};
use crate::{
    Name, Value, Wanted,
    vocabulary::{Kind, find},
};

/// The kernel's own largest (CONFIG_NR_CPUS on x86-64 with MAXSMP).
const CPUS_MAX: u32 = 8192;
/// More queues than any NIC has.
const QUEUES_MAX: usize = 4096;
const TEXT_MAX: usize = 1024;

/// What `name` is asked to be; what is wrong with it is found and told.
pub(super) fn wanted(name: &Name, node: &Node, findings: &mut Findings) -> Option<Wanted> {
    let Scalar { text, quoted } = findings.scalar(node, name.as_str())?;
    let scalar = Plainly { text, quoted: *quoted };
    let read = match name.setting().kind {
        Kind::Number { unit, max } => number(&scalar, unit, max),
        Kind::Bool => switch(&scalar, name),
        Kind::Choice(words) => choice(&scalar, words),
        Kind::Text => free_text(&scalar),
        Kind::Indirection => indirection(&scalar),
        Kind::Cpus => cpus(&scalar, name),
    };
    match read {
        Ok(wanted) => Some(wanted),
        Err(help) => {
            let message = format!("{name} cannot be `{}`", shown(text));
            findings.mend(node.mark, message, help);
            None
        }
    }
}

/// A single value as it is written.
struct Plainly<'t> {
    text: &'t str,
    quoted: bool,
}

impl<'t> Plainly<'t> {
    /// The text where it is not quoted: what a number or a boolean must be.
    fn bare(&self) -> Option<&'t str> {
        (!self.quoted).then_some(self.text)
    }
}

fn number(scalar: &Plainly, unit: &str, max: u64) -> Result<Wanted, String> {
    match scalar.text {
        "max" => return Ok(Wanted::Max),
        "min" => return Ok(Wanted::Min),
        _ => {}
    }
    match scalar.bare().and_then(unit::whole) {
        Some(n) if n <= max => Ok(Wanted::Exactly(Value::Number(n))),
        Some(_) | None => {
            Err(format!("a bare whole number of {unit} from 0 to {max}, or `max`, or `min`"))
        }
    }
}

fn switch(scalar: &Plainly, name: &Name) -> Result<Wanted, String> {
    // Only features have a default that the kernel remembers: what the driver wanted at first.
    let has_default = name.family() == "feature";
    if has_default && scalar.text == "default" {
        return Ok(Wanted::Default);
    }
    let also = if has_default { ", or `default`" } else { "" };
    let value = scalar.bare().and_then(unit::switch);
    value
        .map(|on| Wanted::Exactly(Value::Bool(on)))
        .ok_or_else(|| format!("true or false{also}, without quotes"))
}

fn choice(scalar: &Plainly, words: &[&str]) -> Result<Wanted, String> {
    if words.contains(&scalar.text) {
        return Ok(Wanted::Exactly(Value::Text(scalar.text.to_owned())));
    }
    Err(format!("one of {}", words.join(", ")))
}

/// Text for a file or a driver. A bare number is its text, but only as large as a number may be here.
fn free_text(scalar: &Plainly) -> Result<Wanted, String> {
    let text = scalar.text.trim_end_matches('\n');
    if text.contains('\n') || text.len() > TEXT_MAX || text.trim().is_empty() {
        return Err(format!("one line of text, 1 to {TEXT_MAX} bytes"));
    }
    let digits = !scalar.quoted && text.bytes().all(|b| b.is_ascii_digit());
    if digits && text.parse::<u32>().is_err() {
        return Err(format!("a number up to {}; quote a larger one", u32::MAX));
    }
    Ok(Wanted::Exactly(Value::text(text)))
}

fn indirection(scalar: &Plainly) -> Result<Wanted, String> {
    let help = || "`default`, `equal N`, or `weights` and one number a queue".to_owned();
    let mut words = scalar.text.split_whitespace();
    let kind = words.next().ok_or_else(help)?;
    let numbers: Option<Vec<u32>> =
        words.map(|word| unit::whole(word).and_then(|n| u32::try_from(n).ok())).collect();
    match (kind, numbers.ok_or_else(help)?.as_slice()) {
        ("default", []) => Ok(Wanted::Default),
        ("equal", [queues]) if (1..=QUEUES_MAX).contains(&(*queues as usize)) => {
            Ok(Wanted::Equal(*queues))
        }
        ("weights", []) => Err(help()),
        ("weights", weights) if weights.len() > QUEUES_MAX => {
            Err(format!("at most {QUEUES_MAX} weights"))
        }
        ("weights", weights) if weights.iter().all(|weight| *weight == 0) => {
            Err("at least one weight above 0".to_owned())
        }
        ("weights", weights) => Ok(Wanted::Weights(weights.to_vec())),
        (_, _) => Err(help()),
    }
}

fn cpus(scalar: &Plainly, name: &Name) -> Result<Wanted, String> {
    // Steering may be off; an interrupt is always served somewhere.
    let may_be_none = name.family() != "irq";
    match scalar.text {
        "local-cpus" => return Ok(Wanted::LocalCpus),
        "default" => return Ok(Wanted::Default),
        "" if may_be_none => return Ok(Wanted::Cpus(String::new())),
        _ => {}
    }
    let also = if may_be_none { ", or \"\" for none" } else { "" };
    cpu_list(scalar.text).map(Wanted::Cpus).ok_or_else(|| {
        format!("`local-cpus`, `default`, or CPUs below {CPUS_MAX} such as 0-3,8{also}")
    })
}

/// A CPU list as the kernel prints it: ascending, neighbours joined (`0-3,8`).
fn cpu_list(text: &str) -> Option<String> {
    let cpu = |word: &str| {
        unit::whole(word).and_then(|n| u32::try_from(n).ok()).filter(|n| *n < CPUS_MAX)
    };
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (cpu(first)?, cpu(last)?);
        if first > last {
            return None;
        }
        ranges.push((first, last));
    }
    ranges.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
            Some(_) | None => joined.push((first, last)),
        }
    }
    let spelt = joined.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    Some(spelt.collect::<Vec<_>>().join(","))
}

/// Two names of one kernel variable, if `a` and `b` are: the kernel's sysctl and our own name for it.
pub(super) fn same_thing(a: &Name, b: &Name) -> bool {
    const TWINS: &[(&str, &str)] = &[
        ("napi.weight", "sysctl.net.core.dev_weight"),
        ("napi.budget", "sysctl.net.core.netdev_budget"),
        ("napi.budget-usecs", "sysctl.net.core.netdev_budget_usecs"),
    ];
    debug_assert!(
        TWINS.iter().all(|(ours, kernels)| find(ours).is_some() && find(kernels).is_some())
    );
    TWINS.iter().any(|(ours, kernels)| {
        (a.as_str() == *ours && b.as_str() == *kernels)
            || (b.as_str() == *ours && a.as_str() == *kernels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_have_one_spelling() {
        for (written, kept) in
            [("0", "0"), ("3,1,2", "1-3"), ("0-3,8", "0-3,8"), ("8,0-3,2-5", "0-5,8"), ("7-7", "7")]
        {
            assert_eq!(cpu_list(written).as_deref(), Some(kept));
        }
        for bad in ["", ",", "1,", "3-1", "-1", "a", "0-8192", "1 2", "0x1", "0-1-2"] {
            assert_eq!(cpu_list(bad), None, "{bad:?} was taken");
        }
    }
}
