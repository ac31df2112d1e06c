//! What is measured and judged: `latency.p99`, `drops`, `nic.rx_missed_errors`, …

use std::fmt;

use serde::{Deserialize, Serialize};

/// A quantile in hundredths of a percent: p99.9 is `Quantile(9990)`. Exact, so it can be a map key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantile(pub u16);

impl Quantile {
    /// As a fraction between 0 and 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Metric {
    /// `latency.p50` … `latency.p99.99`; nanoseconds.
    LatencyQuantile(Quantile),
    /// `latency.max`; nanoseconds.
    LatencyMax,
    /// `latency.slow-ratio`: the share of samples slower than ten times the baseline's median.
    SlowRatio,
    /// `latency.storm-rate`: storms a minute.
    StormRate,
    /// `latency.loss-ratio`: the share of packets without a reply.
    LossRatio,
    /// `tcp.retransmit-ratio`: RetransSegs / OutSegs over the window.
    TcpRetransmitRatio,
    /// `drops`: every drop counter of the NIC and the host, summed over the window.
    Drops,
    /// `nic.<counter>`: one driver statistic, its delta over the window.
    NicCounter(String),
    /// `softnet.squeezed`: time_squeeze summed over CPUs, its delta over the window.
    SoftnetSqueezed,
    /// `tcp.rtt`: the kernel's smoothed round trip of live TCP sessions on the NIC; nanoseconds.
    TcpRtt,
    /// `tcp.session-retransmits`: segments that those sessions sent again over the window.
    TcpSessionRetransmits,
    /// `external.<name>`: a figure that the playbook's `metrics` say where to read; in its own unit.
    External(String),
}

/// What the names of figures from outside begin with.
pub const EXTERNAL: &str = "external.";

/// Readings that a window must hold before a median of them is judged.
pub const READINGS_MIN: u64 = 100;

/// The fixed names, for messages and completions; quantiles and `nic.*` are open.
pub const FIXED: &[&str] = &[
    "latency.max",
    "latency.slow-ratio",
    "latency.storm-rate",
    "latency.loss-ratio",
    "tcp.retransmit-ratio",
    "drops",
    "softnet.squeezed",
    "tcp.rtt",
    "tcp.session-retransmits",
];

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::LatencyQuantile(Quantile(q)) => {
                let (whole, part) = (q / 100, q % 100);
                match (part, part % 10) {
                    (0, _) => write!(f, "latency.p{whole}"),
                    (_, 0) => write!(f, "latency.p{whole}.{}", part / 10),
                    (_, _) => write!(f, "latency.p{whole}.{part:02}"),
                }
            }
            Metric::LatencyMax => f.write_str("latency.max"),
            Metric::SlowRatio => f.write_str("latency.slow-ratio"),
            Metric::StormRate => f.write_str("latency.storm-rate"),
            Metric::LossRatio => f.write_str("latency.loss-ratio"),
            Metric::TcpRetransmitRatio => f.write_str("tcp.retransmit-ratio"),
            Metric::Drops => f.write_str("drops"),
            Metric::NicCounter(name) => write!(f, "nic.{name}"),
            Metric::SoftnetSqueezed => f.write_str("softnet.squeezed"),
            Metric::TcpRtt => f.write_str("tcp.rtt"),
            Metric::TcpSessionRetransmits => f.write_str("tcp.session-retransmits"),
            Metric::External(name) => write!(f, "{EXTERNAL}{name}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{0}`")]
pub struct UnknownMetric(pub String);

impl TryFrom<String> for Metric {
    type Error = UnknownMetric;

    fn try_from(text: String) -> Result<Metric, UnknownMetric> {
        let metric = match text.as_str() {
            "latency.max" => Metric::LatencyMax,
            "latency.slow-ratio" => Metric::SlowRatio,
            "latency.storm-rate" => Metric::StormRate,
            "latency.loss-ratio" => Metric::LossRatio,
            "tcp.retransmit-ratio" => Metric::TcpRetransmitRatio,
            "drops" => Metric::Drops,
            "softnet.squeezed" => Metric::SoftnetSqueezed,
            "tcp.rtt" => Metric::TcpRtt,
            "tcp.session-retransmits" => Metric::TcpSessionRetransmits,
            other => open(other).ok_or(UnknownMetric(text))?,
        };
        Ok(metric)
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> String {
        metric.to_string()
    }
}

/// A metric of one of the open kinds: a quantile, a driver's counter, a figure from outside.
fn open(text: &str) -> Option<Metric> {
    if let Some(digits) = text.strip_prefix("latency.p") {
        return quantile(digits).map(Metric::LatencyQuantile);
    }
    if let Some(name) = text.strip_prefix("nic.") {
        return is_counter_name(name).then(|| Metric::NicCounter(name.to_owned()));
    }
    let name = text.strip_prefix(EXTERNAL)?;
    is_counter_name(name).then(|| Metric::External(name.to_owned()))
}

/// `50`, `99`, `99.9`, `99.99`: digits, at most two after the dot, above 0 and below 100.
fn quantile(digits: &str) -> Option<Quantile> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 2 || part.len() > 2 || !plain(whole) || !plain(part) {
        return None;
    }
    if digits.contains('.') && part.is_empty() {
        return None;
    }
    let hundredths =
        whole.parse::<u16>().ok()? * 100 + format!("{part:0<2}").parse::<u16>().ok()?;
    (hundredths > 0).then_some(Quantile(hundredths))
}

/// Driver statistics are short printable ASCII; a driver's own name may hold spaces or brackets.
pub(crate) fn is_counter_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| (0x20..0x7f).contains(&b));
    !name.is_empty() && name.len() <= 64 && plain && name.trim() == name && !name.contains("..")
}
