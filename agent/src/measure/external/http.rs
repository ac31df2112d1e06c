//! One GET over plain HTTP, bounded in time and bytes.
//!
//! HTTP/1.0 is asked for (RFC 1945): the body then ends with its length or with the connection, and no
//! server may send it in chunks (RFC 9112 section 6.1).

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use playbooks::external::Endpoint;

use super::shown;
use crate::measure::clock;

const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 4 << 20;

/// The body of a successful answer, as text.
pub(super) fn get(endpoint: &Endpoint, limit: Duration) -> Result<String, String> {
    let until = clock::monotonic_ns() + u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 4);
    let mut stream = connect(endpoint, until)?;
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: nicmend\r\nAccept: text/plain;version=0.0.4\r\n\
         Connection: close\r\n\r\n",
        endpoint.path(),
        endpoint.authority()
    );
    let patience = |stream: &TcpStream| {
        let left = left(until)?;
        let set = stream.set_read_timeout(Some(left)).and(stream.set_write_timeout(Some(left)));
        set.map_err(|error| error.to_string())
    };
    patience(&stream)?;
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Answer::default();
    let mut buffer = [0; 16 << 10];
    while !answer.is_whole()? {
        patience(&stream)?;
        match stream.read(&mut buffer) {
            Ok(0) => return answer.closed(),
            Ok(count) => answer.bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(late());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    answer.closed()
}

fn connect(endpoint: &Endpoint, until_ns: u64) -> Result<TcpStream, String> {
    let mut last = "no address".to_owned();
    for address in endpoint.addresses() {
        match TcpStream::connect_timeout(&address, left(until_ns)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("connect to {address}: {error}"),
        }
    }
    Err(last)
}

/// How much time is left, never zero: the socket options take that for no limit.
fn left(until_ns: u64) -> Result<Duration, String> {
    match until_ns.saturating_sub(clock::monotonic_ns()) {
        0 => Err(late()),
        left => Ok(Duration::from_nanos(left.max(1_000_000))),
    }
}

fn late() -> String {
    "no whole answer in time".to_owned()
}

/// What has come so far.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    head: Option<Head>,
}

#[derive(Clone, Copy)]
struct Head {
    /// Where the body begins.
    end: usize,
    length: Option<usize>,
}

impl Answer {
    /// Whether the body's announced length is there.
    fn is_whole(&mut self) -> Result<bool, String> {
        if self.head.is_none() {
            self.head = head(&self.bytes)?;
        }
        let Some(head) = self.head else { return Ok(false) };
        let body = self.bytes.len() - head.end;
        if body > BODY_BYTES_MAX || head.length.is_some_and(|length| length > BODY_BYTES_MAX) {
            return Err("the body is longer than 4 MiB".to_owned());
        }
        Ok(head.length.is_some_and(|length| body >= length))
    }

    /// The body, now that nothing more will come.
    fn closed(mut self) -> Result<String, String> {
        let Some(head) = self.head else {
            return Err("the answer ends before its body".to_owned());
        };
        let mut body = self.bytes.split_off(head.end);
        if let Some(length) = head.length {
            if body.len() < length {
                return Err(format!("{} of {length} bytes came", body.len()));
            }
            body.truncate(length);
        }
        String::from_utf8(body).map_err(|_| "the body is not UTF-8 text".to_owned())
    }
}

/// The head, once it is there.
fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let start = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let Some(end) = start.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match bytes.len() < HEAD_BYTES_MAX {
            true => Ok(None),
            false => Err("the head is longer than 16 KiB".to_owned()),
        };
    };
    let text = String::from_utf8_lossy(&start[..end]);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let mut words = status.split(' ');
    let version = words.next().unwrap_or_default();
    if !matches!(version, "HTTP/1.0" | "HTTP/1.1") || words.next() != Some("200") {
        return Err(format!("it answered `{}`", shown(status)));
    }
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let told = value.parse::<usize>().ok().filter(|_| digits);
                let told = told.ok_or_else(|| format!("its length is `{}`", shown(value)))?;
                if length.is_some_and(|length| length != told) {
                    return Err("it tells two lengths".to_owned());
                }
                length = Some(told);
            }
            "transfer-encoding" | "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                return Err(format!("its body is encoded: `{}`", shown(value)));
            }
            _ => {}
        }
    }
    Ok(Some(Head { end: end + 4, length }))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// What comes of a server that answers with these bytes and closes.
    fn answered(bytes: Vec<u8>) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            // A client that has had enough may have closed.
            let _ = stream.write_all(&bytes);
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let got = get(&Endpoint::try_from(url).unwrap(), Duration::from_secs(5));
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:"), "{request}");
        got
    }

    #[test]
    fn bodies_end_with_their_length_or_the_connection() {
        assert_eq!(answered(b"HTTP/1.0 200 OK\r\n\r\nup 1\n".to_vec()).unwrap(), "up 1\n");
        let told = b"HTTP/1.1 200 OK\r\nContent-length: 5\r\n\r\nup 1\ntrailing".to_vec();
        assert_eq!(answered(told).unwrap(), "up 1\n");
    }

    #[test]
    fn hostile_answers_are_refused() {
        let endless = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'a'; 5 << 20]].concat();
        let headless = [b"HTTP/1.0 200 OK\r\nX: ".to_vec(), vec![b'a'; 20 << 10]].concat();
        for (bytes, why) in [
            (&b""[..], "before its body"),
            (b"\x00\xff\r\n\r\n", "answered"),
            (b"HTTP/1.1 200 OK\r\n", "before its body"),
            (b"HTTP/1.1 500 Oops\r\n\r\nup 1\n", "500 Oops"),
            (b"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n", "301"),
            (b"HTTP/2 200\r\n\r\n", "HTTP/2"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n", "encoded"),
            (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "encoded"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1\n", "5 of 9 bytes"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nup 1\n", "its length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", "its length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nup", "4 MiB"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nup 1\n", "two"),
            (b"HTTP/1.0 200 OK\r\n\r\n\xff\xfe\n", "UTF-8"),
            (&endless, "4 MiB"),
            (&headless, "16 KiB"),
        ] {
            let refused = answered(bytes.to_vec()).unwrap_err();
            // A peer that resets a connection with unread bytes is refused as well.
            let known = refused.contains(why) || refused.contains("reset");
            assert!(
                known,
                "{:?}: {refused}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
            );
        }
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let endpoint = Endpoint::try_from(url).unwrap();
        assert!(get(&endpoint, Duration::from_millis(50)).unwrap_err().contains("in time"));
        drop(listener);
        assert!(get(&endpoint, Duration::from_secs(5)).unwrap_err().contains("connect to"));
    }
}
