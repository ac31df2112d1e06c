//! A peer that stopped answering: is it the peer, or the NIC?

use std::time::Duration;

use crate::{fault::Result, measure::peer::Peer};

use super::{Options, clock, sockets::Way, tcp, udp};

use playbooks::playbook::Transport;

/// A second way to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Second {
    /// Another reflector, asked by the same NIC.
    Peer(Peer),
    /// The same reflector, asked by another NIC.
    Nic(Way),
}

/// Who is at fault, with the finding in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dead {
    /// Nobody: the peer answers after all.
    Nobody(String),
    Peer(String),
    Nic(String),
    /// It cannot be told.
    Unknown(String),
}

/// Asks the silent peer once more, then by the second path, each for at most `limit`.
pub fn confirm_dead(
    peer: &Peer,
    options: &Options,
    second: Option<&Second>,
    limit: Duration,
) -> Result<Dead> {
    let nic = options.way.nic.clone().unwrap_or_else(|| "the routed NIC".to_owned());
    if answers(peer, &options.way, options.transport, limit)? {
        return Ok(Dead::Nobody(format!("{peer} answers by {nic} after all")));
    }
    let dead = match second {
        None => Dead::Unknown(format!(
            "{peer} does not answer by {nic}; without a second peer or NIC it cannot be told which is at \
             fault"
        )),
        Some(Second::Peer(other)) => {
            if answers(other, &options.way, options.transport, limit)? {
                Dead::Peer(format!("{peer} is dead: {other} answers by {nic}"))
            } else {
                Dead::Nic(format!("{nic} or its path is dead: neither {peer} nor {other} answers"))
            }
        }
        Some(Second::Nic(way)) => {
            let other = way.nic.clone().unwrap_or_else(|| "another path".to_owned());
            if answers(peer, way, options.transport, limit)? {
                Dead::Nic(format!("{nic} or its path is dead: {peer} answers by {other}"))
            } else {
                Dead::Peer(format!("{peer} is dead: it answers neither by {nic} nor by {other}"))
            }
        }
    };
    Ok(dead)
}

/// Whether one of a few packets is answered.
fn answers(peer: &Peer, way: &Way, transport: Transport, limit: Duration) -> Result<bool> {
    const TRIES: u32 = 5;
    let address = peer.resolve(limit)?;
    for attempt in 0..TRIES {
        let wait = limit / TRIES;
        let began = clock::monotonic_ns();
        let answer = match transport {
            Transport::Udp => udp::ping(way, address, 0, attempt + 1, wait),
            Transport::Tcp => tcp::ping(way, address, wait),
        };
        if answer.is_ok() {
            return Ok(true);
        }
        // A refusal or a dead link fails at once: the next try is worth its share of the time.
        clock::sleep_until(began + wait.as_nanos() as u64);
    }
    Ok(false)
}
