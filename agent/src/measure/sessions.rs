//! Passive figures of live TCP sessions: what the kernel itself knows of those that use the NIC.
//!
//! A session uses the NIC when its local address is one of the NIC's, or of what sits on it (its bond,
//! bridge, VLANs); the kernel is asked for those alone. Left out are this process's own (the probe's) and
//! those between two of these addresses, which never leave the host. A session counts once its round
//! trip was measured anew since the last look: an idle one says nothing of now.
//!
//! A look costs a walk over the kernel's table of sessions, so it is followed by a pause of at least
//! nine times as long.

pub(crate) mod diag;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::Path,
    sync::atomic::AtomicBool,
};

use playbooks::{
    External, Metric,
    external::{Better, Kind},
};

use super::{
    clock,
    external::{Gathered, Going, Look, Wall, watch},
    reading::Recorded,
};
use crate::{
    fault::{Fault, Result},
    host::{Host, nic},
    inventory,
};

use diag::Session;

/// Sessions looked at in one look, of either address family.
const SESSIONS_MAX: usize = 10_000;
/// A pause after a look, by the look's own length.
const PAUSE_TIMES: u64 = 9;

/// What the sessions of one window told.
pub(super) struct Told {
    pub(super) recorded: BTreeMap<String, Recorded>,
    pub(super) notes: Vec<String>,
}

/// Looks at the sessions of the NIC of this name until `over`; then says what came of them.
pub(super) struct Watcher<'a> {
    host: &'a dyn Host,
    nic: &'a str,
    rtt: Gathered,
    retransmits: Gathered,
    more: bool,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(host: &'a dyn Host, nic: &'a str) -> Watcher<'a> {
        let (rtt, retransmits) = (Gathered::default(), Gathered::default());
        Watcher { host, nic, rtt, retransmits, more: false }
    }

    pub(super) fn run(&mut self, over: &AtomicBool) {
        let addresses = match addresses(self.host, self.nic) {
            Ok(addresses) => addresses,
            Err(fault) => {
                self.rtt.take(Look::ended(fault.to_string()));
                self.retransmits.take(Look::ended(fault.to_string()));
                return;
            }
        };
        let wall = Wall::new();
        let mut track = Track::default();
        let mut rest_until_ns = 0;
        watch(External::EVERY, over, &mut || {
            let began = clock::monotonic_ns();
            if began < rest_until_ns {
                return Going::On;
            }
            let going = self.look(&addresses, &mut track, &wall);
            let now = clock::monotonic_ns();
            rest_until_ns = now.saturating_add(PAUSE_TIMES * (now - began));
            going
        });
    }

    fn look(&mut self, addresses: &[IpAddr], track: &mut Track, wall: &Wall) -> Going {
        let seen = match sessions(self.host, addresses) {
            Ok(seen) => seen,
            Err(fault) => {
                let mut look = Look::default();
                look.add(0, Err(fault.to_string()));
                self.retransmits.take(look.clone());
                return self.rtt.take(look);
            }
        };
        self.more |= seen.more;
        let now = wall.now_ns();
        let known = !track.known.is_empty();
        let moved = track.take(&seen.sessions);
        if let Some(rtt_ns) = moved.rtt_ns {
            self.rtt.take(Look::reading(now, rtt_ns as f64));
        }
        if known || !seen.sessions.is_empty() {
            self.retransmits.take(Look::reading(now, track.retransmits as f64));
        }
        Going::On
    }

    pub(super) fn finish(self, began_utc_ns: i64, length_ns: u64) -> Told {
        let frame = |kind| Recorded {
            kind,
            better: Better::Lower,
            every_ns: External::EVERY.as_nanos() as u64,
            readings: Vec::new(),
            refused: 0,
            trouble: None,
        };
        let mut told = Told { recorded: BTreeMap::new(), notes: Vec::new() };
        for (metric, gathered, kind) in [
            (Metric::TcpRtt, self.rtt, Kind::Gauge),
            (Metric::TcpSessionRetransmits, self.retransmits, Kind::Counter),
        ] {
            let (mut one, note) = gathered.recorded(frame(kind), began_utc_ns, length_ns);
            if one.readings.is_empty() && one.trouble.is_none() {
                one.trouble = Some(format!("no live TCP session of {} was heard", self.nic));
            }
            told.notes.extend(note.map(|note| format!("{metric}: {note}")));
            told.recorded.insert(metric.to_string(), one);
        }
        if self.more {
            let note = format!("more than {SESSIONS_MAX} TCP sessions: the others were left out");
            told.notes.push(note);
        }
        told
    }
}

/// Whether sessions can be listed at all.
pub(super) fn check(host: &dyn Host, nic: &str) -> Result<()> {
    sessions(host, &addresses(host, nic)?).map(|_| ())
}

fn addresses(host: &dyn Host, nic: &str) -> Result<Vec<IpAddr>> {
    let addresses = inventory::addresses(host, &nic::find(host, nic)?)?;
    if addresses.is_empty() {
        let act = format!("list the TCP sessions of {nic}");
        let cause = "it has no IP address, nor has what sits on it";
        return Err(Fault::new(crate::fault::Kind::Unsupported, act, cause));
    }
    Ok(addresses)
}

struct Seen {
    sessions: Vec<Session>,
    /// There are more than were looked at.
    more: bool,
}

/// The established sessions of these local addresses that leave the host and are not our own.
fn sessions(host: &dyn Host, addresses: &[IpAddr]) -> Result<Seen> {
    let mut seen = Seen { sessions: Vec::new(), more: false };
    for ask in diag::asks(addresses, SESSIONS_MAX + 1) {
        let answers = host.request(&ask)?;
        seen.more |= answers.len() > SESSIONS_MAX;
        let parsed = answers.iter().take(SESSIONS_MAX).filter_map(|answer| Session::parse(answer));
        seen.sessions.extend(parsed.filter(|s| !addresses.contains(&s.remote)));
    }
    if !seen.sessions.is_empty() {
        let own = own_sockets(host)?;
        seen.sessions.retain(|session| !own.contains(&session.inode));
    }
    Ok(seen)
}

/// Inodes of this process's sockets, from what its descriptors point at: `socket:[12345]`.
fn own_sockets(host: &dyn Host) -> Result<BTreeSet<u32>> {
    let folder = Path::new("/proc/self/fd");
    let inode = |name: &String| {
        // One that was closed meanwhile is no socket of ours any more.
        let target = host.target(&folder.join(name)).ok()?;
        target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(host.list(folder)?.iter().filter_map(inode).collect())
}

/// What was known of each session at the last look.
#[derive(Default)]
struct Track {
    known: HashMap<u64, Session>,
    /// Since the first look.
    retransmits: u64,
}

/// What a look adds.
struct Moved {
    /// The median over the sessions whose round trip was measured since the last look.
    rtt_ns: Option<u64>,
}

impl Track {
    fn take(&mut self, sessions: &[Session]) -> Moved {
        let mut rtts = Vec::new();
        for session in sessions {
            let Some(before) = self.known.get(&session.cookie) else { continue };
            let again = session.total_retransmits.wrapping_sub(before.total_retransmits);
            self.retransmits = self.retransmits.saturating_add(u64::from(again));
            if session.bytes_acked != before.bytes_acked && session.rtt_us > 0 {
                rtts.push(session.rtt_us);
            }
        }
        self.known = sessions.iter().map(|session| (session.cookie, *session)).collect();
        rtts.sort_unstable();
        let middle = rtts.len().saturating_sub(1) / 2;
        Moved { rtt_ns: rtts.get(middle).map(|&us| u64::from(us) * 1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sessions_that_moved_count_and_only_what_both_looks_saw() {
        let session = |cookie, rtt_us, bytes_acked, total_retransmits| Session {
            cookie,
            rtt_us,
            bytes_acked,
            total_retransmits,
            remote: "192.0.2.1".parse().unwrap(),
            inode: 0,
        };
        let mut track = Track::default();
        let first = [session(1, 100, 10, 7), session(2, 900, 10, 0), session(3, 50, 10, 4)];
        assert_eq!(track.take(&first).rtt_ns, None, "nothing is known of before");
        // The second idles, the third is gone, the fourth is new with a past of its own.
        let second = [session(1, 120, 20, 9), session(2, 900, 10, 0), session(4, 5, 99, 1000)];
        assert_eq!(track.take(&second).rtt_ns, Some(120_000));
        assert_eq!(track.retransmits, 2);
        let third = [session(1, 130, 30, 9), session(2, 900, 11, 1), session(4, 5, 100, 1000)];
        assert_eq!(track.take(&third).rtt_ns, Some(130_000));
        assert_eq!(track.retransmits, 3);
        assert_eq!(track.take(&[]).rtt_ns, None);
    }
}
