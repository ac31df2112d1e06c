//! A made-up desk whose figures depend on a setting of the link: by file, by unix socket, over HTTP.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::exchange::NIC;

/// What the desk does once the setting is changed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    /// Its figures are so many times what they were.
    WorseBy(f64),
    /// It falls silent.
    Dies,
}

/// Runs until dropped. Must be made in the link's namespace, whose `/sys` its threads look at.
pub(crate) struct Desk {
    folder: PathBuf,
    at: SocketAddr,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What all of the desk's threads know.
#[derive(Clone)]
struct State {
    mood: Mood,
    over: Arc<AtomicBool>,
}

impl State {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn changed() -> bool {
        let file = format!("/sys/class/net/{NIC}/tx_queue_len");
        std::fs::read_to_string(file).is_ok_and(|text| text.trim() == "500")
    }

    /// The figure now, around 10 before the change, with a scatter of a tenth; `None`: silence.
    fn figure(&self, count: u32) -> Option<f64> {
        let scatter = f64::from(count.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        let calm = 9.5 + scatter;
        match (State::changed(), self.mood) {
            (false, _) => Some(calm),
            (true, Mood::WorseBy(times)) => Some(calm * times),
            (true, Mood::Dies) => None,
        }
    }
}

impl Desk {
    pub(crate) fn new(folder: &Path, mood: Mood) -> Desk {
        let over = Arc::new(AtomicBool::new(false));
        let state = State { mood, over: Arc::clone(&over) };
        let folder = folder.to_owned();
        let web = TcpListener::bind("127.0.0.1:0").expect("listen");
        let at = web.local_addr().expect("an address");
        let unix = UnixListener::bind(folder.join("t2t.sock")).expect("listen");
        web.set_nonblocking(true).expect("not to block");
        unix.set_nonblocking(true).expect("not to block");
        write(&folder, 10.0);
        let (writer, place) = (state.clone(), folder.clone());
        let (server, sender) = (state.clone(), state);
        let threads = vec![
            std::thread::spawn(move || rewrite(&writer, &place)),
            std::thread::spawn(move || serve(&server, &web)),
            std::thread::spawn(move || send(&sender, &unix)),
        ];
        Desk { folder, at, over, threads }
    }

    pub(crate) fn file(&self) -> String {
        self.folder.join("t2t").display().to_string()
    }

    pub(crate) fn socket(&self) -> String {
        self.folder.join("t2t.sock").display().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.at)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has failed its test by what is missing.
            let _ = thread.join();
        }
    }
}

/// By rename, as one should: a reader never sees half of it.
fn write(folder: &Path, figure: f64) {
    let new = folder.join("t2t.new");
    std::fs::write(&new, format!("{figure}\n")).expect("write the figure");
    std::fs::rename(new, folder.join("t2t")).expect("put it in place");
}

fn rewrite(state: &State, folder: &Path) {
    for count in 0.. {
        if !state.goes_on() {
            return;
        }
        if let Some(figure) = state.figure(count) {
            write(folder, figure);
        }
        std::thread::sleep(Duration::from_millis(7));
    }
}

fn send(state: &State, listener: &UnixListener) {
    let mut readers = Vec::new();
    for count in 0.. {
        if !state.goes_on() {
            return;
        }
        if let Ok((reader, _)) = listener.accept() {
            reader.set_nonblocking(true).expect("not to wait for a reader");
            readers.push(reader);
        }
        match state.figure(count) {
            Some(figure) => {
                let line = format!("{figure}\n");
                readers.retain_mut(|reader| reader.write_all(line.as_bytes()).is_ok());
            }
            None => readers.clear(),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn serve(state: &State, listener: &TcpListener) {
    let (mut count, mut gaps) = (0, 0);
    while state.goes_on() {
        let Ok((mut client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        client.set_nonblocking(false).expect("to wait for its request");
        client.set_read_timeout(Some(Duration::from_secs(1))).expect("not for long");
        let mut request = [0; 2048];
        let _ = client.read(&mut request);
        count += 1;
        gaps += u32::from(State::changed());
        let mut page = "# TYPE feed_gaps_total counter\n".to_owned();
        let figure = state.figure(count).unwrap_or(f64::NAN);
        let _ = write!(
            page,
            "feed_gaps_total {gaps}\nfill_ratio{{venue=\"B\"}} 1\n\
             fill_ratio{{strategy=\"x\",venue=\"A\"}} {figure}\n"
        );
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
        // A client that has gone has had its answer.
        let _ = client.write_all(format!("{head}{page}").as_bytes());
    }
}
