//! The one error of the agent's lower half: object, action and cause, each said once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it is. The kind decides conduct, the text only informs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The kernel or the driver has no such thing (EOPNOTSUPP, ENOENT of a setting).
    Unsupported,
    /// Try again later (EBUSY, EAGAIN).
    Busy,
    /// Not permitted (EPERM, EACCES).
    Denied,
    /// The value is refused (EINVAL, ERANGE).
    Invalid,
    /// Something else than what was asked or expected is there.
    Drift,
    /// The NIC, queue or file is not there any more, or is another one.
    Gone,
    /// The answer cannot be understood.
    Malformed,
    /// The kernel has not answered and still works on it: what comes of it is not known until it has.
    Held,
    /// Any other failure of the machine or the disk.
    Io,
}

/// `set ring.rx on eth1 to 4096: device busy (EBUSY)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: Kind,
    /// What was done to what: `set ring.rx on eth1 to 4096`.
    pub act: String,
    /// Why it failed, with the kernel's own words where it gave any.
    pub cause: String,
}

impl Fault {
    pub fn new(kind: Kind, act: impl Into<String>, cause: impl Into<String>) -> Fault {
        Fault { kind, act: act.into(), cause: cause.into() }
    }

    /// The same failure, seen from the act that needed it.
    pub fn during(mut self, act: impl Into<String>) -> Fault {
        self.act = act.into();
        self
    }

    /// From an errno, with the kernel's extended-ack text where there is one.
    pub fn errno(act: impl Into<String>, errno: i32, extack: Option<&str>) -> Fault {
        let code = nix::errno::Errno::from_raw(errno);
        use nix::errno::Errno;
        let kind = match code {
            Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::ENOSYS | Errno::ENOENT => Kind::Unsupported,
            Errno::EBUSY | Errno::EAGAIN => Kind::Busy,
            Errno::EPERM | Errno::EACCES | Errno::EROFS => Kind::Denied,
            Errno::EINVAL | Errno::ERANGE => Kind::Invalid,
            Errno::ENODEV | Errno::ENXIO => Kind::Gone,
            _ => Kind::Io,
        };
        let words = code.desc().to_lowercase();
        let cause = match extack {
            Some(text) if !text.is_empty() => format!("{text}: {words} ({code:?})"),
            Some(_) | None => format!("{words} ({code:?})"),
        };
        Fault { kind, act: act.into(), cause }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.act, self.cause)
    }
}

impl std::error::Error for Fault {}

pub type Result<T, E = Fault> = std::result::Result<T, E>;
