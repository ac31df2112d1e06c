//! What a signal finds: holders that are known already, and clues that become holders once it is known
//! which processes have them open.

use policy::holders::{Certainty, Holder, Signal};

use crate::fault::Fault;

/// What a process may have open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Token {
    /// A socket, by its inode.
    Socket(u64),
    /// A character device, by its numbers: names can be bind-mounted or made anew.
    Device(u32, u32),
    /// A descriptor whose link begins so: `onload:[`.
    Link(&'static str),
    /// Any socket of this protocol, as /proc/net/protocols names it. Finding these costs a call a socket.
    Protocol(&'static str),
    /// A file of sysfs below this function's folder whose name begins so: `/0000:3b:00.0/resource`.
    File(String),
}

/// Something that, where a process has it open, means that the NIC is in use.
#[derive(Debug, Clone)]
pub(super) struct Clue {
    pub(super) signal: Signal,
    pub(super) port: String,
    pub(super) what: String,
    pub(super) token: Token,
    pub(super) how: String,
    /// Of a process that has it open.
    pub(super) certainty: Certainty,
    pub(super) alone: Alone,
}

/// What it means that no process was seen to have it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    /// Nobody uses it.
    Nothing,
    /// It is used all the same: by the kernel, or by a process that is hidden from this one.
    InUse,
}

/// What one signal found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) clues: Vec<Clue>,
    pub(super) holders: Vec<Holder>,
}

impl Found {
    pub(super) fn of(holders: Vec<Holder>) -> Found {
        Found { clues: Vec::new(), holders }
    }

    pub(super) fn add(&mut self, more: Found) {
        self.clues.extend(more.clues);
        self.holders.extend(more.holders);
    }
}

/// A holder without a process, known to be one.
pub(super) fn held(signal: Signal, port: &str, what: &str, how: String) -> Holder {
    let (port, what) = (port.to_owned(), what.to_owned());
    Holder { signal, port, what, process: None, how, certainty: Certainty::InUse }
}

/// The same where nobody knows: the reason is in `how`.
pub(super) fn unknown(signal: Signal, port: &str, how: String) -> Holder {
    let certainty = Certainty::Unknown;
    Holder { certainty, ..held(signal, port, port, how) }
}

pub(super) fn unread(signal: Signal, port: &str, fault: &Fault) -> Holder {
    unknown(signal, port, fault.to_string())
}
