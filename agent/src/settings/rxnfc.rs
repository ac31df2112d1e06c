//! ETHTOOL_*RX* ioctls on `struct ethtool_rxnfc`: receive rings and flow rules.
//!
//! Layout on 64 bits (include/uapi/linux/ethtool.h): u32 cmd, u32 flow_type, u64 data, then
//! `struct ethtool_rx_flow_spec` at 16, u32 rule_cnt or rss_context at 184, u32 rule_locs[] at 188.

use crate::{
    fault::{Fault, Kind, Result},
    host::{Ask, Host, Nic},
};

const BYTES: usize = 192;
const DATA_AT: usize = 8;
const SPEC_AT: usize = 16;
const LOCATION_AT: usize = SPEC_AT + 160;
const COUNT_AT: usize = 184;
const LOCATIONS_AT: usize = 188;

/// `struct ethtool_rx_flow_spec`, as the kernel has it.
pub(super) const SPEC_BYTES: usize = 168;
pub(super) type Spec = [u8; SPEC_BYTES];

const GRXRINGS: u32 = 0x2d;
const GRXCLSRLCNT: u32 = 0x2e;
const GRXCLSRULE: u32 = 0x2f;
const GRXCLSRLALL: u32 = 0x30;
const SRXCLSRLDEL: u32 = 0x31;
const SRXCLSRLINS: u32 = 0x32;

/// Set in the table's size where the driver can choose slots itself.
const LOC_SPECIAL: u64 = 1 << 31;
/// More rules than any NIC holds.
const RULES_MAX: u32 = 1 << 14;

/// The number of receive rings that hash and rules may point at.
pub(super) fn rings(host: &dyn Host, nic: &Nic) -> Result<u32> {
    let answer = ask(host, nic, request(GRXRINGS, 0))?;
    u32::try_from(data(&answer)).map_err(|_| malformed("count the receive rings", nic))
}

/// Slots of the rule table, and the occupied ones, ascending.
pub(super) fn rules(host: &dyn Host, nic: &Nic) -> Result<(u64, Vec<u32>)> {
    let answer = ask(host, nic, request(GRXCLSRLCNT, 0))?;
    let count = word(&answer, COUNT_AT);
    if count > RULES_MAX {
        return Err(malformed("count the flow rules", nic));
    }
    let mut all = request(GRXCLSRLALL, 0);
    all.resize(BYTES.max(LOCATIONS_AT + 4 * count as usize), 0);
    all[COUNT_AT..COUNT_AT + 4].copy_from_slice(&count.to_ne_bytes());
    let answer = ask(host, nic, all)?;
    // A rule may have gone since it was counted; none can have come into our buffer.
    let listed = word(&answer, COUNT_AT).min(count) as usize;
    let mut slots: Vec<u32> = (0..listed).map(|n| word(&answer, LOCATIONS_AT + 4 * n)).collect();
    slots.sort_unstable();
    Ok((data(&answer) & !LOC_SPECIAL, slots))
}

/// The rule in a slot, with the RSS context it refers to.
pub(super) fn rule(host: &dyn Host, nic: &Nic, slot: u32) -> Result<(Spec, u32)> {
    let answer = ask(host, nic, request(GRXCLSRULE, slot))?;
    let spec = answer.get(SPEC_AT..).and_then(|bytes| bytes.first_chunk());
    let spec = spec.ok_or_else(|| malformed("read a flow rule", nic))?;
    Ok((*spec, word(&answer, COUNT_AT)))
}

/// Puts a rule into the slot it names, over what is there.
pub(super) fn insert(host: &dyn Host, nic: &Nic, spec: &Spec) -> Result<()> {
    let mut buffer = request(SRXCLSRLINS, 0);
    buffer[SPEC_AT..SPEC_AT + SPEC_BYTES].copy_from_slice(spec);
    ask(host, nic, buffer).map(drop)
}

/// Empties a slot.
pub(super) fn delete(host: &dyn Host, nic: &Nic, slot: u32) -> Result<()> {
    ask(host, nic, request(SRXCLSRLDEL, slot)).map(drop)
}

/// The number at this place of an answer; 0 beyond its end, which every caller treats as nothing.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn request(command: u32, slot: u32) -> Vec<u8> {
    let mut buffer = vec![0; BYTES];
    buffer[..4].copy_from_slice(&command.to_ne_bytes());
    buffer[LOCATION_AT..LOCATION_AT + 4].copy_from_slice(&slot.to_ne_bytes());
    buffer
}

fn data(answer: &[u8]) -> u64 {
    let bytes = answer.get(DATA_AT..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn ask(host: &dyn Host, nic: &Nic, buffer: Vec<u8>) -> Result<Vec<u8>> {
    let answers = host.request(&Ask::Ethtool { nic: nic.name.clone(), buffer })?;
    let answer = answers.into_iter().next();
    answer.ok_or_else(|| malformed("ask the driver", nic))
}

fn malformed(act: &str, nic: &Nic) -> Fault {
    Fault::new(Kind::Malformed, format!("{act} of {}", nic.name), "the answer makes no sense")
}
