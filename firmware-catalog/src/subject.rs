//! What is asked about: one NIC on one host, or an imagined one.

use std::collections::BTreeMap;

/// The facts that decide which issues and versions concern a NIC. What is `None` or absent is not
/// known, and counts as such.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The interface's name, for messages.
    pub name: String,
    pub driver: String,
    /// Whether the driver came with the kernel.
    pub in_tree: Option<bool>,
    /// The driver's own version, which counts where it did not.
    pub driver_version: Option<String>,
    /// PCI vendor and device.
    pub pci: Option<(u16, u16)>,
    /// The model's name, where it is known otherwise than by `pci`.
    pub model: Option<String>,
    /// `board.id`, or the PSID of NVIDIA's firmware.
    pub board: Option<String>,
    /// The running firmware as the driver prints it.
    pub running: Option<String>,
    /// What lies in flash and runs after the next reset.
    pub stored: Option<String>,
    /// `uname -r`.
    pub release: Option<String>,
    /// The upstream version that the kernel is built from.
    pub kernel_base: Option<String>,
    pub circumstances: BTreeMap<Circumstance, bool>,
}

/// What else must be so for a defect to bite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circumstance {
    /// The device is being reset, by us or by somebody else.
    Resetting,
    /// An XDP program is attached.
    Xdp,
    /// An AF_XDP socket is bound to a queue.
    AfXdp,
    /// The NIC's PTP clock is in use.
    Ptp,
    /// aRFS or ntuple filtering is on.
    Ntuple,
    /// The NIC has no RDMA device.
    NoRdma,
    /// The root qdisc has traffic classes (mqprio, taprio).
    TrafficClasses,
    /// The CPU orders memory weakly (arm64).
    WeaklyOrderedCpu,
    /// NAPI is polled by busy kernel threads (`napi.threaded` is `busy-poll`).
    BusyPollThreads,
    /// There are RSS contexts besides the main one.
    RssContexts,
    /// Several hosts share the card.
    MultiHost,
}

impl Circumstance {
    pub const WORDS: [(&'static str, Circumstance); 11] = [
        ("resetting", Circumstance::Resetting),
        ("xdp", Circumstance::Xdp),
        ("af-xdp", Circumstance::AfXdp),
        ("ptp", Circumstance::Ptp),
        ("ntuple", Circumstance::Ntuple),
        ("no-rdma", Circumstance::NoRdma),
        ("traffic-classes", Circumstance::TrafficClasses),
        ("weakly-ordered-cpu", Circumstance::WeaklyOrderedCpu),
        ("busy-poll-threads", Circumstance::BusyPollThreads),
        ("rss-contexts", Circumstance::RssContexts),
        ("multi-host", Circumstance::MultiHost),
    ];

    /// The word for it in catalog files.
    pub fn name(self) -> &'static str {
        Circumstance::WORDS.iter().find(|(_, c)| *c == self).map_or("", |(word, _)| word)
    }
}
