//! `nicmend reflect`: answers probes until Ctrl-C, then says what it did.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{Common, Done, out, signals::Wishes};
use crate::{
    measure::{
        peer::PORT,
        reflector::{Config, Reflector, Stats},
    },
    runs::{Declined, Exit},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen, UDP and TCP; every address and port 862 unless given.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// At most this many TCP connections at a time.
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Close a TCP connection that is silent, or slow with one message, for this long.
    #[arg(long, value_name = "DURATION", value_parser = playbooks::parse::duration)]
    #[arg(default_value = "30s")]
    pub idle: Duration,
    /// Answer at most this many packets a second from one source address.
    #[arg(long, value_name = "PACKETS")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_max: Option<u32>,
}

pub fn run(common: &Common, args: &Args) -> Done {
    let wishes = Wishes::take(None)
        .map_err(|e| Declined::new(Exit::Failed, "signals", format!("take over signals: {e}")))?;
    let reflector = bind(args)?;
    let local = reflector.local();
    if common.json {
        out::json_line(&serde_json::json!({ "listening": local.to_string() }));
    } else {
        out::line(&format!("listening on {local}, UDP (STAMP, RFC 8762) and TCP"));
    }
    let stats = reflector.run(&|| wishes.stop().is_some())?;
    if common.json {
        out::json_line(&stats);
    } else {
        print(&stats);
    }
    Ok(Exit::Done)
}

fn bind(args: &Args) -> Result<Reflector, Declined> {
    let everywhere = |ip: IpAddr| SocketAddr::new(ip, PORT);
    let config = |listen| Config {
        connections_max: usize::from(args.connections),
        idle: args.idle,
        rate_max: args.rate_max,
        ..Config::new(listen)
    };
    if let Some(listen) = args.listen {
        return Ok(Reflector::bind(config(listen))?);
    }
    // `::` takes IPv4 too; a host without IPv6 has only the other.
    Reflector::bind(config(everywhere(Ipv6Addr::UNSPECIFIED.into()))).or_else(|fault| {
        Reflector::bind(config(everywhere(Ipv4Addr::UNSPECIFIED.into()))).map_err(|_| fault.into())
    })
}

fn print(stats: &Stats) {
    out::line(&format!(
        "reflected {} packets and {} TCP messages on {} connections",
        stats.reflected, stats.tcp_messages, stats.tcp_connections
    ));
    let refused = [
        (stats.malformed, "malformed packets"),
        (stats.refused_loops, "packets that were some reflector's replies"),
        (stats.refused_rate, "packets over the rate of their source"),
        (stats.send_failed, "replies that could not be sent"),
        (stats.unstamped, "packets without a kernel stamp, timed in user space"),
        (stats.tcp_malformed, "TCP connections that spoke something else"),
        (stats.tcp_refused, "TCP connections over the limit"),
        (stats.tcp_timed_out, "TCP connections timed out"),
    ];
    for (count, what) in refused.into_iter().filter(|(count, _)| *count > 0) {
        out::line(&format!("{count:>9} {what}"));
    }
}

/// `ADDR:PORT`, `[IPv6]:PORT`, or an address alone.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let alone = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    text.parse()
        .or_else(|_| alone.map(|ip| SocketAddr::new(ip, PORT)))
        .map_err(|_| "an address, or ADDR:PORT, such as 0.0.0.0:862 or [::]:862".to_owned())
}
