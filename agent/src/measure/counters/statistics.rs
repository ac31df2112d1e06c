//! A driver's own statistics (`ethtool -S`), by SIOCETHTOOL: netlink has no request for them.

use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Host},
};

// include/uapi/linux/ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETH_SS_STATS: u32 = 1;
const DRVINFO_BYTES: usize = 196;
const DRVINFO_DRIVER: usize = 4;
const DRVINFO_N_STATS: usize = 180;
const NAME_BYTES: usize = 32;
/// More than any driver has (mlx5 with 128 channels: about 10,000).
const STATISTICS_MAX: usize = 32_768;

/// The driver's name.
pub fn driver(host: &dyn Host, nic: &str) -> Result<String> {
    let info = ask(host, nic, ETHTOOL_GDRVINFO, DRVINFO_BYTES, &[])?;
    Ok(name_at(&info, DRVINFO_DRIVER))
}

/// Names and values, in the driver's order; none where the driver has none.
pub fn read(host: &dyn Host, nic: &str) -> Result<Vec<(String, u64)>> {
    let info = match ask(host, nic, ETHTOOL_GDRVINFO, DRVINFO_BYTES, &[]) {
        Ok(info) => info,
        // The loopback and its like have no driver to ask.
        Err(fault) if fault.kind == Kind::Unsupported => return Ok(Vec::new()),
        Err(fault) => return Err(fault),
    };
    let count = word(&info, DRVINFO_N_STATS).unwrap_or(0) as usize;
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > STATISTICS_MAX {
        let act = format!("read statistics of {nic}");
        return Err(Fault::new(Kind::Malformed, act, format!("{count} statistics")));
    }
    // The kernel writes as many as the driver has when it answers, whatever was asked for; that may be
    // more than a moment ago (channels changed meanwhile), and it does not know where our buffer ends.
    let room = 2 * count + 1024;
    let names =
        ask(host, nic, ETHTOOL_GSTRINGS, 12 + room * NAME_BYTES, &[ETH_SS_STATS, count as u32])?;
    let values = ask(host, nic, ETHTOOL_GSTATS, 8 + room * 8, &[count as u32])?;
    let named = word(&names, 8).unwrap_or(0) as usize;
    let valued = word(&values, 4).unwrap_or(0) as usize;
    if named != valued || named > room {
        let cause = format!("{named} names for {valued} values");
        return Err(Fault::new(Kind::Drift, format!("read statistics of {nic}"), cause));
    }
    let (values, _) = values.get(8..).unwrap_or_default().as_chunks::<8>();
    let pairs = values.iter().take(named).enumerate();
    let pairs = pairs.map(|(i, v)| (name_at(&names, 12 + i * NAME_BYTES), u64::from_ne_bytes(*v)));
    Ok(pairs.filter(|(name, _)| !name.is_empty()).collect())
}

/// One SIOCETHTOOL with a buffer of `length` bytes: the command, then these words, then zeros.
pub(super) fn ask(
    host: &dyn Host,
    nic: &str,
    command: u32,
    length: usize,
    words: &[u32],
) -> Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(length);
    buffer.extend_from_slice(&command.to_ne_bytes());
    words.iter().for_each(|w| buffer.extend_from_slice(&w.to_ne_bytes()));
    buffer.resize(length, 0);
    let mut answers = host.request(&Ask::Ethtool { nic: nic.to_owned(), buffer })?;
    let short = || Fault::new(Kind::Malformed, format!("ask the driver of {nic}"), "no answer");
    answers.pop().filter(|answer| answer.len() >= length).ok_or_else(short)
}

pub(super) fn word(buffer: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*buffer.get(at..)?.first_chunk()?))
}

fn name_at(buffer: &[u8], at: usize) -> String {
    let field = buffer.get(at..(at + NAME_BYTES).min(buffer.len())).unwrap_or_default();
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    // Some drivers pad names with blanks (`     rx_frames`).
    String::from_utf8_lossy(&field[..end]).trim().to_owned()
}
