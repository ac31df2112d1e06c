//! A veth link whose far end is in a namespace of its own, with something that answers there.

use std::{
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use agent::measure::{
    Sample, clock,
    peer::Peer,
    reflector::{Config, Reflector, Stats},
    stamp,
};
use tests::{Netns, programs_or_skip, root_or_skip};

pub(crate) const NEAR_NIC: &str = "nmnear";
const FAR_NIC: &str = "nmfar";
pub(crate) const FAR: &str = "10.99.0.2";
pub(crate) const FAR6: &str = "fd00:99::2";

pub(crate) fn ready(name: &str) -> bool {
    root_or_skip(name) && programs_or_skip(name, &["ip", "ethtool"])
}

/// Runs a program in the calling thread's namespace.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

type Job = Box<dyn FnOnce() + Send>;

/// The near end is in the calling thread's namespace.
pub(crate) struct Link {
    _near: Netns,
    /// Jobs for a thread that sits at the far end.
    far: mpsc::Sender<Job>,
}

impl Link {
    pub(crate) fn new(queues: u32) -> Link {
        let near = Netns::new();
        near.veth(NEAR_NIC, FAR_NIC, queues);
        let (far, jobs) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let _far = Netns::new();
            tell.send(nix::unistd::gettid().to_string()).unwrap();
            for job in jobs {
                job();
            }
        });
        let thread = told.recv().unwrap();
        near.run("ip", &["link", "set", FAR_NIC, "netns", &thread]);
        let link = Link { _near: near, far };
        address(NEAR_NIC, "10.99.0.1/24", "fd00:99::1/64");
        link.at_far(|| address(FAR_NIC, "10.99.0.2/24", "fd00:99::2/64"));
        // Until the kernel has noticed the carrier, an interface that is up sends nothing.
        wait_until_running(NEAR_NIC);
        link.at_far(|| wait_until_running(FAR_NIC));
        link
    }

    /// Runs `job` in the far end's namespace and waits for it.
    pub(crate) fn at_far<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.far.send(Box::new(move || tell.send(job()).unwrap())).unwrap();
        told.recv().unwrap()
    }

    /// A real reflector at the far end, on a port of its own.
    pub(crate) fn reflect(&self) -> Answering<Stats> {
        self.reflect_as(|_| {})
    }

    pub(crate) fn reflect_as(&self, set: impl FnOnce(&mut Config)) -> Answering<Stats> {
        let mut config = Config::new("[::]:0".parse().unwrap());
        set(&mut config);
        self.answer(move |stop| {
            let reflector = Reflector::bind(config).unwrap();
            let local = reflector.local();
            (local, std::thread::spawn(move || reflector.run(&|| stop()).unwrap()))
        })
    }

    /// A reflector that does to every packet what [`Mischief`] says.
    pub(crate) fn misbehave(&self) -> Answering<()> {
        self.answer(|stop| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            let local = socket.local_addr().unwrap();
            (local, std::thread::spawn(move || mislead(&socket, &stop)))
        })
    }

    fn answer<T: Send + 'static>(
        &self,
        start: impl FnOnce(Box<dyn Fn() -> bool + Send + Sync>) -> (SocketAddr, JoinHandle<T>)
        + Send
        + 'static,
    ) -> Answering<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let stopped = Box::new(move || asked.load(Ordering::Relaxed));
        let (local, thread) = self.at_far(move || start(stopped));
        Answering { port: local.port(), stop, thread }
    }
}

fn address(nic: &str, v4: &str, v6: &str) {
    run("ip", &["addr", "add", v4, "dev", nic]);
    run("ip", &["-6", "addr", "add", v6, "dev", nic, "nodad"]);
    // Packets by NAPI, as on a NIC: that is also what counts them by queue. veth leaves NAPI out
    // where the other end segments by itself.
    run("ethtool", &["-K", nic, "gro", "on", "tso", "off"]);
    run("ip", &["link", "set", nic, "up"]);
}

fn wait_until_running(nic: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    let state = format!("/sys/class/net/{nic}/operstate");
    while std::fs::read_to_string(&state).unwrap().trim() != "up" {
        assert!(Instant::now() < until, "{nic} does not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Something that answers at the far end until it is told to stop.
pub(crate) struct Answering<T> {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T> Answering<T> {
    pub(crate) fn peer(&self, host: &str) -> Peer {
        Peer { host: host.to_owned(), port: self.port }
    }

    pub(crate) fn stop(self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// How many of each a window of whole rows shows, where replies are waited for for a second.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mischief {
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) late: u64,
    pub(crate) lost: u64,
}

/// The window's packets come in rows of 50; the place in the row decides.
const ROW: u32 = 50;

impl Mischief {
    pub(crate) fn of(samples: &[Sample]) -> Mischief {
        assert_eq!(samples.len() % ROW as usize, 0);
        let rows = (samples.len() / ROW as usize) as u64;
        // A late reply that comes after the last packet's second is over is not seen any more.
        let over = samples.last().map_or(0, |s| s.due_ns) + 1_000_000_000;
        let late = samples.iter().skip(30).step_by(ROW as usize);
        let late = late.filter(|s| s.due_ns + 1_500_000_000 < over).count() as u64;
        Mischief { duplicated: rows, reordered: rows, late, lost: 2 * rows }
    }
}

/// In every row: the 10th is answered twice, the 20th after the 21st, the 30th after 1.5 s, the 40th
/// never. Every answer is held for 3 ms between T2 and T3.
fn mislead(socket: &UdpSocket, stop: &dyn Fn() -> bool) {
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let mut held: Vec<(Instant, Vec<u8>, SocketAddr)> = Vec::new();
    let mut buffer = [0; 2048];
    let mut swapped = None;
    // Warm-up packets come before the window's, 5 ms apart and three in number.
    let mut first = None;
    let mut warm = 0;
    while !stop() {
        held.retain(|(at, packet, to)| {
            let due = Instant::now() >= *at;
            if due {
                // The link may be gone by then.
                let _ = socket.send_to(packet, to);
            }
            !due
        });
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let packet = &mut buffer[..length];
        let sequence = stamp::Request::read(packet).unwrap().sequence;
        if warm < 3 {
            warm += 1;
            continue;
        }
        let place = sequence.wrapping_sub(*first.get_or_insert(sequence)) % ROW;
        let received = clock::realtime_ns();
        assert!(stamp::reflect(packet, received, 64));
        std::thread::sleep(Duration::from_millis(3));
        stamp::depart(packet, clock::realtime_ns());
        let reply = packet.to_vec();
        match place {
            10 => {
                socket.send_to(&reply, from).unwrap();
                socket.send_to(&reply, from).unwrap();
            }
            20 => swapped = Some(reply),
            21 => {
                socket.send_to(&reply, from).unwrap();
                if let Some(earlier) = swapped.take() {
                    socket.send_to(&earlier, from).unwrap();
                }
            }
            30 => held.push((Instant::now() + Duration::from_millis(1500), reply, from)),
            40 => {}
            _ => {
                socket.send_to(&reply, from).unwrap();
            }
        }
    }
}
