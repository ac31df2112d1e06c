//! `kill -9` at random moments of a run, then `nicmend recover`: the kernel's own tools must show
//! either every original or, where the log says committed, every new value.
//!
//! `NICMEND_KILLS` says how many (60), `NICMEND_SEED` from which seed; both are printed.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[path = "run/exchange.rs"]
mod exchange;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, SystemTime},
};

use nix::sys::signal::Signal;

use exchange::{Exchange, finished, signal};

const MANY: &str = r#"
apiVersion: nicmend/v1
kind: Playbook
metadata: { name: kernel-kill, version: 1.0.0, summary: Many settings at once }
stages:
  - name: all
    settings:
      feature.rx-gro: true
      feature.tx-scatter-gather: false
      napi.defer-hard-irqs: 2
      napi.gro-flush-timeout: 20000
      link.tx-queue-len: 500
      link.mtu: 1400
      rps.cpus: "0"
      xps.cpus: "0"
      sysctl.net.ipv4.tcp_autocorking: 0
      sysctl.net.ipv4.tcp_rmem: "4096 65536 4194304"
guardrails: { latency.p50: { no-worse-than: 1000% } }
verify: { transport: udp, settle: 2s, window: 300ms, rate: 1000, payload: 64 }
"#;
/// Lines of progress before the first write, and how many writes there are.
const WRITES: u64 = 9;

/// xorshift64*: enough to scatter moments, and the same from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

/// When to kill: so many lines of progress that begin with `word`, then so long.
struct Moment {
    word: &'static str,
    lines: u64,
    after: Duration,
    /// Stopped at the first write, so that the kill falls into the way back.
    stopped: bool,
}

fn moment(random: &mut Random) -> Moment {
    let us = |random: &mut Random, limit| Duration::from_micros(random.below(limit));
    let (word, lines, after) = match random.below(20) {
        0 => ("", 0, us(random, 40_000)),
        1 => ("measure", 1, us(random, 300_000)),
        2..=10 => ("write", 1 + random.below(WRITES), us(random, 3_000)),
        11..=12 => ("measure", 2, us(random, 300_000)),
        13..=14 => ("judge", 1, us(random, 4_000)),
        15..=17 => {
            return Moment { word: "revert", lines: 1, after: us(random, 6_000), stopped: true };
        }
        _ => ("never", 1, Duration::ZERO),
    };
    Moment { word, lines, after, stopped: false }
}

#[test]
fn whatever_the_moment_all_or_nothing_is_left() {
    let Some(exchange) = Exchange::new("whatever_the_moment_all_or_nothing_is_left") else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = number("NICMEND_KILLS").unwrap_or(60);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let seed: u64 = number("NICMEND_SEED").unwrap_or(clock.as_nanos() as u64 | 1);
    println!("NICMEND_SEED={seed} NICMEND_KILLS={rounds}");
    let mut random = Random(seed);
    let playbook = exchange.playbook("many", MANY);
    let before = exchange.witness();
    let mended = mended(&exchange, &playbook, &before);
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for round in 0..rounds {
        let ending = one(&exchange, &playbook, &mut random, [&before, &mended])
            .unwrap_or_else(|why| panic!("round {round}, NICMEND_SEED={seed}: {why}"));
        *counts.entry(ending).or_default() += 1;
    }
    for ((phase, ending), count) in &counts {
        println!("{count:>4}  killed in {phase:<12} -> {ending}");
    }
    let of = |word: &str| counts.keys().any(|(_, ending)| ending == word);
    assert!(of("committed") && of("reverted"), "the kills did not spread: {counts:?}");
}

/// One run that nobody disturbs: how the machine looks when everything is in force.
fn mended(exchange: &Exchange, playbook: &str, before: &str) -> String {
    let output = finished(exchange.apply(playbook).spawn().expect("start nicmend"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mended = exchange.witness();
    for line in [
        "mtu:1400",
        "tx_queue_len:500",
        "gro_flush_timeout:20000",
        "napi_defer_hard_irqs:2",
        "generic-receive-offload: on",
        "tx-scatter-gather: off",
        "net.ipv4.tcp_autocorking = 0",
        "net.ipv4.tcp_rmem = 4096\t65536\t4194304",
    ] {
        assert!(mended.contains(line), "{line} is not in {mended}");
    }
    let output = exchange.done(&["revert", "last"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(exchange.witness(), before, "after the undisturbed run's revert");
    mended
}

/// One run, one kill, one recovery (sometimes two, the first of them killed too).
fn one(
    exchange: &Exchange,
    playbook: &str,
    random: &mut Random,
    [before, mended]: [&str; 2],
) -> Result<(String, String), String> {
    let runs = last(exchange).0;
    kill_at(exchange, playbook, &moment(random));
    let (id, _, phase) = last(exchange);
    let phase = if id == runs { "no run yet".to_owned() } else { phase };
    if random.below(4) == 0 {
        let mut recovery = exchange.nicmend(&["recover"]).spawn().expect("start nicmend");
        std::thread::sleep(Duration::from_micros(random.below(15_000)));
        let _ = recovery.kill();
        let _ = recovery.wait();
    }
    let output = exchange.done(&["recover"]);
    if output.status.code() != Some(0) {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("killed in {phase}: recover: {}: {said}", output.status));
    }
    let (ended, state, _) = last(exchange);
    let ending = if ended == runs { "no run".to_owned() } else { state };
    let wanted = if ending == "committed" { mended } else { before };
    if exchange.witness() != wanted {
        let now = exchange.witness();
        return Err(format!("killed in {phase}, {ending}; wanted\n{wanted}\nfound\n{now}"));
    }
    if ending == "running" || ending == "stuck" {
        return Err(format!("killed in {phase}: the run is still {ending}"));
    }
    if ending == "committed" {
        let output = exchange.done(&["revert", "last"]);
        if output.status.code() != Some(0) || exchange.witness() != before {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("killed in {phase}: revert: {}: {said}", output.status));
        }
    }
    Ok((phase, ending))
}

/// Follows the run's progress to the moment, then kills it; a run that ends sooner is left alone.
fn kill_at(exchange: &Exchange, playbook: &str, moment: &Moment) {
    let mut child = exchange.apply(playbook).stdout(Stdio::null()).spawn().expect("start nicmend");
    let mut lines = BufReader::new(child.stderr.take().expect("its progress")).lines();
    let mut seen = 0;
    let mut stopped = !moment.stopped;
    while seen < moment.lines {
        // The pipe ends when the process does.
        let Some(Ok(line)) = lines.next() else { break };
        if !stopped && line.starts_with("write") {
            signal(&child, Signal::SIGINT);
            stopped = true;
        }
        seen += u64::from(line.starts_with(moment.word));
    }
    std::thread::sleep(moment.after);
    let _ = child.kill();
    child.wait().expect("the end of nicmend");
}

/// The newest run: its id, its state, and the last thing that its log says.
fn last(exchange: &Exchange) -> (String, String, String) {
    let output = exchange.done(&["runs", "last", "--json"]);
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let timeline = run["timeline"].as_array();
    let kind = timeline.and_then(|rows| rows.last()).map(|row| text(&row["kind"]));
    (text(&run["id"]), text(&run["state"]), kind.unwrap_or_default())
}
