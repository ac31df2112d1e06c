//! A device that the kernel does not let go of.

use super::{Action, Goal, Restoring, Run};
use crate::{fault::Fault, log::ReadBack};

impl Run {
    /// The kernel still works on the device: it is neither flashed nor restarted, and nothing of its ports is
    /// read or written, which the kernel would let wait, too. The run ends as stuck; once the kernel has
    /// answered, `recover` reads what came of it and goes back from there.
    pub(super) fn still_held(&mut self, mut way: Restoring, fault: &Fault) -> Action {
        let device = self.firmware().map(|action| {
            format!("{} is not back on firmware {}", action.device.handle, action.from)
        });
        let words = device.into_iter().chain([fault.to_string()]).collect::<Vec<_>>().join(": ");
        way.firmware.left.firmware = Some(words);
        way.firmware.held = true;
        // Not one stage alone: what comes of the device decides about all of them.
        way.goal = Goal::Everything;
        let unread = "not touched while the kernel works on the device";
        let left = self.originals.iter().map(|(name, original)| ReadBack {
            name: name.clone(),
            asked: original.clone(),
            got: None,
            fault: Some(unread.to_owned()),
        });
        way.results = left.collect();
        self.stuck(way)
    }
}
