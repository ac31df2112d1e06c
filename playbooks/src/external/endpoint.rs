//! `http://127.0.0.1:9100/metrics`: the address of a Prometheus endpoint.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};

/// A plain HTTP address whose host needs no name server: a window must not wait for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: Host,
    port: u16,
    /// With its query; begins with a slash.
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// 127.0.0.1, else ::1.
    Localhost,
}

const URL_MAX: usize = 500;

impl Endpoint {
    /// Where to connect, in order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let at = |address| SocketAddr::new(address, self.port);
        match self.host {
            Host::Address(address) => vec![at(address)],
            Host::Localhost => vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())],
        }
    }

    /// Host and port, as a request's Host field says them (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        match self.host {
            Host::Address(address) => SocketAddr::new(address, self.port).to_string(),
            Host::Localhost => format!("localhost:{}", self.port),
        }
    }

    pub fn path(&self) -> &str {
        &self.path
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    /// The error says what would be right.
    fn try_from(text: String) -> Result<Endpoint, String> {
        if text.len() > URL_MAX || !text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err(format!("at most {URL_MAX} visible ASCII characters"));
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err("`http://`: nothing else is spoken".to_owned());
        };
        if rest.contains('#') {
            return Err("no fragment (`#`): it never reaches a server".to_owned());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("no credentials: plain HTTP would show them to everybody".to_owned());
        }
        let (host, port) = split(authority)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Endpoint { host, port, path })
    }
}

/// `HOST[:PORT]`, port 80 where none is given.
fn split(authority: &str) -> Result<(Host, u16), String> {
    let (host, tail) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or("`[` without `]`")?;
            let address = host.parse::<Ipv6Addr>().map_err(|_| "an IPv6 address in brackets")?;
            (Host::Address(address.into()), tail)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, tail) = authority.split_at(end);
            (named(host)?, tail)
        }
    };
    let port = match tail.strip_prefix(':') {
        None if tail.is_empty() => 80,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().unwrap_or(0),
        None | Some(_) => 0,
    };
    if port == 0 {
        return Err("a port is 1 to 65535".to_owned());
    }
    Ok((host, port))
}

fn named(host: &str) -> Result<Host, String> {
    if host == "localhost" {
        return Ok(Host::Localhost);
    }
    let address = host.parse::<Ipv4Addr>().map_err(
        |_| "an IP address or `localhost` as the host: a window must not wait for a name server",
    )?;
    Ok(Host::Address(address.into()))
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Endpoint, String> {
        Endpoint::try_from(text.to_owned())
    }

    #[test]
    fn addresses_as_people_write_them() {
        for (text, canonical) in [
            ("http://127.0.0.1:9100/metrics", "http://127.0.0.1:9100/metrics"),
            ("http://localhost/metrics?name=a", "http://localhost:80/metrics?name=a"),
            ("http://10.1.2.3", "http://10.1.2.3:80/"),
            ("http://10.1.2.3?x=1", "http://10.1.2.3:80/?x=1"),
            ("http://[::1]:9100/m", "http://[::1]:9100/m"),
        ] {
            let endpoint = read(text).unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(read(canonical).unwrap(), endpoint);
        }
        assert_eq!(read("http://localhost:9/").unwrap().addresses().len(), 2);
    }

    #[test]
    fn what_is_refused_says_why() {
        for (text, why) in [
            ("https://127.0.0.1/", "http://"),
            ("HTTP://127.0.0.1/", "http://"),
            ("127.0.0.1:9100", "http://"),
            ("http://desk.example/metrics", "name server"),
            ("http:///metrics", "name server"),
            ("http://user:secret@127.0.0.1/", "credentials"),
            ("http://127.0.0.1/#here", "fragment"),
            ("http://127.0.0.1:0/", "port"),
            ("http://127.0.0.1:65536/", "port"),
            ("http://127.0.0.1:+80/", "port"),
            ("http://127.0.0.1:/", "port"),
            ("http://127.1/", "name server"),
            ("http://[::1/", "without"),
            ("http://[::1]x/", "port"),
            ("http://[10.0.0.1]/", "IPv6"),
            ("http://127.0.0.1/a b", "visible"),
            ("http://127.0.0.1/a\r\nX: y", "visible"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        assert!(read(&format!("http://127.0.0.1/{}", "a".repeat(600))).is_err());
    }
}
