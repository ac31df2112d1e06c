//! How far the probe's figures are from what happened: a delay that is known for every packet, and noise
//! that is the prober's own.

#![allow(clippy::disallowed_methods)] // a test works on the machine itself

#[allow(dead_code)] // made for the probe's own tests, which need all of it
#[path = "probe/link.rs"]
mod link;
#[path = "truth/noise.rs"]
mod noise;
#[path = "truth/wire.rs"]
mod wire;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent::{
    host::linux::Linux,
    measure::{
        Meter, Sample, WindowSpec,
        probe::{Options, Probe},
        sockets::Way,
    },
};
use playbooks::playbook::{Pattern, Transport};
use tests::{programs_or_skip, root_or_skip, skip};

use wire::{Held, Toward, Wire};

/// These tests need the processors to themselves, as far as that is to be had.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

const PAYLOAD: u32 = 64;
/// The claim of docs/verdict.md: at the median, by software stamps.
const TOLERANCE_NS: i64 = 1_000;
/// The delays that are added in each direction, nanoseconds. The first is the reference.
const DELAYS_NS: [u64; 5] = [0, 20_000, 100_000, 500_000, 2_000_000];
/// Each delay in each direction.
const CELLS: usize = 2 * DELAYS_NS.len();
const PER_CELL: usize = 500;
/// A packet every 4 ms: the longest hold both ways takes 3, and no queue grows behind it.
const RATE: u32 = 250;

/// Delays follow one another without order, so that none has the machine's quiet moments to itself.
fn cell(sequence: u32) -> usize {
    (sequence.wrapping_mul(0x9e37_79b9) >> 16) as usize % CELLS
}

fn delay(sequence: u32, toward: Toward) -> u64 {
    let cell = cell(sequence);
    let delayed = if cell < DELAYS_NS.len() { Toward::Reflector } else { Toward::Probe };
    if toward == delayed { DELAYS_NS[cell % DELAYS_NS.len()] } else { 0 }
}

fn median(mut values: Vec<i64>) -> i64 {
    assert!(values.len() > PER_CELL / 2, "{} samples", values.len());
    values.sort_unstable();
    values[values.len() / 2]
}

/// What one window says of one delay in one direction, packet by packet, nanoseconds.
#[derive(Default)]
struct Cell {
    latency: Vec<i64>,
    held: Vec<i64>,
}

/// Medians of a cell.
struct Row {
    latency: i64,
    held: i64,
    /// Latency less hold: everything that is not the hold.
    rest: i64,
}

impl Cell {
    /// Several as one.
    fn of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Cell {
        let mut all = Cell::default();
        for cell in cells {
            all.latency.extend(&cell.latency);
            all.held.extend(&cell.held);
        }
        all
    }

    fn row(&self) -> Row {
        let rest = self.latency.iter().zip(&self.held).map(|(latency, held)| latency - held);
        Row {
            rest: median(rest.collect()),
            latency: median(self.latency.clone()),
            held: median(self.held.clone()),
        }
    }
}

/// One window over the wire, by cell.
fn window(cpus: [usize; 2]) -> Vec<Cell> {
    let wire = Wire::new(cpus, PAYLOAD as usize, delay);
    let host = Linux::new().unwrap();
    let way = Way { nic: Some(wire::NEAR_NIC.to_owned()), source: None };
    let mut probe = Probe::open(&host, &wire.peer(), Options::new(way, Transport::Udp)).unwrap();
    let never = &|| false;
    probe.settle(Duration::from_secs(5), never).unwrap();
    let spec = WindowSpec {
        transport: Transport::Udp,
        length: Duration::from_millis((PER_CELL * CELLS) as u64 * 1000 / u64::from(RATE)),
        rate: RATE,
        payload: PAYLOAD,
        pattern: Pattern::Calm,
        flows: 1,
    };
    let window = probe.window(&spec, never).unwrap();
    let (held, stats) = wire.stop();
    println!("split {:?}", window.split);
    println!("{:?} {:?}", window.stamps, window.notes);
    assert_eq!(window.lost, 0, "{:?} {stats:?}", window.notes);
    let stamped = window.stamps.get("software").copied().unwrap_or(0);
    assert!(stamped as usize + 10 >= window.samples.len(), "{:?}", window.stamps);
    cells(&window.samples, &held)
}

fn cells(samples: &[Sample], held: &Held) -> Vec<Cell> {
    let mut cells: Vec<Cell> = (0..CELLS).map(|_| Cell::default()).collect();
    for (sequence, sample) in (first(held, samples.len())..).zip(samples) {
        let cell = &mut cells[cell(sequence)];
        cell.latency.push(sample.latency_ns as i64);
        cell.held.push(held[&sequence].iter().sum::<u64>() as i64);
    }
    cells
}

/// The first sequence number of the window: the only run of so many.
fn first(held: &Held, samples: usize) -> u32 {
    assert_eq!(held.len(), samples, "every packet passes the holder once each way");
    let mut starts = held.keys().filter(|sequence| !held.contains_key(&sequence.wrapping_sub(1)));
    let first = *starts.next().unwrap();
    assert_eq!(starts.next(), None, "sequence numbers without a gap");
    first
}

/// How far the probe's figure of any delay is from the holder's at worst, packet by packet, both against
/// no delay, in nanoseconds. The difference of the two medians is printed beside it: a holder that was
/// kept from its processor blurs that one.
fn worst_error(cells: &[Cell]) -> i64 {
    let mut worst = 0;
    println!("medians, ns: latency     held   rest | off by packet   off by median");
    let ways = cells.chunks(DELAYS_NS.len());
    // No delay of the request and none of the reply are the same thing.
    let none = Cell::of(ways.clone().map(|cells| &cells[0])).row();
    for (toward, cells) in ["request", "reply"].iter().zip(ways) {
        for cell in cells {
            let Row { latency, held, rest } = cell.row();
            let off = rest - none.rest;
            let medians = latency - none.latency - (held - none.held);
            println!("{toward:10} {latency:9} {held:8} {rest:6} | {off:13} {medians:15}");
            worst = worst.max(off.abs());
        }
    }
    worst
}

#[test]
fn an_added_delay_is_measured_to_a_microsecond() {
    const NAME: &str = "an_added_delay_is_measured_to_a_microsecond";
    // What else runs on the machine moves the medians of a moment by a microsecond or two.
    const TRIES: usize = 5;
    if !(root_or_skip(NAME) && programs_or_skip(NAME, &["ip"])) {
        return;
    }
    let [holder, rest, ..] = wire::cpus()[..] else {
        return skip(NAME, "needs two processors, one for the holder alone");
    };
    let _alone = alone();
    for attempt in 1..=TRIES {
        // A thread of its own: its namespace and processor go with it.
        let cells = std::thread::spawn(move || window([holder, rest])).join().unwrap();
        let worst = worst_error(&cells);
        if worst <= TOLERANCE_NS {
            return;
        }
        println!("attempt {attempt} of {TRIES}: off by {worst} ns, more than {TOLERANCE_NS}");
    }
    panic!("off by more than {TOLERANCE_NS} ns in each of {TRIES} windows");
}
