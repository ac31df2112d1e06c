//! Who uses a NIC, and whom a step on it would hurt: one table, signal by disruption.
//!
//! What is found on a host is facts; what a step may do to it is decided here. What could not be found
//! out counts as in use: [`Certainty::Unknown`] blocks like [`Certainty::InUse`].

use playbooks::vocabulary::Disruption;
use serde::{Deserialize, Serialize};

use crate::{Refusal, Ruling};

/// A way of using a NIC, by the trace it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    Tcp,
    Udp,
    Listener,
    Multicast,
    Raw,
    AfXdp,
    MemoryProvider,
    Packet,
    Rdma,
    Vfio,
    Uio,
    Dpdk,
    Onload,
    PfRing,
    Netmap,
    Exanic,
    Registers,
    Vf,
    Ptp,
    Forward,
    Member,
    Stacked,
    Tap,
    Namespace,
    DefaultRoute,
    Sibling,
    Bmc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    InUse,
    /// It could not be found out, for the reason given; counts as in use.
    Unknown,
}

/// A process of this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Its command's name (`/proc/PID/comm`).
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
}

/// Somebody or something that uses a NIC, or may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub signal: Signal,
    /// The port of the device that it is about: an interface's name, or a function's PCI address.
    pub port: String,
    /// What is held: the port, a virtual function, a device file.
    pub what: String,
    /// `None` where the kernel holds it, or nobody knows who.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<Process>,
    /// How, in words; with `Unknown`, why it is not known.
    pub how: String,
    pub certainty: Certainty,
}

impl Holder {
    /// The name by which an operator takes the harm to this holder upon himself
    /// (`--override-hazard`): `held:udp:ntpd`, `held:member:eth1`.
    pub fn id(&self) -> String {
        let row = row(self.signal);
        let whose = self.process.as_ref().map_or(self.what.as_str(), |process| &process.name);
        let whose: String =
            whose.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
        format!("held:{}:{whose}", row.name)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.process {
            Some(process) => write!(f, "{} (pid {}): {}", process.name, process.pid, self.how)?,
            None => f.write_str(&self.how)?,
        }
        match self.certainty {
            Certainty::InUse => Ok(()),
            Certainty::Unknown => f.write_str(" (unknown counts as in use)"),
        }
    }
}

/// What a step does to a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It does not feel it, or no more than a lost packet.
    Passes,
    /// It feels it and goes on by itself.
    Warns,
    /// It is hurt: the step is refused.
    Blocks,
}

use Effect::{Blocks, Passes, Warns};

/// A signal, and whom a step hurts by it.
#[derive(Debug)]
pub struct Row {
    pub signal: Signal,
    /// As it is written: `af-xdp`.
    pub name: &'static str,
    /// Queues stop for milliseconds.
    pub queue_reset: Effect,
    /// The link goes and comes back: seconds.
    pub link_flap: Effect,
    /// The device starts anew: seconds, and drivers may take the interface away meanwhile.
    pub nic_reset: Effect,
    pub why: &'static str,
}

const fn row_of(
    signal: Signal,
    name: &'static str,
    [queue_reset, link_flap, nic_reset]: [Effect; 3],
    why: &'static str,
) -> Row {
    Row { signal, name, queue_reset, link_flap, nic_reset, why }
}

#[rustfmt::skip] // one signal a line
pub static TABLE: &[Row] = &[
    row_of(Signal::Tcp, "tcp", [Passes, Blocks, Blocks], "a session stalls until its segments are sent again: seconds, in the market"),
    row_of(Signal::Udp, "udp", [Passes, Blocks, Blocks], "what is sent meanwhile is lost"),
    row_of(Signal::Listener, "listener", [Passes, Passes, Blocks], "bound to the interface by its index, it hears nothing any more once that is made anew"),
    row_of(Signal::Multicast, "multicast", [Passes, Blocks, Blocks], "a feed has a gap, and a NIC that is taken away loses its memberships"),
    row_of(Signal::Raw, "raw", [Passes, Blocks, Blocks], "VRRP moves an address, OSPF drops a neighbour"),
    row_of(Signal::AfXdp, "af-xdp", [Blocks, Blocks, Blocks], "its queue is torn down under it; some drivers do not come back (ethernet-linux-ice issue 61)"),
    row_of(Signal::MemoryProvider, "memory-provider", [Blocks, Blocks, Blocks], "the queue's memory is a process's own (io_uring zero copy, dma-buf)"),
    row_of(Signal::Packet, "packet", [Passes, Warns, Blocks], "a tap misses packets; one whose interface is taken away is unbound"),
    row_of(Signal::Rdma, "rdma", [Warns, Blocks, Blocks], "queue pairs fall into error; also VMA, XLIO and DPDK on mlx5"),
    row_of(Signal::Vfio, "vfio", [Passes, Blocks, Blocks], "a guest or DPDK loses the link or the function"),
    row_of(Signal::Uio, "uio", [Passes, Blocks, Blocks], "DPDK loses the link or the function"),
    row_of(Signal::Dpdk, "dpdk", [Passes, Blocks, Blocks], "it may drive this device; it does not tell"),
    row_of(Signal::Onload, "onload", [Warns, Blocks, Blocks], "stacks of Onload, ef_vi and TCPDirect live on the NIC's own queues"),
    row_of(Signal::PfRing, "pf-ring", [Blocks, Blocks, Blocks], "its rings are bound to the NIC's queues"),
    row_of(Signal::Netmap, "netmap", [Blocks, Blocks, Blocks], "it owns the NIC's rings while it is on"),
    row_of(Signal::Exanic, "exanic", [Passes, Blocks, Blocks], "programs drive the card from user space"),
    row_of(Signal::Registers, "registers", [Warns, Warns, Blocks], "a program has the device's registers or memory open (a firmware tool at work?)"),
    row_of(Signal::Vf, "vf", [Passes, Blocks, Blocks], "a virtual function's link follows its port's"),
    row_of(Signal::Ptp, "ptp", [Passes, Warns, Blocks], "a clock daemon holds over and locks again; a reset takes its clock away"),
    row_of(Signal::Forward, "forward", [Passes, Blocks, Blocks], "others' connections pass through this host by it (containers behind its address, routed networks)"),
    row_of(Signal::Member, "member", [Passes, Blocks, Blocks], "others' traffic passes through a bond, team or bridge"),
    row_of(Signal::Stacked, "stacked", [Passes, Warns, Warns], "VLANs and the like follow; who uses them is found by their own sockets"),
    row_of(Signal::Tap, "tap", [Passes, Blocks, Blocks], "a guest is attached by a macvtap"),
    row_of(Signal::Namespace, "namespace", [Passes, Blocks, Blocks], "a container's interface sits on it, or is another port or function of the device"),
    row_of(Signal::DefaultRoute, "default-route", [Passes, Blocks, Blocks], "the host is reached by it (rule management-nic, --allow-management)"),
    row_of(Signal::Sibling, "sibling", [Passes, Passes, Blocks], "another port of the device is up, and a device resets as a whole"),
    row_of(Signal::Bmc, "bmc", [Passes, Warns, Blocks], "a management controller may be reached by this port's sideband (NC-SI)"),
];

/// The row of this signal.
pub fn row(signal: Signal) -> &'static Row {
    // Every signal has its row, or a test fails; the last one blocks what a missing one would.
    TABLE.iter().find(|row| row.signal == signal).unwrap_or(&TABLE[TABLE.len() - 1])
}

/// What a step that disrupts by `disruption` does to what this signal shows.
pub fn effect(signal: Signal, disruption: Disruption) -> Effect {
    let row = row(signal);
    match disruption {
        Disruption::None => Passes,
        Disruption::QueueReset => row.queue_reset,
        Disruption::LinkFlap => row.link_flap,
        Disruption::NicReset => row.nic_reset,
    }
}

/// The signals by which somebody could be hurt by such a step.
pub fn felt_by(disruption: Disruption) -> Vec<Signal> {
    let felt = |row: &&Row| effect(row.signal, disruption) != Passes;
    TABLE.iter().filter(felt).map(|row| row.signal).collect()
}

/// Those whom a step would hurt, and whose harm nobody took upon himself.
///
/// `ports` are the interfaces that the step is about: other ports of the device feel a reset only.
/// The default route is left to [`crate::management`], which knows consent to it.
pub fn blocking<'a>(
    holders: &'a [Holder],
    ports: &[&str],
    disruption: Disruption,
    overridden: &[String],
) -> Vec<&'a Holder> {
    let blocks = |holder: &&Holder| {
        let near = ports.contains(&holder.port.as_str()) || disruption == Disruption::NicReset;
        near && holder.signal != Signal::DefaultRoute
            && effect(holder.signal, disruption) == Blocks
            && !overridden.contains(&holder.id())
    };
    holders.iter().filter(blocks).collect()
}

/// Holders that a refusal spells out; the rest is counted.
const SPELLED_MAX: usize = 8;

/// Rules on a step of `nic` that traffic feels by `disruption`.
pub fn judge(
    nic: &str,
    holders: &[Holder],
    ports: &[&str],
    disruption: Disruption,
    overridden: &[String],
) -> Ruling {
    let blocking = blocking(holders, ports, disruption, overridden);
    if blocking.is_empty() {
        return Ruling::Allowed;
    }
    let harm = match disruption {
        Disruption::None => "touches it",
        Disruption::QueueReset => "stops its queues",
        Disruption::LinkFlap => "drops its link",
        Disruption::NicReset => "resets it",
    };
    let mut words: Vec<String> =
        blocking.iter().take(SPELLED_MAX).map(|holder| holder.to_string()).collect();
    if blocking.len() > SPELLED_MAX {
        words.push(format!("and {} more", blocking.len() - SPELLED_MAX));
    }
    let mut ids: Vec<String> = blocking.iter().map(|holder| holder.id()).collect();
    ids.sort();
    ids.dedup();
    ids.truncate(SPELLED_MAX);
    Ruling::Refused(Refusal {
        rule: "in-use",
        why: format!("{nic} is in use, and a step {harm}: {}", words.join("; ")),
        satisfy: format!(
            "let them leave {nic} first, or take the harm upon yourself by --override-hazard {}",
            ids.join(" --override-hazard ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Disruption; 3] =
        [Disruption::QueueReset, Disruption::LinkFlap, Disruption::NicReset];

    fn holder(signal: Signal, certainty: Certainty) -> Holder {
        let process = Some(Process { pid: 7, name: "feed d".to_owned(), uid: Some(0) });
        let (port, what, how) = ("eth1".to_owned(), "eth1".to_owned(), "holds it".to_owned());
        Holder { signal, port, what, process, how, certainty }
    }

    #[test]
    fn every_signal_has_one_row_with_the_name_it_is_written_by() {
        for row in TABLE {
            let same = TABLE.iter().filter(|other| other.signal == row.signal);
            assert_eq!(same.count(), 1, "{}", row.name);
            let spelled: String = format!("{:?}", row.signal)
                .chars()
                .flat_map(|c| c.is_uppercase().then_some('-').into_iter().chain(c.to_lowercase()))
                .collect();
            assert_eq!(spelled.trim_start_matches('-'), row.name);
            assert!(row.why.len() > 15, "{}", row.name);
            // More disruption never hurts less.
            let harm = |effect: Effect| effect as u8;
            assert!(harm(row.queue_reset) <= harm(row.link_flap), "{}", row.name);
            assert!(harm(row.link_flap) <= harm(row.nic_reset), "{}", row.name);
        }
        // The enum's last is the table's last: none was left out between.
        assert_eq!(TABLE.len(), Signal::Bmc as usize + 1);
    }

    #[test]
    fn one_holder_suffices_and_not_knowing_is_no_permission() {
        for row in TABLE {
            for disruption in ALL {
                for certainty in [Certainty::InUse, Certainty::Unknown] {
                    let holders = [holder(row.signal, certainty)];
                    let refused = judge("eth1", &holders, &["eth1"], disruption, &[]);
                    let blocks = effect(row.signal, disruption) == Blocks
                        && row.signal != Signal::DefaultRoute;
                    assert_eq!(refused != Ruling::Allowed, blocks, "{} {disruption:?}", row.name);
                }
            }
        }
        assert_eq!(judge("eth1", &[], &["eth1"], Disruption::NicReset, &[]), Ruling::Allowed);
    }

    #[test]
    fn a_refusal_names_process_pid_and_way_and_what_lifts_it() {
        let holders = [holder(Signal::Udp, Certainty::InUse)];
        let refused = judge("eth1", &holders, &["eth1"], Disruption::LinkFlap, &[]);
        let Ruling::Refused(refusal) = refused else { panic!("allowed") };
        assert_eq!(refusal.rule, "in-use");
        assert_eq!(
            refusal.why,
            "eth1 is in use, and a step drops its link: feed d (pid 7): holds it"
        );
        assert!(refusal.satisfy.contains("--override-hazard held:udp:feed_d"), "{refusal}");
        let taken = ["held:udp:feed_d".to_owned()];
        let allowed = judge("eth1", &holders, &["eth1"], Disruption::LinkFlap, &taken);
        assert_eq!(allowed, Ruling::Allowed);
    }

    #[test]
    fn another_port_feels_a_reset_only() {
        let holders = [holder(Signal::Tcp, Certainty::InUse)];
        let of = |disruption| judge("eth2", &holders, &["eth2"], disruption, &[]);
        assert_eq!(of(Disruption::LinkFlap), Ruling::Allowed);
        assert_ne!(of(Disruption::NicReset), Ruling::Allowed);
    }
}
