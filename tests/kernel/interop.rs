//! STAMP with somebody else's implementation, the `stamp-suite` crate, as reflector and as sender.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself, and starts the other program

#[allow(dead_code)] // made for the probe's own tests, which need all of it
#[path = "probe/link.rs"]
mod link;

use std::{
    io::Read,
    net::UdpSocket,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use agent::{
    host::linux::Linux,
    measure::{
        Meter, WindowSpec, clock,
        probe::{Options, Probe},
        sockets::Way,
        stamp::{ErrorEstimate, Format, Reply, Request},
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use playbooks::playbook::{Pattern, Transport};
use serde_json::Value;
use tests::skip;

use link::{FAR, FAR6, Link, NEAR_NIC, ready};

/// What tests/all installs.
const VERSION: &str = "stamp-suite 1.0.0";
const PORT: u16 = 8620;
const NEVER: &dyn Fn() -> bool = &|| false;

/// Where tests/all puts it: beside this build.
fn stamp_suite(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    // target/release/deps/this
    let program = test.ancestors().nth(3).unwrap().join("interop/bin/stamp-suite");
    let version = Command::new(&program).arg("--version").output();
    if version.is_ok_and(|said| said.stdout.trim_ascii() == VERSION.as_bytes()) {
        return Some(program);
    }
    skip(name, &format!("{VERSION} is not in {} (tests/all installs it)", program.display()));
    None
}

/// Their reflector at the far end, ended with its test.
struct Theirs(Child);

impl Theirs {
    fn start(link: &Link, program: PathBuf, address: &str, format: &str) -> Theirs {
        let mut command = Command::new(program);
        command.args(["-i", "-S", address, "-o", &PORT.to_string(), "-K", format]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        Theirs(link.at_far(move || command.spawn().unwrap()))
    }

    /// What it said of its work.
    fn stop(mut self) -> String {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn our_probe_measures_by_their_reflector() {
    const NAME: &str = "our_probe_measures_by_their_reflector";
    if !ready(NAME) {
        return;
    }
    let Some(program) = stamp_suite(NAME) else { return };
    let link = Link::new(1);
    let host = Linux::new().unwrap();
    for (address, format) in [(FAR, "NTP"), (FAR6, "PTP")] {
        let theirs = Theirs::start(&link, program.clone(), address, format);
        let peer = agent::measure::peer::Peer { host: address.to_owned(), port: PORT };
        let way = Way { nic: Some(NEAR_NIC.to_owned()), source: None };
        let options = Options::new(way, Transport::Udp);
        let mut probe = Probe::open(&host, &peer, options).unwrap();
        probe.settle(Duration::from_secs(10), NEVER).unwrap();
        for payload in [44, 45, 64, 512, 1400] {
            let spec = WindowSpec {
                transport: Transport::Udp,
                length: Duration::from_millis(500),
                rate: 400,
                payload,
                pattern: Pattern::Calm,
                flows: 2,
            };
            let window = probe.window(&spec, NEVER).unwrap();
            println!("{address} {format} {payload}: {:?} {:?}", window.split, window.notes);
            assert_eq!((window.sent, window.lost), (200, 0), "{payload}: {:?}", window.notes);
            assert_eq!((window.duplicated, window.reordered), (0, 0), "{payload}");
            // T2 and T3 are within the round trip of every packet, and a reflector takes time.
            let impossible = window.notes.iter().any(|note| note.contains("impossible"));
            assert!(!impossible, "{payload}: {:?}", window.notes);
            assert!(window.split["reflector"].p50 > 0, "{payload}: {:?}", window.split);
        }
        for ours in [Format::Ntp, Format::Ptp] {
            one_exchange(address, ours);
        }
        let said = theirs.stop();
        assert!(said.contains("Total packets dropped: 0"), "{said}");
    }
}

/// Every field of one reply of theirs.
fn one_exchange(address: &str, format: Format) {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let mapped = if address == FAR { format!("::ffff:{FAR}") } else { address.to_owned() };
    socket.connect((mapped.as_str(), PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let estimate = ErrorEstimate::ours(format);
    let request = Request { sequence: 4711, sent_ns: clock::realtime_ns(), estimate, ssid: 77 };
    let mut packet = [0; 100];
    assert!(request.write(&mut packet));
    socket.send(&packet).unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    let now_ns = clock::realtime_ns();
    let reply = Reply::read(&buffer[..length]).unwrap();
    println!("{address} asked in {format:?}: {reply:?}");
    assert_eq!(length, packet.len(), "as long as the request");
    assert_eq!((reply.sequence, reply.sender_sequence, reply.ssid), (4711, 4711, 77));
    assert_eq!((reply.sender_sent_ns, reply.sender_estimate), (request.sent_ns, estimate));
    assert_eq!(reply.sender_ttl, 64, "no router is in between");
    assert_ne!(reply.estimate.multiplier, 0);
    // One clock at both ends. Their NTP fractions may be a nanosecond short.
    assert!(request.sent_ns <= reply.received_ns + 1, "{reply:?}");
    assert!(reply.received_ns <= reply.sent_ns && reply.sent_ns <= now_ns, "{reply:?}");
    // The Extra Padding TLV comes back known and well-formed (RFC 8972 section 4).
    assert_eq!(buffer[44] & 0xe0, 0, "flags {:#04x}", buffer[44]);
}

#[test]
fn their_sender_measures_by_our_reflector() {
    const NAME: &str = "their_sender_measures_by_our_reflector";
    if !ready(NAME) {
        return;
    }
    let Some(program) = stamp_suite(NAME) else { return };
    let link = Link::new(1);
    let reflector = link.reflect();
    let port = reflector.port.to_string();
    // What is asked for beyond the base packet, and how many TLVs we do not know there are in it.
    let cases: [(&[&str], u64); 6] = [
        (&[], 0),
        (&["-K", "PTP"], 0),
        (&["--extra-padding", "16"], 0),
        (&["--extra-padding", "1300", "-K", "PTP"], 0),
        (&["--clock-synchronized", "--error-scale", "20", "--error-multiplier", "9"], 0),
        (&["--timestamp-info", "--location"], 2),
    ];
    let mut sent = 0;
    for address in [FAR, FAR6] {
        for (extra, unknown) in cases {
            let mut command = Command::new(&program);
            command.args(["-r", address, "-p", &port, "--ssid", "77", "-c", "100", "-d", "2"]);
            command.args(["-L", "2", "-R", "--output-format", "json"]).args(extra);
            if address == FAR6 {
                command.args(["-S", "::"]);
            }
            let output = command.output().unwrap();
            let packets = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{extra:?}: {packets}");
            let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
            satisfied(&summary, unknown, &format!("{address} {extra:?}"));
            each_in_order(&packets, 100);
            sent += 100;
        }
    }
    let stats = reflector.stop();
    assert_eq!((stats.reflected, stats.malformed, stats.refused_loops), (sent, 0, 0), "{stats:?}");
}

/// Their summary of 100 packets: nothing lost, nothing refused, times that are possible.
fn satisfied(summary: &Value, unknown: u64, case: &str) {
    let number = |path: &str| {
        let value = summary.pointer(path).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("{case}: no {path} in {summary}"))
    };
    println!("{case}: median {} ms, lost {}", number("/median_rtt_ms"), number("/packets_lost"));
    assert_eq!(number("/packets_received"), 100.0, "{case}: {summary}");
    for count in ["late", "duplicate", "unknown", "additional"] {
        assert_eq!(number(&format!("/measurements/{count}_replies")), 0.0, "{case} {count}");
    }
    let tlvs = "/measurements/tlv_validation";
    assert_eq!(number(&format!("{tlvs}/rejected_replies")), 0.0, "{case}: {summary}");
    assert_eq!(number(&format!("{tlvs}/flags/malformed")), 0.0, "{case}: {summary}");
    let unrecognized = number(&format!("{tlvs}/flags/unrecognized"));
    assert_eq!(unrecognized, unknown as f64 * 100.0, "{case}: {summary}");
    let quality = "/owd/clock_quality";
    assert_eq!(number(&format!("{quality}/samples")), 100.0, "{case}: {summary}");
    assert_eq!(number(&format!("{quality}/invalid_estimate")), 0.0, "{case}: {summary}");
    let ours = ErrorEstimate::ours(Format::Ntp);
    let estimate =
        ["scale", "multiplier"].map(|f| number(&format!("{quality}/last_reflector/{f}")));
    assert_eq!(estimate, [f64::from(ours.scale), f64::from(ours.multiplier)], "{case}");
    // One clock at both ends, so T2 is after T1, T4 after T3, and both within the round trip.
    for way in ["forward", "reverse"] {
        assert!(number(&format!("/owd/{way}_min_ms")) >= 0.0, "{case} {way}: {summary}");
        let most = number(&format!("/owd/{way}_max_ms"));
        assert!(most <= number("/max_rtt_ms") + 0.1, "{case} {way}: {summary}");
    }
}

/// `seq=0 rtt=0.123ms ttl=255 …` for each packet; they send with a TTL of 255.
fn each_in_order(said: &str, count: usize) {
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("seq=")).collect();
    assert_eq!(lines.len(), count, "{said}");
    for (sequence, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("seq={sequence} ")), "{line}");
        assert!(line.contains(" ttl=255 "), "{line}");
    }
}
