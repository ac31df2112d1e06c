//! Requests that hold the kernel for minutes, with what it announces meanwhile.
//!
//! A generic netlink command runs inside sendmsg(2), an ethtool one inside ioctl(2), so the asking thread is in
//! the kernel until the device is done and cannot be called back. Who asked waits for a limited time; from then
//! on the device is held, to every process that asks here, until the thread is out of the kernel. Its process
//! does not end before that either: a killed one stays as a zombie. devlink announces a flash's progress to its
//! group `config` (net/devlink/dev.c, `devlink_flash_update_notify`); a second socket listens to that.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{
    GENERIC,
    genl::{self, HEADER_BYTES},
    grip::Grip,
    ioctl::Ethtool,
    message::Messages,
    socket::Netlink,
};
use crate::{
    fault::{Fault, Kind, Result},
    host::{Genl, Mode, tlv::Attrs},
};

/// Between two looks for announcements.
const LOOK: Duration = Duration::from_millis(20);
/// Datagrams read in one look; the rest stays queued for the next.
const DATAGRAMS_MAX: usize = 4096;
const GROUP: &str = "config";
/// DEVLINK_ATTR_BUS_NAME, DEVLINK_ATTR_DEV_NAME.
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;

/// The exchange about `device`, on sockets of its own in the calling thread's network namespace, waited for
/// until `limit`.
pub(super) fn exchange(
    (device, limit): (&str, Duration),
    (family, command, mode): (Genl, u8, Mode),
    payload: &[u8],
    heard: &mut dyn FnMut(u8, &[u8]),
) -> Result<Vec<Vec<u8>>> {
    let act = format!("{} netlink command {command}", family.name());
    let grip = Grip::take(device)?;
    let mut asking = Netlink::open(GENERIC)?;
    let found = genl::resolve(&mut asking, family)?;
    let mut listening = Netlink::open(GENERIC)?;
    if let Some(group) = found.group(GROUP) {
        listening.join(group)?;
    }
    let (message, id, asked) = (genl::message(command, payload), found.id, act.clone());
    let ask = move || asking.exchange(&asked, id, mode, &message);
    let mut answers =
        wait(&act, grip, limit, ask, &mut || hear(&mut listening, id, payload, heard))?;
    for answer in &mut answers {
        if answer.len() < HEADER_BYTES {
            return Err(Fault::new(Kind::Malformed, act, "the answer has no header"));
        }
        answer.drain(..HEADER_BYTES);
    }
    Ok(answers)
}

/// The same by SIOCETHTOOL.
pub(super) fn ethtool(
    (device, limit): (&str, Duration),
    nic: &str,
    buffer: &[u8],
) -> Result<Vec<Vec<u8>>> {
    let (grip, asking) = (Grip::take(device)?, Ethtool::open()?);
    let act = format!("ask ethtool on {nic}");
    let (nic, buffer) = (nic.to_owned(), buffer.to_vec());
    let ask = move || Ok(vec![asking.exchange(&nic, &buffer)?]);
    wait(&act, grip, limit, ask, &mut || ())
}

/// Has a thread ask, which keeps the grip until it has its answer. `meanwhile` is done now and then.
fn wait<T: Send + 'static>(
    act: &str,
    grip: Grip,
    limit: Duration,
    ask: impl FnOnce() -> Result<T> + Send + 'static,
    meanwhile: &mut dyn FnMut(),
) -> Result<T> {
    let (answer, answered) = mpsc::sync_channel(1);
    let asking = move || {
        let done = ask();
        drop(grip);
        // Nobody may be waiting any more.
        let _ = answer.send(done);
    };
    let failed = |why: String| Fault::new(Kind::Io, act, why);
    std::thread::Builder::new()
        .name("asks-kernel".to_owned())
        .spawn(asking)
        .map_err(|error| failed(format!("start a thread: {error}")))?;
    let began = Instant::now();
    loop {
        let told = answered.recv_timeout(LOOK);
        meanwhile();
        match told {
            Ok(done) => return done,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(failed("the thread that asked ended early".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) if began.elapsed() >= limit => {
                let cause = format!(
                    "the kernel has not answered in {:.0} s and still holds the call (process {}): what it \
                     comes to is not known",
                    limit.as_secs_f64(),
                    std::process::id()
                );
                return Err(Fault::new(Kind::Held, act, cause));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// What is queued about the device that was asked. An overflow loses progress, nothing else.
fn hear(listening: &mut Netlink, family: u16, asked: &[u8], heard: &mut dyn FnMut(u8, &[u8])) {
    for _ in 0..DATAGRAMS_MAX {
        let Ok(Some(datagram)) = listening.queued() else { return };
        for message in Messages(datagram).filter(|message| message.kind == family) {
            let (Some(command), Some(attributes)) =
                (message.payload.first(), message.payload.get(HEADER_BYTES..))
            else {
                continue;
            };
            if device(attributes) == device(asked) {
                heard(*command, attributes);
            }
        }
    }
}

/// Bus and name of the device that a message is about.
pub(super) fn device(attributes: &[u8]) -> [Option<String>; 2] {
    [BUS_NAME, DEV_NAME].map(|kind| Attrs(attributes).find(kind).map(|a| a.text().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that does not come back is the kernel's: the device is held until it does.
    #[test]
    fn who_asks_is_told_in_time_and_the_device_is_held_until_the_answer_comes() {
        let file = std::env::temp_dir().join(format!("nicmend-grip-{}", std::process::id()));
        std::fs::write(&file, "").expect("a file");
        let grip = || Grip::of(&file, "pci/0000:3b:00.0");
        let (let_go, held) = mpsc::channel::<()>();
        let ask = move || held.recv().map_err(|_| Fault::new(Kind::Io, "wait", "nobody"));
        let mut looks = 0;
        let limit = Duration::from_millis(50);
        let fault = wait("flash", grip().expect("it is free"), limit, ask, &mut || looks += 1);
        let fault = fault.expect_err("nothing has answered");
        assert_eq!(fault.kind, Kind::Held, "{fault}");
        assert!(looks > 0);
        let second = grip().expect_err("no second call is begun");
        assert_eq!(second.kind, Kind::Held, "{second}");
        let_go.send(()).expect("it waits");
        let began = Instant::now();
        let free = loop {
            match grip() {
                Ok(free) => break free,
                Err(_) if began.elapsed() < Duration::from_secs(60) => std::thread::sleep(LOOK),
                Err(fault) => panic!("{fault}"),
            }
        };
        let done = wait("flash", free, Duration::from_secs(60), || Ok(7), &mut || ());
        assert_eq!(done.expect("it answers"), 7);
        assert!(grip().is_ok());
        std::fs::remove_file(&file).expect("it is there");
    }
}
