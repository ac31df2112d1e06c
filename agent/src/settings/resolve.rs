//! What a playbook's word means on this NIC: shared by all families of plain numbers and switches.

use playbooks::{Name, Value, Wanted};

use crate::{
    fault::{Fault, Kind, Result},
    host::Nic,
    setting::Current,
};

/// A number within the driver's own limits.
pub(super) fn number(nic: &Nic, name: &Name, wanted: &Wanted, now: &Current) -> Result<Value> {
    let refuse = |cause: String| Err(refusal(nic, name, wanted, cause));
    let value = match wanted {
        Wanted::Exactly(Value::Number(value)) => *value,
        Wanted::Max => match now.max {
            Some(max) => max,
            None => return refuse("the driver tells no upper limit".into()),
        },
        Wanted::Min => match now.min {
            Some(min) => min,
            None => return refuse("the driver tells no lower limit".into()),
        },
        Wanted::Default => return refuse("the kernel keeps no default of it".into()),
        Wanted::Exactly(Value::Bool(_) | Value::Text(_) | Value::Numbers(_) | Value::Texts(_))
        | Wanted::Equal(_)
        | Wanted::Weights(_)
        | Wanted::LocalCpus
        | Wanted::Cpus(_) => return refuse("it takes a whole number".into()),
    };
    if let Some(max) = now.max.filter(|max| value > *max) {
        return refuse(format!("above the driver's limit of {max}"));
    }
    if let Some(min) = now.min.filter(|min| value < *min) {
        return refuse(format!("below the driver's limit of {min}"));
    }
    changeable(nic, name, wanted, now, Value::Number(value))
}

/// On or off.
pub(super) fn switch(nic: &Nic, name: &Name, wanted: &Wanted, now: &Current) -> Result<Value> {
    match wanted {
        Wanted::Exactly(Value::Bool(on)) => changeable(nic, name, wanted, now, Value::Bool(*on)),
        Wanted::Default => {
            Err(refusal(nic, name, wanted, "the kernel keeps no default of it".into()))
        }
        Wanted::Exactly(
            Value::Number(_) | Value::Text(_) | Value::Numbers(_) | Value::Texts(_),
        )
        | Wanted::Max
        | Wanted::Min
        | Wanted::Equal(_)
        | Wanted::Weights(_)
        | Wanted::LocalCpus
        | Wanted::Cpus(_) => Err(refusal(nic, name, wanted, "it takes on or off".into())),
    }
}

/// A fixed setting may be wanted as it is, not otherwise.
fn changeable(
    nic: &Nic,
    name: &Name,
    wanted: &Wanted,
    now: &Current,
    value: Value,
) -> Result<Value> {
    match &now.fixed {
        Some(reason) if now.value != value => {
            Err(Fault { kind: Kind::Unsupported, ..refusal(nic, name, wanted, reason.clone()) })
        }
        Some(_) | None => Ok(value),
    }
}

fn refusal(nic: &Nic, name: &Name, wanted: &Wanted, cause: String) -> Fault {
    Fault::new(Kind::Invalid, format!("set {name} on {} to {wanted}", nic.name), cause)
}
