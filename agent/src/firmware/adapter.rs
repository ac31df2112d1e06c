//! Vendors' programs: what they are told, and for how long they may run.

use crate::{
    fault::{Fault, Kind, Result},
    host::Host,
    plan::firmware::{Adapter, FirmwareAction},
};

/// Runs it on the action's device, of which `port` is an interface by the name that it has now. Answers
/// the command.
///
/// # Errors
/// `Gone` where it is to be told an interface and none of the device's is there; what the program said,
/// where it failed or was killed.
pub(super) fn run(
    host: &dyn Host,
    adapter: &Adapter,
    action: &FirmwareAction,
    (port, image): (&str, &str),
    lease_ms: u64,
) -> Result<String> {
    if port.is_empty() && adapter.names_the_nic() {
        let act = format!("find the device {}", action.device.handle);
        return Err(Fault::new(Kind::Gone, act, "none of its ports is there"));
    }
    let argv = adapter.command(action, port, image);
    host.program(&argv, adapter.limit(lease_ms)).map(|_| argv.join(" "))
}
