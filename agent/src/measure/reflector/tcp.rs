//! The TCP half: one thread, an epoll set, and a few bytes of state a connection. Bodies are read into
//! one shared buffer and forgotten; answers are written from one shared buffer of zeros.

use std::{
    io::{ErrorKind, IoSlice, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};

use crate::{
    fault::{Fault, Result},
    measure::{
        clock,
        message::{Direction, HEADER, Header},
    },
};

use super::{Config, Stats};

const CHUNK: usize = 65_536;
const LISTENER: u64 = u64::MAX;
/// How many reads or writes one connection gets before the others have their turn.
const TURN: usize = 32;

struct Connection {
    stream: TcpStream,
    state: State,
    /// When the current message began, or the last one ended; nanoseconds, monotonic.
    since_ns: u64,
    /// What the epoll set watches it for.
    awaited: EpollFlags,
}

enum State {
    /// So many bytes of the header are there.
    Header([u8; HEADER], usize),
    /// So many bytes of the body are still to come.
    Body(Header, u32),
    /// So many bytes of the answer, header included, are written.
    Answer([u8; HEADER], u32, usize),
}

/// What a step on a connection came to.
enum Step {
    /// Something moved; try again.
    On,
    /// The kernel has no more for now.
    Wait,
    Close,
}

pub(super) fn serve(
    listener: &TcpListener,
    config: &Config,
    stop: &dyn Fn() -> bool,
) -> Result<Stats> {
    let fault = |e: Errno| Fault::errno("wait for TCP probe requests", e as i32, None);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(fault)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).map_err(fault)?;
    let mut server = Server {
        epoll,
        seats: (0..config.connections_max).map(|_| None).collect(),
        scratch: vec![0; CHUNK],
        zeros: vec![0; CHUNK],
        stats: Stats::default(),
    };
    let mut events = [EpollEvent::empty(); 64];
    let mut swept_ns = clock::monotonic_ns();
    while !stop() {
        let ready = match server.epoll.wait(&mut events, 100_u8) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(fault(errno)),
        };
        for event in &events[..ready] {
            match event.data() {
                LISTENER => server.accept(listener),
                seat => server.attend(seat as usize),
            }
        }
        let now = clock::monotonic_ns();
        if now - swept_ns >= 100_000_000 {
            swept_ns = now;
            server.sweep(now, config.idle.as_nanos() as u64);
        }
    }
    Ok(server.stats)
}

struct Server {
    epoll: Epoll,
    seats: Vec<Option<Connection>>,
    scratch: Vec<u8>,
    zeros: Vec<u8>,
    stats: Stats,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) {
        // At most a turn's worth, so that a flood of connections does not starve the open ones.
        for _ in 0..TURN {
            let Ok((stream, _)) = listener.accept() else { return };
            let Some(seat) = self.seats.iter().position(Option::is_none) else {
                self.stats.tcp_refused += 1;
                continue;
            };
            let ready = stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok();
            let event = EpollEvent::new(EpollFlags::EPOLLIN, seat as u64);
            if !ready || self.epoll.add(stream.as_fd(), event).is_err() {
                self.stats.tcp_refused += 1;
                continue;
            }
            self.stats.tcp_connections += 1;
            let state = State::Header([0; HEADER], 0);
            let since_ns = clock::monotonic_ns();
            self.seats[seat] =
                Some(Connection { stream, state, since_ns, awaited: EpollFlags::EPOLLIN });
        }
    }

    /// Gives one connection its turn. Dropping a stream takes it out of the epoll set.
    fn attend(&mut self, seat: usize) {
        let Some(Some(connection)) = self.seats.get_mut(seat) else { return };
        for _ in 0..TURN {
            match connection.step(&mut self.scratch, &self.zeros, &mut self.stats) {
                Step::On => {}
                Step::Wait => break,
                Step::Close => {
                    self.seats[seat] = None;
                    return;
                }
            }
        }
        let wanted = match connection.state {
            State::Header(..) | State::Body(..) => EpollFlags::EPOLLIN,
            State::Answer(..) => EpollFlags::EPOLLOUT,
        };
        if wanted != connection.awaited {
            connection.awaited = wanted;
            let mut event = EpollEvent::new(wanted, seat as u64);
            if self.epoll.modify(&connection.stream, &mut event).is_err() {
                self.seats[seat] = None;
            }
        }
    }

    /// Closes connections that have taken too long for one message or have been silent too long.
    fn sweep(&mut self, now_ns: u64, idle_ns: u64) {
        for seat in &mut self.seats {
            if seat.as_ref().is_some_and(|c| now_ns.saturating_sub(c.since_ns) > idle_ns) {
                *seat = None;
                self.stats.tcp_timed_out += 1;
            }
        }
    }
}

impl Connection {
    fn step(&mut self, scratch: &mut [u8], zeros: &[u8], stats: &mut Stats) -> Step {
        match self.state {
            State::Header(bytes, filled) => self.read_header(bytes, filled, stats),
            State::Body(header, left) => self.read_body(scratch, &header, left),
            State::Answer(header, length, written) => {
                self.write_answer(zeros, header, length as usize, written, stats)
            }
        }
    }

    fn read_header(
        &mut self,
        mut bytes: [u8; HEADER],
        mut filled: usize,
        stats: &mut Stats,
    ) -> Step {
        match self.stream.read(&mut bytes[filled..]) {
            Ok(0) => return Step::Close,
            Ok(n) => {
                if filled == 0 {
                    self.since_ns = clock::monotonic_ns();
                }
                filled += n;
            }
            Err(error) => return after(&error),
        }
        self.state = match Header::decode(&bytes) {
            _ if filled < HEADER => State::Header(bytes, filled),
            Some(header) if header.direction == Direction::Request => {
                State::Body(header, header.length)
            }
            Some(_) | None => {
                stats.tcp_malformed += 1;
                return Step::Close;
            }
        };
        Step::On
    }

    fn read_body(&mut self, scratch: &mut [u8], header: &Header, left: u32) -> Step {
        let want = (left as usize).min(scratch.len());
        match self.stream.read(&mut scratch[..want]) {
            Ok(0) => Step::Close,
            Ok(n) if n == left as usize => {
                self.begin_answer(header);
                Step::On
            }
            Ok(n) => {
                self.state = State::Body(*header, left - n as u32);
                Step::On
            }
            Err(error) => after(&error),
        }
    }

    fn write_answer(
        &mut self,
        zeros: &[u8],
        header: [u8; HEADER],
        length: usize,
        written: usize,
        stats: &mut Stats,
    ) -> Step {
        let body = (length - written.saturating_sub(HEADER)).min(zeros.len());
        let slices = [IoSlice::new(&header[written.min(HEADER)..]), IoSlice::new(&zeros[..body])];
        match self.stream.write_vectored(&slices) {
            Ok(0) => Step::Close,
            Ok(n) if written + n == HEADER + length => {
                stats.tcp_messages += 1;
                self.since_ns = clock::monotonic_ns();
                self.state = State::Header([0; HEADER], 0);
                Step::On
            }
            Ok(n) => {
                self.state = State::Answer(header, length as u32, written + n);
                Step::On
            }
            Err(error) => after(&error),
        }
    }

    /// The whole request is here. Both times are read in user space, so their difference is only the
    /// turn from reading to writing.
    fn begin_answer(&mut self, request: &Header) {
        let now = clock::realtime_ns();
        let answer = Header {
            direction: Direction::Answer,
            received_ns: now,
            answered_ns: clock::realtime_ns(),
            ..*request
        };
        self.state = State::Answer(answer.encode(), request.length, 0);
    }
}

fn after(error: &std::io::Error) -> Step {
    match error.kind() {
        ErrorKind::WouldBlock => Step::Wait,
        ErrorKind::Interrupted => Step::On,
        _ => Step::Close,
    }
}
