//! What most families do alike.

use playbooks::{Name, Value, Wanted};

use super::words::quote;
use crate::{
    fault::{Fault, Kind, Result},
    host::Nic,
    setting::{Change, Current, Readings},
};

/// The fault of a read; `absent` says in words what it means that the kernel has no such file.
pub(super) fn absent(fault: Fault, act: &str, absent: &str) -> Fault {
    match fault.kind == Kind::Unsupported {
        true => Fault::new(Kind::Unsupported, act, absent),
        false => fault.during(act),
    }
}

/// Outcomes sorted into what is there and what is not, with the reason.
pub(super) fn readings(outcomes: impl IntoIterator<Item = (Name, Result<Current>)>) -> Readings {
    let mut readings = Readings::default();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(current) => readings.supported.insert(name, current).map(drop),
            Err(fault) => readings.unsupported.insert(name, fault.cause).map(drop),
        };
    }
    readings
}

/// A name that the vocabulary has. `None` only where code and vocabulary have come apart.
pub(super) fn name(text: &str) -> Option<Name> {
    Name::try_from(text).ok()
}

/// The upstream kernel's version, where it is known and has two or three numbers.
pub(super) fn kernel(nic: &Nic) -> Option<(u32, u32, u32)> {
    let base = nic.kernel_base.as_deref()?;
    let mut numbers = base.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?))
}

/// `set link.mtu on eth1`: what a fault was about.
pub(super) fn setting(name: &Name, nic: &str) -> String {
    format!("set {name} on {nic}")
}

/// `set link.mtu on eth1 to 9000`.
pub(super) fn change(change: &Change, nic: &str) -> String {
    format!("set {} on {nic} to {}", change.name, change.to)
}

/// The text that `wanted` means, white space folded: numbers and booleans are taken as their text
/// (`1` and `0`, as the kernel's own switches have it).
pub(super) fn text(act: &str, wanted: &Wanted) -> Result<String> {
    let raw = match wanted {
        Wanted::Exactly(Value::Text(text)) | Wanted::Cpus(text) => text.clone(),
        Wanted::Exactly(Value::Number(n)) => n.to_string(),
        Wanted::Exactly(Value::Bool(on)) => u8::from(*on).to_string(),
        // A playbook's `default` or `max` may be the kernel's word here (a congestion control).
        Wanted::Default | Wanted::Max | Wanted::Min => wanted.to_string(),
        Wanted::Exactly(Value::Numbers(_) | Value::Texts(_))
        | Wanted::Equal(_)
        | Wanted::Weights(_)
        | Wanted::LocalCpus => return Err(Fault::new(Kind::Invalid, act, "wants a text")),
    };
    if raw.len() > TEXT_BYTES_MAX || raw.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        let cause = "a value has at most 4096 bytes and no control characters";
        return Err(Fault::new(Kind::Invalid, act, cause));
    }
    let folded = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    match folded.is_empty() {
        true => Err(Fault::new(Kind::Invalid, act, "an empty value changes nothing")),
        false => Ok(folded),
    }
}

const TEXT_BYTES_MAX: usize = 4096;

/// The refusal of a value that is not of this setting's kind: a journal or plan that was tampered with.
pub(super) fn wrong_kind(change: &Change, nic: &str) -> Fault {
    Fault::new(Kind::Invalid, self::change(change, nic), "not a value of this setting's kind")
}

/// Each change in a request of its own, in order: for what is written file by file.
pub(super) fn one_by_one(changes: Vec<Change>) -> Vec<Vec<Change>> {
    changes.into_iter().map(|change| vec![change]).collect()
}

/// `echo VALUE > FILE`, as a person would type it.
pub(super) fn echo(text: &str, path: &str) -> String {
    format!("echo {} > {}", quote(text), quote(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_folded_and_bounded() {
        let exactly = |text: &str| Wanted::Exactly(Value::Text(text.to_owned()));
        assert_eq!(text("set x", &exactly("4096\t 131072 ")).unwrap(), "4096 131072");
        assert_eq!(text("set x", &Wanted::Exactly(Value::Bool(true))).unwrap(), "1");
        for bad in ["", "  ", "a\0b", &"x".repeat(5000)] {
            assert!(text("set x", &exactly(bad)).is_err(), "{bad:?}");
        }
    }
}
