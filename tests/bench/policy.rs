//! What a policy decision costs: `bench-policy`.

// A benchmark times; that is its purpose.
#![allow(clippy::disallowed_methods)]

#[path = "../policy/random.rs"]
mod random;

use std::{
    collections::BTreeSet,
    hint::black_box,
    time::{Duration, Instant},
};

use policy::{
    decide::{decide, rule},
    request::{Action, Request},
    set::{Checked, PolicySet},
};
use random::Random;

/// A decision takes less, or this exits with 1.
const DECISION_MAX: Duration = Duration::from_micros(100);
const REQUESTS: usize = 20_000;
const LOADS: usize = 200;

fn main() {
    let load = |checked| PolicySet::load(&[], &BTreeSet::new(), checked).expect("they load");
    let set = load(Checked::Not);
    let mut random = Random::new(1);
    let mut requests: Vec<Request> = (0..REQUESTS).map(|_| random.request()).collect();
    println!("{} policies, {REQUESTS} requests of every shape", set.listed().count());
    let all = timed(&requests, |request| {
        black_box(rule(request, &set));
    });
    row("decide, every request", &all);
    requests.retain(|request| request.action == Action::Apply);
    let (allowed, refused): (Vec<Request>, Vec<Request>) =
        requests.into_iter().partition(|request| rule(request, &set).allowed);
    let whole = |request: &Request| {
        black_box(decide(request, &set));
    };
    row("decide, apply allowed, with digest", &timed(&allowed, whole));
    row("decide, apply refused, with what would satisfy", &timed(&refused[..500], whole));
    let rounds: Vec<usize> = (0..LOADS).collect();
    row(
        "load the shipped policies",
        &timed(&rounds, |_| {
            black_box(load(Checked::Before));
        }),
    );
    row(
        "load and validate them",
        &timed(&rounds, |_| {
            black_box(load(Checked::Not));
        }),
    );
    let p99 = all[all.len() * 99 / 100];
    if p99 > DECISION_MAX {
        println!("p99 of a decision is above {DECISION_MAX:?}");
        std::process::exit(1);
    }
}

/// How long each took, sorted.
fn timed<T>(items: &[T], act: impl Fn(&T)) -> Vec<Duration> {
    let one = |item: &T| {
        let from = Instant::now();
        act(item);
        from.elapsed()
    };
    let mut times: Vec<Duration> = items.iter().map(one).collect();
    times.sort_unstable();
    times
}

fn row(what: &str, times: &[Duration]) {
    let us = |time: Duration| time.as_nanos() as f64 / 1e3;
    let at = |share: usize| us(times[(times.len() * share / 100).min(times.len() - 1)]);
    println!("{what:<50} n {:>6}  p50 {:>9.1} us  p99 {:>9.1} us", times.len(), at(50), at(99));
}
