//! `nicmend probe`: latency now, as a histogram, quantiles, and where the time went.

use std::{fmt::Write, net::IpAddr, path::PathBuf, time::Duration};

use playbooks::playbook::{Pattern, Transport};
use serde::Serialize;

use super::{Common, Done, out, place, signals::Wishes};
use crate::{
    fault::{Fault, Kind},
    host::nic,
    measure::{
        Meter, Sample, Window, WindowSpec, evidence,
        histogram::{self, Bin},
        peer::Peer,
        probe::{Options, Probe},
        quantiles,
        schedule::payload_range,
        sockets::{Stamps, Way},
    },
    runs::{Declined, Exit},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The reflector (`nicmend reflect`, or any STAMP reflector); port 862 unless given.
    #[arg(value_name = "HOST[:PORT]")]
    pub peer: String,
    /// Probe through this interface; routing decides unless given.
    #[arg(long, value_name = "IF")]
    pub nic: Option<String>,
    /// Probe from this address.
    #[arg(long, value_name = "ADDR")]
    pub source: Option<IpAddr>,
    /// How packets are sent and received: by the kernel's sockets.
    #[arg(long, value_enum, default_value_t = Via::Socket)]
    pub via: Via,
    /// STAMP over UDP, or request and response over TCP.
    #[arg(long, value_enum, default_value_t = Protocol::Udp)]
    pub transport: Protocol,
    /// How long to measure.
    #[arg(long = "for", value_name = "DURATION", value_parser = playbooks::parse::duration)]
    #[arg(default_value = "10s")]
    pub length: Duration,
    /// Packets a second, 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Bytes of UDP payload (44 to 65507) or TCP message (1 to 1048576).
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub payload: u32,
    /// calm, open-burst, close-burst, microburst or replay:FILE.
    #[arg(long, value_parser = pattern, default_value = "calm")]
    pub pattern: Pattern,
    /// Flows (source ports) to spread over; more are added until every receive queue is hit.
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub flows: u16,
    /// Take a reply for lost after this long, at least a second.
    #[arg(long, value_name = "DURATION", value_parser = playbooks::parse::duration)]
    #[arg(default_value = "1s")]
    pub timeout: Duration,
    /// Use the NIC's own timestamps where something else has switched them on. A NIC with room for a
    /// single send stamp may miss ptp4l's meanwhile.
    #[arg(long)]
    pub hardware_stamps: bool,
    /// Write every sample to this file, as `nicmend judge` reads it.
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    Socket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    Udp,
    Tcp,
}

/// What `--json` prints: times in nanoseconds, `null` for a quantile that falls on lost packets.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Found<'a> {
    peer: String,
    nic: Option<&'a str>,
    spec: &'a WindowSpec,
    latency: Vec<(&'static str, Option<u64>)>,
    histogram: Vec<Bin>,
    window: &'a Window,
}

pub fn run(common: &Common, args: &Args) -> Done {
    let wrong = |fault: Fault| Declined::new(Exit::Wrong, "peer", fault.to_string());
    let peer: Peer = args.peer.parse().map_err(wrong)?;
    let spec = spec(args)?;
    let wishes = Wishes::take(None)
        .map_err(|e| Declined::new(Exit::Failed, "signals", format!("take over signals: {e}")))?;
    let stop = || wishes.stop().is_some();
    let host = place::machine()?;
    if let Some(nic) = &args.nic {
        nic::find(&host, nic).map_err(wrong)?;
    }
    let mut options =
        Options::new(Way { nic: args.nic.clone(), source: args.source }, spec.transport);
    options.timeout = args.timeout;
    if args.hardware_stamps {
        options.stamps = Stamps::BothAndHardware;
    }
    let mut probe = Probe::open(&host, &peer, options)?;
    probe.settle(Duration::from_secs(5), &stop).map_err(|fault| {
        let silent = fault.kind == Kind::Gone;
        let hint = if silent { format!("; {}", place::REFLECTOR) } else { String::new() };
        Declined::new(Exit::Failed, "peer", format!("{fault}{hint}"))
    })?;
    out::remark(&format!("measure   {:.1} s, Ctrl-C ends it early", args.length.as_secs_f64()));
    let window = probe.window(&spec, &stop)?;
    if let Some(file) = &args.samples {
        save(&window, file)?;
    }
    let found = Found {
        peer: peer.to_string(),
        nic: probe.nic(),
        spec: &spec,
        latency: latency(&window.samples),
        histogram: histogram::histogram(&window.samples),
        window: &window,
    };
    if common.json {
        out::json(&found.as_json());
    } else {
        out::line(render(&found).trim_end());
    }
    Ok(Exit::Done)
}

fn spec(args: &Args) -> Result<WindowSpec, Declined> {
    let transport = match args.transport {
        Protocol::Udp => Transport::Udp,
        Protocol::Tcp => Transport::Tcp,
    };
    let (least, most) = payload_range(transport);
    if !(least..=most).contains(&args.payload) {
        let why = format!("--payload {}: {least} to {most} bytes", args.payload);
        return Err(Declined::new(Exit::Wrong, "payload", why));
    }
    Ok(WindowSpec {
        transport,
        length: args.length,
        rate: args.rate,
        payload: args.payload,
        pattern: args.pattern.clone(),
        flows: args.flows,
    })
}

fn pattern(text: &str) -> Result<Pattern, String> {
    match text {
        "calm" => Ok(Pattern::Calm),
        "open-burst" => Ok(Pattern::OpenBurst),
        "close-burst" => Ok(Pattern::CloseBurst),
        "microburst" => Ok(Pattern::Microburst),
        other => match other.strip_prefix("replay:") {
            Some(file) if !file.is_empty() => Ok(Pattern::Replay(file.to_owned())),
            Some(_) | None => {
                Err("calm, open-burst, close-burst, microburst or replay:FILE".to_owned())
            }
        },
    }
}

fn save(window: &Window, file: &std::path::Path) -> Result<(), Declined> {
    let bytes = evidence::write(&window.samples);
    std::fs::write(file, bytes).map_err(|error| {
        let why = format!("write {}: {error}", file.display());
        Declined::new(Exit::Failed, "samples", why)
    })
}

fn latency(samples: &[Sample]) -> Vec<(&'static str, Option<u64>)> {
    const AT: [(&str, f64); 6] = [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p99.9", 0.999),
        ("p99.99", 0.9999),
        ("max", 1.0),
    ];
    let sorted = quantiles::sorted_latencies(samples);
    let at = |fraction| quantiles::quantile(&sorted, fraction).filter(|&ns| ns != Sample::LOST);
    AT.map(|(name, fraction)| (name, at(fraction))).into()
}

impl Found<'_> {
    /// Quantiles as an object, in their order.
    fn as_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!(self);
        let latency = self.latency.iter().map(|(name, ns)| ((*name).to_owned(), (*ns).into()));
        value["latency"] = serde_json::Value::Object(latency.collect());
        value
    }
}

fn render(found: &Found<'_>) -> String {
    let (window, spec) = (found.window, found.spec);
    let mut text = String::new();
    // Writing into a String cannot fail.
    let mut line = |l: String| {
        let _ = writeln!(text, "{l}");
    };
    let by = found.nic.map(|nic| format!(" by {nic}")).unwrap_or_default();
    let transport = match spec.transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    };
    line(format!(
        "{}{by}: {transport}, {} bytes, {}/s, {:.1} s",
        found.peer,
        spec.payload,
        spec.rate,
        window.length_ns as f64 / 1e9
    ));
    let due = window.samples.len().max(1) as f64;
    line(format!(
        "sent {}, lost {} ({:.3} %), late {}, duplicated {}, reordered {}",
        window.sent,
        window.lost,
        100.0 * window.lost as f64 / due,
        window.late,
        window.duplicated,
        window.reordered
    ));
    line(String::new());
    for bar in bars(&found.histogram) {
        line(bar);
    }
    line(String::new());
    let shown = |ns: &Option<u64>| out::time(ns.map_or(f64::INFINITY, |ns| ns as f64));
    let row = |cells: [String; 5]| {
        let [name, a, b, c, d] = cells;
        format!("{name:<14}{a:>11}{b:>11}{c:>11}{d:>11}")
    };
    let names: Vec<String> =
        found.latency.iter().map(|(name, ns)| format!("{name} {}", shown(ns))).collect();
    line(format!("latency  {}", names.join("   ")));
    line(String::new());
    line(row(["where", "p50", "p99", "p99.9", "max"].map(str::to_owned)));
    for part in ["sender", "sender-stack", "queued", "wire", "reflector", "receiver"] {
        if let Some(q) = window.split.get(part) {
            let times = [q.p50, q.p99, q.p999, q.max].map(|ns| out::time(ns as f64));
            let [a, b, c, d] = times;
            line(row([part.to_owned(), a, b, c, d]));
        }
    }
    for note in remarks(window) {
        line(note);
    }
    text
}

/// Stamps, queues, drops and notes: what the figures rest on.
fn remarks(window: &Window) -> Vec<String> {
    let list = |counts: Vec<(&String, String)>| {
        let words: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        words.join(", ")
    };
    let stamps = window.stamps.iter().map(|(name, n)| (name, n.to_string())).collect();
    let mut lines = vec![String::new(), format!("stamps: {}", list(stamps))];
    if !window.per_queue.is_empty() {
        let queues: Vec<String> = window.per_queue.iter().map(u64::to_string).collect();
        lines.push(format!("packets by receive queue: {}", queues.join(" ")));
    }
    let drops = window.drops.iter().filter(|(_, n)| **n > 0);
    let drops: Vec<(&String, String)> = drops.map(|(name, n)| (name, n.to_string())).collect();
    if !drops.is_empty() {
        lines.push(format!("drops: {}", list(drops)));
    }
    lines.extend(window.cut_short.iter().map(|why| format!("cut short: {why}")));
    lines.extend(window.notes.iter().map(|note| format!("note: {note}")));
    lines
}

/// A line a bin. Bars are logarithmic, so that one packet in a million is seen beside the rest.
fn bars(bins: &[Bin]) -> Vec<String> {
    const WIDTH: f64 = 40.0;
    let length = |count: u64| ((count + 1) as f64).log2();
    let most = bins.iter().map(|b| length(b.count)).fold(1.0, f64::max);
    let bar = |bin: &Bin| {
        let width = (WIDTH * length(bin.count) / most).round() as usize;
        let from = out::time(bin.from_ns as f64);
        let count = bin.count;
        format!(
            "{from:>10}  {}{count}",
            if width == 0 { String::new() } else { "#".repeat(width) + " " }
        )
    };
    bins.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_packet_is_seen_beside_a_million() {
        let bin = |from_ns, to_ns, count| Bin { from_ns, to_ns, count };
        let bins =
            [bin(10_000, 20_000, 1_000_000), bin(20_000, 50_000, 0), bin(50_000, 100_000, 1)];
        let bars = bars(&bins);
        assert_eq!(bars[0], format!("   10.0 us  {} 1000000", "#".repeat(40)));
        assert_eq!(bars[1], "   20.0 us  0");
        assert_eq!(bars[2], "   50.0 us  ## 1");
    }

    #[test]
    fn a_quantile_on_lost_packets_is_null() {
        let sample = |latency_ns| Sample { due_ns: 0, latency_ns, flow: 0 };
        let found = latency(&[sample(5), sample(7), sample(Sample::LOST)]);
        assert_eq!((found[0], found[5]), (("p50", Some(7)), ("max", None)));
    }
}
