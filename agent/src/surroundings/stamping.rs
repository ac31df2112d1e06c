//! Hardware time stamping as somebody switched it on (ptp4l, hwstamp_ctl, a feed handler): it is the driver's,
//! and a restart ends it.
//!
//! Source: include/uapi/linux/net_tstamp.h, net/core/dev_ioctl.c.

use super::{Port, device::Differs, message::Bytes};
use crate::{
    fault::Fault,
    host::{Ask, Host},
};

/// `struct hwtstamp_config`; nothing where the driver does not stamp or does not tell.
pub(super) fn read(host: &dyn Host, port: &str) -> Option<Bytes> {
    let answer = host.request(&Ask::Stamping { nic: port.to_owned(), config: None }).ok()?;
    answer.into_iter().next().map(Bytes)
}

pub(super) fn restore(host: &dyn Host, port: &str, was: Option<&Bytes>) -> Option<Fault> {
    let config: [u8; 12] = was?.0.as_slice().try_into().ok()?;
    if read(host, port).as_ref() == was {
        return None;
    }
    let ask = Ask::Stamping { nic: port.to_owned(), config: Some(config) };
    host.request(&ask).err()
}

pub(super) fn differs(was: &Port, is: &Port) -> Vec<Differs> {
    let words = |port: &Port| port.stamping.as_ref().map_or("none".to_owned(), Bytes::to_string);
    // Where there was none there is nothing to lose: newer firmware may well have a clock.
    match was.stamping.is_none() || was.stamping == is.stamping {
        true => Vec::new(),
        false => vec![(format!("time stamping of {}", was.device.name), words(was), words(is))],
    }
}
