//! `HOST[:PORT]`: who answers the probe.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    str::FromStr,
    sync::mpsc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind, Result};

/// STAMP's port, and `nicmend reflect`'s.
pub const PORT: u16 = 862;

/// A reflector as the operator wrote it: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Peer {
    pub host: String,
    pub port: u16,
}

impl FromStr for Peer {
    type Err = Fault;

    /// `name`, `name:port`, `192.0.2.1:port`, `2001:db8::1`, `[2001:db8::1]:port`, `fe80::1%eth0`.
    fn from_str(text: &str) -> Result<Peer> {
        let wrong = |cause: &str| {
            Fault::new(Kind::Invalid, format!("read peer `{}`", text.escape_debug()), cause)
        };
        let (host, port) =
            split(text).ok_or_else(|| wrong("expected HOST, HOST:PORT or [IPv6]:PORT"))?;
        let port = match port {
            None => PORT,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
                Ok(0) | Err(_) => return Err(wrong("a port is 1 to 65535")),
                Ok(port) => port,
            },
            Some(_) => return Err(wrong("a port is 1 to 65535")),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:%".contains(&b);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
            return Err(wrong("not a host name or address"));
        }
        Ok(Peer { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for Peer {
    type Error = Fault;

    fn try_from(text: String) -> Result<Peer> {
        text.parse()
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> String {
        peer.to_string()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Peer {
    /// The first address of this peer, in at most `limit`. A literal never asks a name server.
    pub fn resolve(&self, limit: Duration) -> Result<SocketAddr> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, self.port));
        }
        let act = || format!("resolve {}", self.host);
        let (tell, answer) = mpsc::channel();
        let (host, port) = (self.host.clone(), self.port);
        // getaddrinfo(3) has no deadline of its own: a thread that it holds up is left behind, and ends
        // with the resolver's own time limit.
        std::thread::spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(|mut all| all.next());
            // Nobody may be waiting any more.
            let _ = tell.send(found);
        });
        match answer.recv_timeout(limit) {
            Ok(Ok(Some(address))) => Ok(address),
            Ok(Ok(None)) => Err(Fault::new(Kind::Gone, act(), "no address")),
            Ok(Err(error)) => Err(Fault::new(Kind::Gone, act(), error.to_string())),
            Err(_) => Err(Fault::new(Kind::Busy, act(), format!("no answer within {limit:?}"))),
        }
    }
}

/// Host and port, where the text has that shape.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return match tail.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => tail.is_empty().then_some((host, None)),
        };
    }
    match text.matches(':').count() {
        0 => Some((text, None)),
        1 => text.split_once(':').map(|(host, port)| (host, Some(port))),
        _ => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_as_people_write_them() {
        for (text, host, port) in [
            ("reflector", "reflector", 862),
            ("reflector.example:9000", "reflector.example", 9000),
            ("192.0.2.1", "192.0.2.1", 862),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("2001:db8::1", "2001:db8::1", 862),
            ("[2001:db8::1]:65535", "2001:db8::1", 65535),
            ("[::1]", "::1", 862),
            ("fe80::1%eth0", "fe80::1%eth0", 862),
        ] {
            let peer: Peer = text.parse().unwrap();
            assert_eq!((peer.host.as_str(), peer.port), (host, port), "{text}");
            assert_eq!(peer.to_string().parse::<Peer>().unwrap(), peer);
        }
        for text in
            ["", ":", ":862", "a:", "a:0", "a:65536", "a:+1", "[::1", "[::1]x", "a b", "a\n"]
        {
            assert!(text.parse::<Peer>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_literal_needs_no_resolver() {
        let peer: Peer = "[::1]:7".parse().unwrap();
        assert_eq!(peer.resolve(Duration::ZERO).unwrap(), "[::1]:7".parse().unwrap());
    }
}
