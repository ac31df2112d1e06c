//! The kernel's side of SIOCETHTOOL, for what netlink does not offer (or did not on older kernels).
//!
//! Source: include/uapi/linux/ethtool.h, net/ethtool/ioctl.c. Every answer is the asker's buffer with
//! the kernel's fields filled in; a buffer too small for its own counts is EFAULT, as memory beyond it.

use super::{
    Refusal, State, channels, ethtool,
    machine::{Rule, SimNic},
};

const GDRVINFO: u32 = 0x03;
const GSTRINGS: u32 = 0x1b;
const GSTATS: u32 = 0x1d;
const GPERMADDR: u32 = 0x20;
const GRXRINGS: u32 = 0x2d;
const GRXCLSRLCNT: u32 = 0x2e;
const GRXCLSRULE: u32 = 0x2f;
const GRXCLSRLALL: u32 = 0x30;
const SRXCLSRLDEL: u32 = 0x31;
const SRXCLSRLINS: u32 = 0x32;
const GSSET_INFO: u32 = 0x37;
const GRXFHINDIR: u32 = 0x38;
const SRXFHINDIR: u32 = 0x39;

// struct ethtool_rxnfc: cmd 0, flow_type 4, data 8, fs 16 (168 bytes), rule_cnt 184, rule_locs 188.
const RXNFC_DATA: usize = 8;
const RXNFC_FS: usize = 16;
const RXNFC_RULE_CNT: usize = 184;
const RXNFC_RULE_LOCS: usize = 188;
// struct ethtool_rx_flow_spec: everything before ring_cookie 152, ring_cookie 152, location 160.
const FS_COOKIE: usize = 152;
const FS_LOCATION: usize = 160;
/// Slots of the simulated filter table.
const RULES_MAX: u32 = 1024;
/// RX_CLS_LOC_SPECIAL: the NIC may choose the slot.
const LOCATION_SPECIAL: u32 = 0x8000_0000;

type Done = Result<(), Refusal>;

pub(super) fn ask(state: &mut State, nic: &str, buffer: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut buffer = buffer.to_vec();
    let found = state.machine.nic(nic).cloned();
    let nic = found.ok_or_else(|| Refusal::errno(libc::ENODEV))?;
    match word(&buffer, 0)? {
        GDRVINFO => drvinfo(state, &nic, &mut buffer),
        GSSET_INFO => sset_info(state, &nic, &mut buffer),
        GSTRINGS => strings(state, &nic, &mut buffer),
        GSTATS => stats(state, &nic, &mut buffer),
        GPERMADDR => {
            put(&mut buffer, 4, &6u32.to_ne_bytes())?;
            put(&mut buffer, 8, &super::hook::mac_bytes(&nic.mac))
        }
        GRXRINGS => match nic.rss {
            Some(_) => put(&mut buffer, RXNFC_DATA, &(nic.rx_queues() as u64).to_ne_bytes()),
            None => unsupported(),
        },
        GRXFHINDIR => get_indirection(&nic, &mut buffer),
        SRXFHINDIR => set_indirection(state, &nic, &buffer),
        GRXCLSRLCNT => count_rules(&nic, &mut buffer),
        GRXCLSRLALL => list_rules(&nic, &mut buffer),
        GRXCLSRULE => get_rule(&nic, &mut buffer),
        SRXCLSRLINS => insert_rule(state, &nic, &mut buffer),
        SRXCLSRLDEL => {
            let slot = word(&buffer, RXNFC_FS + FS_LOCATION)?;
            channels::write_rule(state, nic.ifindex, slot, None)
        }
        _ => unsupported(),
    }?;
    Ok(buffer)
}

fn unsupported() -> Done {
    Err(Refusal::errno(libc::EOPNOTSUPP))
}

fn word(buffer: &[u8], at: usize) -> Result<u32, Refusal> {
    let bytes = buffer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or_else(|| Refusal::errno(libc::EFAULT))
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) -> Done {
    let room = buffer.get_mut(at..at + bytes.len());
    room.ok_or_else(|| Refusal::errno(libc::EFAULT))?.copy_from_slice(bytes);
    Ok(())
}

/// A fixed field of text, NUL-padded and always terminated.
fn put_text(buffer: &mut [u8], at: usize, size: usize, text: &str) -> Done {
    let mut field = vec![0; size];
    let length = text.len().min(size - 1);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    put(buffer, at, &field)
}

/// struct ethtool_drvinfo: driver 4, version 36, fw_version 68, bus_info 100, n_priv_flags 176,
/// n_stats 180.
fn drvinfo(state: &State, nic: &SimNic, buffer: &mut [u8]) -> Done {
    put_text(buffer, 4, 32, &nic.driver)?;
    let version =
        if nic.driver_version.is_empty() { &state.machine.kernel } else { &nic.driver_version };
    put_text(buffer, 36, 32, version)?;
    put_text(buffer, 68, 32, &nic.firmware)?;
    put_text(buffer, 100, 32, nic.pci.as_ref().map_or("", |pci| &pci.address))?;
    put(buffer, 176, &(nic.private_flags.len() as u32).to_ne_bytes())?;
    put(buffer, 180, &(state.stats(nic).len() as u32).to_ne_bytes())
}

/// struct ethtool_sset_info: sset_mask 8 (u64), then a count for each set that is there.
fn sset_info(state: &State, nic: &SimNic, buffer: &mut [u8]) -> Done {
    let asked = u64::from(word(buffer, 8)?) | u64::from(word(buffer, 12)?) << 32;
    let (mut there, mut at) = (0u64, 16);
    for set in 0..64u32 {
        if asked >> set & 1 == 0 {
            continue;
        }
        if let Some(strings) = ethtool::strings(state, Some(nic), set) {
            put(buffer, at, &(strings.len() as u32).to_ne_bytes())?;
            there |= 1 << set;
            at += 4;
        }
    }
    put(buffer, 8, &there.to_ne_bytes())
}

/// struct ethtool_gstrings: string_set 4, len 8, data 12 (32 bytes each). The kernel ignores the length
/// that comes in and trusts the buffer.
fn strings(state: &State, nic: &SimNic, buffer: &mut [u8]) -> Done {
    let Some(strings) = ethtool::strings(state, Some(nic), word(buffer, 4)?) else {
        return unsupported();
    };
    put(buffer, 8, &(strings.len() as u32).to_ne_bytes())?;
    for (i, string) in strings.iter().enumerate() {
        put_text(buffer, 12 + i * 32, 32, string)?;
    }
    Ok(())
}

/// struct ethtool_stats: n_stats 4, data 8 (u64 each).
fn stats(state: &State, nic: &SimNic, buffer: &mut [u8]) -> Done {
    let stats = state.stats(nic);
    if stats.is_empty() {
        return unsupported();
    }
    put(buffer, 4, &(stats.len() as u32).to_ne_bytes())?;
    for (i, (_, value)) in stats.iter().enumerate() {
        put(buffer, 8 + i * 8, &value.to_ne_bytes())?;
    }
    Ok(())
}

/// struct ethtool_rxfh_indir: size 4, ring_index 8. A size of 0 asks for the size alone.
fn get_indirection(nic: &SimNic, buffer: &mut [u8]) -> Done {
    let Some(table) = nic.table() else { return unsupported() };
    let asked = word(buffer, 4)?;
    put(buffer, 4, &(table.len() as u32).to_ne_bytes())?;
    if asked == 0 {
        return Ok(());
    }
    if (asked as usize) < table.len() {
        return Err(Refusal::errno(libc::EINVAL));
    }
    let bytes: Vec<u8> = table.iter().flat_map(|queue| queue.to_ne_bytes()).collect();
    put(buffer, 8, &bytes)
}

/// A size of 0 gives the table back to the kernel.
fn set_indirection(state: &mut State, nic: &SimNic, buffer: &[u8]) -> Done {
    let size = word(buffer, 4)? as usize;
    if size == 0 {
        return channels::write_rss(state, nic.ifindex, None);
    }
    if nic.rss.as_ref().is_some_and(|rss| rss.size as usize != size) {
        return Err(Refusal::errno(libc::EINVAL));
    }
    let table: Result<Vec<u32>, Refusal> = (0..size).map(|i| word(buffer, 8 + i * 4)).collect();
    channels::write_rss(state, nic.ifindex, Some(table?))
}

fn count_rules(nic: &SimNic, buffer: &mut [u8]) -> Done {
    let Some(rules) = &nic.rules else { return unsupported() };
    put(buffer, RXNFC_DATA, &u64::from(RULES_MAX).to_ne_bytes())?;
    put(buffer, RXNFC_RULE_CNT, &(rules.len() as u32).to_ne_bytes())
}

fn list_rules(nic: &SimNic, buffer: &mut [u8]) -> Done {
    let Some(rules) = &nic.rules else { return unsupported() };
    if (word(buffer, RXNFC_RULE_CNT)? as usize) < rules.len() {
        return Err(Refusal::errno(libc::EMSGSIZE));
    }
    put(buffer, RXNFC_DATA, &u64::from(RULES_MAX).to_ne_bytes())?;
    put(buffer, RXNFC_RULE_CNT, &(rules.len() as u32).to_ne_bytes())?;
    for (i, slot) in rules.keys().enumerate() {
        put(buffer, RXNFC_RULE_LOCS + i * 4, &slot.to_ne_bytes())?;
    }
    Ok(())
}

fn get_rule(nic: &SimNic, buffer: &mut [u8]) -> Done {
    let Some(rules) = &nic.rules else { return unsupported() };
    let slot = word(buffer, RXNFC_FS + FS_LOCATION)?;
    let rule = rules.get(&slot).ok_or_else(|| Refusal::errno(libc::ENOENT))?;
    put(buffer, RXNFC_FS, &rule_spec(rule))?;
    put(buffer, RXNFC_FS + FS_COOKIE, &rule.queue.to_ne_bytes())?;
    put(buffer, RXNFC_FS + FS_LOCATION, &slot.to_ne_bytes())
}

/// The bytes of a rule before its ring_cookie.
fn rule_spec(rule: &Rule) -> Vec<u8> {
    let nibble = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
    let mut bytes: Vec<u8> = rule
        .spec
        .as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |v, c| v << 4 | nibble(*c)))
        .collect();
    bytes.resize(FS_COOKIE, 0);
    if rule.spec.is_empty() {
        // UDP_V4_FLOW; pdst of udp_ip4_spec is at byte 10 of the union, its mask 72 bytes on.
        bytes[..4].copy_from_slice(&2u32.to_ne_bytes());
        bytes[4 + 10..4 + 12].copy_from_slice(&4789u16.to_be_bytes());
        bytes[4 + 72 + 10..4 + 72 + 12].copy_from_slice(&u16::MAX.to_be_bytes());
    }
    bytes
}

fn insert_rule(state: &mut State, nic: &SimNic, buffer: &mut [u8]) -> Done {
    let Some(rules) = &nic.rules else { return unsupported() };
    let mut slot = word(buffer, RXNFC_FS + FS_LOCATION)?;
    if slot & LOCATION_SPECIAL != 0 {
        let free = (0..RULES_MAX).find(|slot| !rules.contains_key(slot));
        slot = free.ok_or_else(|| Refusal::errno(libc::ENOSPC))?;
        put(buffer, RXNFC_FS + FS_LOCATION, &slot.to_ne_bytes())?;
    }
    if slot >= RULES_MAX {
        return Err(Refusal::errno(libc::EINVAL));
    }
    let at = RXNFC_FS + FS_COOKIE;
    let queue = u64::from(word(buffer, at)?) | u64::from(word(buffer, at + 4)?) << 32;
    let spec = &buffer[RXNFC_FS..RXNFC_FS + FS_COOKIE];
    let spec = spec.iter().map(|byte| format!("{byte:02x}")).collect();
    channels::write_rule(state, nic.ifindex, slot, Some(Rule { queue, spec }))
}
