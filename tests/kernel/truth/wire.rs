//! A wire whose delay is known: two taps in namespaces of their own, and a thread between them that
//! holds each probe frame for a while and writes down for how long it really did.
//!
//! The kernel stamps a frame that leaves by a tap just before it puts it on the ring that read(2) takes
//! it from (`tun_net_xmit`), and one that enters by it inside write(2) (`tun_rx_batched`,
//! `netif_receive_skb`; drivers/net/tun.c). So between the probe's stamps lie the hold, and at both of its
//! ends a fraction of a system call, which is the same however long the hold is.
#![allow(unsafe_code, reason = "a tap is made by an ioctl that no safe wrapper offers")]

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use agent::measure::{
    clock,
    peer::Peer,
    reflector::{Config, Reflector, Stats},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tests::Netns;

pub(crate) const NEAR_NIC: &str = "nmtap0";
const FAR_NIC: &str = "nmtap1";
const NEAR: &str = "10.97.0.1";
const FAR: &str = "10.97.0.2";

/// Every probe frame is held for so long at least: by then the sender has gone to rest.
const BASE_NS: u64 = 300_000;
/// How long before its release a frame's forerunner goes.
const LEAD_NS: u64 = 40_000;
/// Where the forerunners' replies go to.
const FORERUNNER_PORT: u16 = 20_009;

/// The way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toward {
    Reflector,
    Probe,
}

/// For how much longer than [`BASE_NS`] the frame of a sequence number is to be held, in nanoseconds.
pub(crate) type Delay = fn(u32, Toward) -> u64;

/// By sequence number: how long its request and its reply were held, in nanoseconds.
pub(crate) type Held = HashMap<u32, [u64; 2]>;

pub(crate) struct Wire {
    _near: Netns,
    port: u16,
    stop: Arc<AtomicBool>,
    holder: JoinHandle<Held>,
    reflector: JoinHandle<Stats>,
}

impl Wire {
    /// The near end is in the calling thread's namespace. The holder is alone on the first of `cpus`,
    /// everything else on the second, the calling thread and what it starts from now on included.
    /// Frames that carry `payload` bytes of UDP are held, all others passed on.
    pub(crate) fn new(cpus: [usize; 2], payload: usize, delay: Delay) -> Wire {
        let near = Netns::new();
        let near_tap = tap(NEAR_NIC);
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let reflector = std::thread::spawn(move || {
            pin(cpus[1]);
            let netns = Netns::new();
            let far_tap = tap(FAR_NIC);
            address(&netns, FAR_NIC, [FAR, NEAR]);
            let reflector = Reflector::bind(Config::new(format!("{FAR}:0").parse().unwrap()));
            let reflector = reflector.unwrap();
            tell.send((far_tap, reflector.local().port())).unwrap();
            reflector.run(&|| stopped.load(Ordering::Relaxed)).unwrap()
        });
        let (far_tap, port) = told.recv().unwrap();
        address(&near, NEAR_NIC, [NEAR, FAR]);
        let stopped = Arc::clone(&stop);
        let holder = std::thread::spawn(move || {
            pin(cpus[0]);
            do_not_disturb();
            hold(&[near_tap, far_tap], payload, delay, &stopped)
        });
        pin(cpus[1]);
        Wire { _near: near, port, stop, holder, reflector }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer { host: FAR.to_owned(), port: self.port }
    }

    pub(crate) fn stop(self) -> (Held, Stats) {
        self.stop.store(true, Ordering::Relaxed);
        (self.holder.join().unwrap(), self.reflector.join().unwrap())
    }
}

/// The processors that the calling thread may run on.
pub(crate) fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

/// Lets the calling thread run before every ordinary one. Where that is refused, holds are exact all the
/// same, but frames may wait to be read.
fn do_not_disturb() {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel only reads the sched_param, which outlives the call; 0 is the calling thread.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) };
    if set != 0 {
        println!("the holder may be preempted: {}", std::io::Error::last_os_error());
    }
}

/// Binds the calling thread, and what it starts from now on, to one processor.
pub(crate) fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Every frame of the first tap is written to the second one and the other way round.
fn hold(taps: &[File; 2], payload: usize, delay: Delay, stop: &AtomicBool) -> Held {
    let mut held = Held::new();
    let mut frame = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        for (way, toward) in [Toward::Reflector, Toward::Probe].into_iter().enumerate() {
            // Reading without waiting: waking up would be a delay that nobody knows of.
            let Ok(length) = (&taps[way]).read(&mut frame) else { continue };
            let read_ns = clock::monotonic_ns();
            let (frame, mut onward) = (&frame[..length], &taps[1 - way]);
            if port(frame) == Some(FORERUNNER_PORT) {
                continue;
            }
            let sequence = sequence(frame, payload);
            let mut written_ns = read_ns;
            if let Some(sequence) = sequence {
                let release_ns = read_ns + BASE_NS + delay(sequence, toward);
                spin_until(release_ns - LEAD_NS);
                forerun(onward, frame, toward);
                written_ns = spin_until(release_ns);
            }
            // Neighbour discovery and the like may come while an end is not up yet.
            let _ = onward.write(frame);
            if let Some(sequence) = sequence {
                held.entry(sequence).or_default()[way] = written_ns - read_ns;
            }
        }
    }
    held
}

fn spin_until(until_ns: u64) -> u64 {
    loop {
        let now = clock::monotonic_ns();
        if now >= until_ns {
            return now;
        }
        std::hint::spin_loop();
    }
}

/// Sends a frame of no account the same way. A processor that has slept for the length of a hold is slow
/// at first: from T3, which the reflector reads in user space, to the tap it then takes up to 10 us longer,
/// and from the holder to the kernel's stamp 1 us. Both are real and neither is the hold; after a
/// forerunner they are the same behind every hold.
fn forerun(mut onward: &File, frame: &[u8], toward: Toward) {
    let mut forerunner = frame.to_vec();
    match toward {
        // A request from another port, without a checksum. The holder drops its reply.
        Toward::Reflector => {
            forerunner[34..36].copy_from_slice(&FORERUNNER_PORT.to_be_bytes());
            forerunner[40..42].fill(0);
        }
        // An experimental protocol (IEEE 802 local), which the stack drops.
        Toward::Probe => forerunner[12..14].copy_from_slice(&[0x88, 0xb5]),
    }
    let _ = onward.write(&forerunner);
}

/// The destination port of an IPv4 UDP frame.
fn port(frame: &[u8]) -> Option<u16> {
    let udp = frame.get(12..15)? == [0x08, 0x00, 0x45] && frame.get(23) == Some(&17);
    let port = u16::from_be_bytes(frame.get(36..38)?.try_into().ok()?);
    udp.then_some(port)
}

/// The STAMP sequence number of an IPv4 UDP frame with so much payload: the first field of both its
/// packets (RFC 8762), after 14 bytes of Ethernet, 20 of IPv4 and 8 of UDP.
fn sequence(frame: &[u8], payload: usize) -> Option<u32> {
    port(frame)?;
    let length = usize::from(u16::from_be_bytes(frame.get(38..40)?.try_into().ok()?));
    let sequence = u32::from_be_bytes(frame.get(42..46)?.try_into().ok()?);
    (length == 8 + payload).then_some(sequence)
}

/// A tap in the calling thread's namespace, read and written without waiting; gone when it is closed.
fn tap(name: &str) -> File {
    /// struct ifreq as TUNSETIFF reads it (include/uapi/linux/if.h).
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open("/dev/net/tun").unwrap();
    let flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `Request` is as large as and outlives the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(made, 0, "make {name}: {}", std::io::Error::last_os_error());
    file
}

fn address(netns: &Netns, nic: &str, [own, other]: [&str; 2]) {
    // No neighbour discovery in the middle of a window, of either family.
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{nic}/disable_ipv6"), "1").unwrap();
    let mac = |ip: &str| if ip == NEAR { "02:00:00:00:97:01" } else { "02:00:00:00:97:02" };
    netns.run("ip", &["link", "set", nic, "address", mac(own), "up"]);
    netns.run("ip", &["address", "add", &format!("{own}/24"), "dev", nic]);
    netns.run("ip", &["neighbour", "replace", other, "lladdr", mac(other), "dev", nic]);
}
