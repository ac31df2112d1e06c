//! Requests that hold the kernel for minutes, with what it announces meanwhile.
//!
//! A generic netlink command runs inside sendmsg(2), so the asking thread is in the kernel until the
//! device is done. devlink announces a flash's progress to its group `config`
//! (net/devlink/dev.c, `devlink_flash_update_notify`); a second socket listens to that.

use std::time::Duration;

use super::{
    GENERIC,
    genl::{self, HEADER_BYTES},
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

/// The exchange, on sockets of its own in the calling thread's network namespace.
pub(super) fn exchange(
    family: Genl,
    command: u8,
    mode: Mode,
    payload: &[u8],
    heard: &mut dyn FnMut(u8, &[u8]),
) -> Result<Vec<Vec<u8>>> {
    let act = format!("{} netlink command {command}", family.name());
    let mut asking = Netlink::open(GENERIC)?;
    let found = genl::resolve(&mut asking, family)?;
    let mut listening = Netlink::open(GENERIC)?;
    if let Some(group) = found.group(GROUP) {
        listening.join(group)?;
    }
    let message = genl::message(command, payload);
    let answers = std::thread::scope(|scope| {
        let asked = scope.spawn(|| asking.exchange(&act, found.id, mode, &message));
        while !asked.is_finished() {
            hear(&mut listening, found.id, payload, heard);
            std::thread::sleep(LOOK);
        }
        asked.join()
    });
    hear(&mut listening, found.id, payload, heard);
    let failed = || Fault::new(Kind::Io, &act, "the thread that asked ended early");
    let mut answers = answers.map_err(|_| failed())??;
    for answer in &mut answers {
        if answer.len() < HEADER_BYTES {
            return Err(Fault::new(Kind::Malformed, act, "the answer has no header"));
        }
        answer.drain(..HEADER_BYTES);
    }
    Ok(answers)
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

fn device(attributes: &[u8]) -> [Option<String>; 2] {
    [BUS_NAME, DEV_NAME].map(|kind| Attrs(attributes).find(kind).map(|a| a.text().to_owned()))
}
