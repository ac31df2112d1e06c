//! One netlink socket: a request out, its answers in, everything bounded.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_sys::{Socket, SocketAddr};
use nix::{
    errno::Errno,
    sys::{
        socket::{self, MsgFlags, NetlinkAddr, sockopt},
        time::TimeVal,
    },
};

use super::message::{self, Message, Messages};
use crate::{
    fault::{Fault, Kind, Result},
    host::Mode,
};

/// The longest silence of the kernel that is waited for. A driver may hold rtnl for seconds.
const SILENCE_SECONDS_MAX: i64 = 10;
/// The kernel dumps into buffers of 32 KiB; only a single huge object (a string set) is longer.
const BUFFER_BYTES: usize = 64 << 10;
const DATAGRAM_BYTES_MAX: usize = 16 << 20;
/// All answers to one request together: 4000 NICs with verbose features are about 40 MB.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Datagrams looked at for one request, late answers of earlier ones included.
const DATAGRAMS_MAX: usize = 1 << 20;
const REPEATS_MAX: u32 = 5;
const RECEIVE_QUEUE_BYTES: usize = 4 << 20;

/// A netlink socket in the network namespace of the thread that opened it.
pub(super) struct Netlink {
    socket: Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
    /// Answers after which a dump is left.
    answers_max: usize,
    /// An exchange was left before its end: late answers may still be queued.
    unfinished: bool,
}

enum Step {
    More,
    End,
}

#[derive(Default)]
struct Answers {
    payloads: Vec<Vec<u8>>,
    bytes: usize,
    interrupted: bool,
}

impl Netlink {
    /// Opens and binds a socket of this protocol (`NETLINK_ROUTE`, `NETLINK_GENERIC`).
    pub(super) fn open(protocol: isize) -> Result<Netlink> {
        let act = "open a netlink socket";
        let io = |error: std::io::Error| Fault::errno(act, error.raw_os_error().unwrap_or(0), None);
        let mut socket = Socket::new(protocol).map_err(io)?;
        let port = socket.bind_auto().map_err(io)?.port_number();
        socket.set_ext_ack(true).map_err(io)?;
        socket.set_cap_ack(true).map_err(io)?;
        // Since Linux 4.20: without it a filter in a dump is silently ignored.
        socket.set_netlink_get_strict_chk(true).map_err(io)?;
        let netlink = Netlink {
            socket,
            port,
            sequence: 0,
            buffer: vec![0; BUFFER_BYTES],
            answers_max: usize::MAX,
            unfinished: false,
        };
        let patience = TimeVal::new(SILENCE_SECONDS_MAX, 0);
        socket::setsockopt(&netlink, sockopt::ReceiveTimeout, &patience)
            .map_err(|errno| Fault::errno(act, errno as i32, None))?;
        netlink.widen_queue();
        Ok(netlink)
    }

    /// Reads no more than this many answers to a request.
    pub(super) fn at_most(self, answers_max: usize) -> Netlink {
        Netlink { answers_max, ..self }
    }

    /// Joins a multicast group.
    pub(super) fn join(&mut self, group: u32) -> Result<()> {
        self.socket.add_membership(group).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(0);
            Fault::errno(format!("join netlink group {group}"), errno, None)
        })
    }

    /// One request and all its answers' payloads. An interrupted dump is repeated, five times at most.
    pub(super) fn exchange(
        &mut self,
        act: &str,
        kind: u16,
        mode: Mode,
        payload: &[u8],
    ) -> Result<Vec<Vec<u8>>> {
        for _ in 0..=REPEATS_MAX {
            let answers = self.attempt(act, kind, mode, payload)?;
            if !answers.interrupted {
                return Ok(answers.payloads);
            }
        }
        let cause = format!("the table changed under each of {} dumps", REPEATS_MAX + 1);
        Err(Fault::new(Kind::Busy, act, cause))
    }

    /// The next datagram that the kernel has queued, without waiting.
    pub(super) fn queued(&mut self) -> Result<Option<&[u8]>, Errno> {
        match self.receive(MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(&self.buffer[..length])),
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn attempt(&mut self, act: &str, kind: u16, mode: Mode, payload: &[u8]) -> Result<Answers> {
        if self.unfinished {
            self.discard_late_answers(act)?;
        }
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let to_make = message::FLAG_REQUEST | message::FLAG_ACK | message::FLAG_CREATE;
        let flags = match mode {
            Mode::Do => message::FLAG_REQUEST | message::FLAG_ACK,
            Mode::Create => to_make | message::FLAG_EXCL,
            Mode::Append => to_make | message::FLAG_APPEND,
            Mode::Replace => to_make | message::FLAG_REPLACE,
            Mode::Dump => message::FLAG_REQUEST | message::FLAG_DUMP,
        };
        let sent = message::request(kind, flags, self.sequence, payload);
        self.unfinished = true;
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(&sent, &kernel, 0).map_err(|error| {
            Fault::errno(act, error.raw_os_error().unwrap_or(Errno::EIO as i32), None)
        })?;
        let outcome = self.collect(act, &sent);
        // A refusal is the end of its exchange too; silence, overload or enough leaves one open.
        self.unfinished = match &outcome {
            Ok(answers) => answers.payloads.len() >= self.answers_max,
            Err((_, step)) => matches!(step, Step::More),
        };
        outcome.map_err(|(fault, _)| fault)
    }

    fn collect(&mut self, act: &str, sent: &[u8]) -> Result<Answers, (Fault, Step)> {
        let mut answers = Answers::default();
        let open = |kind, cause: &str| (Fault::new(kind, act, cause), Step::More);
        for _ in 0..DATAGRAMS_MAX {
            let length = match self.receive(MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    let cause = format!("no answer from the kernel in {SILENCE_SECONDS_MAX} s");
                    return Err(open(Kind::Io, &cause));
                }
                Err(errno) => return Err((Fault::errno(act, errno as i32, None), Step::More)),
            };
            for answer in Messages(&self.buffer[..length]) {
                if answer.sequence != self.sequence || answer.port != self.port {
                    continue;
                }
                match answers.take(&answer, act, sent).map_err(|fault| (fault, Step::End))? {
                    Step::More if answers.payloads.len() >= self.answers_max => {
                        return Ok(answers);
                    }
                    Step::More => {}
                    Step::End => return Ok(answers),
                }
            }
            if answers.bytes > ANSWER_BYTES_MAX {
                return Err(open(Kind::Malformed, "the answer is longer than 256 MiB"));
            }
        }
        Err(open(Kind::Malformed, "the answer does not end"))
    }

    /// Receives one datagram of the kernel into the buffer, which grows to what is waiting.
    fn receive(&mut self, flags: MsgFlags) -> Result<usize, Errno> {
        let peek = flags | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        let waiting = socket::recv(self.socket.as_raw_fd(), &mut [], peek)?;
        if waiting > DATAGRAM_BYTES_MAX {
            return Err(Errno::EMSGSIZE);
        }
        if waiting > self.buffer.len() {
            self.buffer.resize(waiting, 0);
        }
        let descriptor = self.socket.as_raw_fd();
        let mut parts = [std::io::IoSliceMut::new(&mut self.buffer)];
        let received =
            socket::recvmsg::<NetlinkAddr>(descriptor, &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
        // Another process may send to our port where it has the rights; only the kernel is port 0.
        match received.address.map(|address| address.pid()) {
            Some(0) => Ok(received.bytes),
            Some(_) | None => Ok(0),
        }
    }

    /// Empties the queue, so that a dump that was left is read to its end.
    fn discard_late_answers(&mut self, act: &str) -> Result<()> {
        for _ in 0..DATAGRAMS_MAX {
            match self.queued() {
                Ok(Some(_)) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Ok(None) => {
                    self.unfinished = false;
                    return Ok(());
                }
                Err(errno) => return Err(Fault::errno(act, errno as i32, None)),
            }
        }
        Err(Fault::new(Kind::Io, act, "answers of an earlier request do not end"))
    }

    /// As much queue as we may have: the forced size needs CAP_NET_ADMIN, the plain one is capped.
    fn widen_queue(&self) {
        if socket::setsockopt(self, sockopt::RcvBufForce, &RECEIVE_QUEUE_BYTES).is_err() {
            // The default size still works; an overflow is noticed, never silent.
            let _ = socket::setsockopt(self, sockopt::RcvBuf, &RECEIVE_QUEUE_BYTES);
        }
    }
}

impl Answers {
    fn take(&mut self, answer: &Message<'_>, act: &str, sent: &[u8]) -> Result<Step> {
        self.interrupted |= answer.flags & message::FLAG_DUMP_INTR != 0;
        match answer.kind {
            message::ERROR | message::DONE => {
                message::verdict(answer, act, sent)?;
                Ok(Step::End)
            }
            _ => {
                self.bytes += answer.payload.len();
                self.payloads.push(answer.payload.to_vec());
                Ok(Step::More)
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
