//! Writing rings, coalescing, pause and EEE: the checks of the core, then the driver's ways.
//!
//! Source: net/ethtool/{rings,coalesce,pause,eee}.c.

use std::collections::BTreeMap;

use super::{
    Refusal, SimNic, State,
    quirk::{self, Quirk},
};

/// The numbers that a request names, by name.
pub(super) type Asked = BTreeMap<String, u64>;

fn gone() -> Refusal {
    Refusal::errno(libc::ENODEV)
}

pub(super) fn write_rings(state: &mut State, ifindex: u32, asked: &Asked) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
    if nic.rings.is_empty() {
        return Err(Refusal::errno(libc::EOPNOTSUPP));
    }
    for (name, value) in asked {
        match nic.rings.get(name) {
            None if ["rx", "tx", "rx-mini", "rx-jumbo"].contains(&name.as_str()) && *value == 0 => {
            }
            None => return Err(Refusal::because(libc::EOPNOTSUPP, "setting not supported")),
            Some(ring) if *value > ring.max => {
                let why = "requested ring size exceeds maximum";
                return Err(Refusal::because(libc::EINVAL, why));
            }
            Some(_) => {}
        }
    }
    if asked.iter().all(|(name, value)| nic.rings.get(name).is_none_or(|r| r.value == *value)) {
        return Ok(());
    }
    quirk::busy(state, ifindex, "ring")?;
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(gone)?;
    for (name, value) in asked {
        let now = nic.rings.get(name).map_or(0, |r| r.value);
        let taken = quirk::taken(nic, &format!("ring.{name}"), now, *value);
        if let Some(ring) = nic.rings.get_mut(name) {
            ring.value = taken.min(ring.max);
        }
    }
    state.announce(ifindex, "ring");
    quirk::felt(state, ifindex, "ring");
    Ok(())
}

pub(super) fn write_coalesce(
    state: &mut State,
    ifindex: u32,
    asked: &Asked,
) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
    if nic.coalesce.is_empty() {
        return Err(Refusal::errno(libc::EOPNOTSUPP));
    }
    if asked.keys().any(|name| !nic.coalesce.contains_key(name)) {
        return Err(Refusal::because(libc::EINVAL, "cannot modify an unsupported parameter"));
    }
    if asked.iter().all(|(name, value)| nic.coalesce.get(name) == Some(value)) {
        return Ok(());
    }
    quirk::busy(state, ifindex, "coalesce")?;
    usecs_under_adaptive(nic_of(state, ifindex)?, asked)?;
    let fresh = state.fresh(ifindex);
    let nic = state.machine.by_index_mut(ifindex).ok_or_else(gone)?;
    let mut asked = asked.clone();
    if nic.quirks.contains(&Quirk::AdaptiveOffDropsUsecs) {
        for side in ["rx", "tx"] {
            let switch = format!("adaptive-{side}");
            if asked.get(&switch) == Some(&0) && nic.coalesce.get(&switch) == Some(&1) {
                for what in ["usecs", "frames"] {
                    let name = format!("{side}-{what}");
                    asked.remove(&name);
                    if let Some(driver) = fresh.coalesce.get(&name) {
                        nic.coalesce.insert(name, *driver);
                    }
                }
            }
        }
    }
    for (name, value) in &asked {
        let now = nic.coalesce.get(name).copied().unwrap_or(0);
        let taken = quirk::taken(nic, &format!("coalesce.{name}"), now, *value);
        nic.coalesce.insert(name.clone(), taken);
    }
    state.announce(ifindex, "coalesce");
    quirk::felt(state, ifindex, "coalesce");
    Ok(())
}

fn nic_of(state: &State, ifindex: u32) -> Result<&SimNic, Refusal> {
    state.machine.by_index(ifindex).ok_or_else(gone)
}

/// drivers/net/ethernet/intel/ice/ice_ethtool.c, ice_set_q_coalesce.
fn usecs_under_adaptive(nic: &SimNic, asked: &Asked) -> Result<(), Refusal> {
    let refuses = |side: &str| {
        let value = |name: &str| asked.get(name).or_else(|| nic.coalesce.get(name)).copied();
        let usecs = format!("{side}-usecs");
        let moved = asked.get(&usecs).is_some_and(|to| nic.coalesce.get(&usecs) != Some(to));
        moved && value(&format!("adaptive-{side}")) == Some(1)
    };
    let strict = nic.quirks.contains(&Quirk::UsecsRefusedUnderAdaptive);
    if strict && (refuses("rx") || refuses("tx")) {
        let why = "interrupt throttling cannot be changed if adaptive is enabled";
        return Err(Refusal::because(libc::EINVAL, why));
    }
    Ok(())
}

pub(super) fn write_pause(state: &mut State, ifindex: u32, asked: &Asked) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
    let before = nic.pause.ok_or_else(|| Refusal::errno(libc::EOPNOTSUPP))?;
    let bit = |name: &str, now: bool| {
        let asked = asked.get(name).map_or(u64::from(now), |v| u64::from(*v != 0));
        quirk::taken(nic, &format!("pause.{name}"), u64::from(now), asked) != 0
    };
    let after = super::Pause {
        autoneg: bit("autoneg", before.autoneg),
        rx: bit("rx", before.rx),
        tx: bit("tx", before.tx),
    };
    if after == before {
        return Ok(());
    }
    quirk::busy(state, ifindex, "pause")?;
    state.machine.by_index_mut(ifindex).ok_or_else(gone)?.pause = Some(after);
    state.announce(ifindex, "pause");
    quirk::felt(state, ifindex, "pause");
    Ok(())
}

pub(super) fn write_eee(state: &mut State, ifindex: u32, asked: &Asked) -> Result<(), Refusal> {
    let nic = state.machine.by_index(ifindex).ok_or_else(gone)?;
    let before = nic.eee.ok_or_else(|| Refusal::errno(libc::EOPNOTSUPP))?;
    let number = |name: &str, now: u64| {
        let asked = asked.get(name).copied().unwrap_or(now);
        quirk::taken(nic, &format!("eee.{name}"), now, asked)
    };
    let after = super::Eee {
        enabled: number("enabled", u64::from(before.enabled)) != 0,
        active: before.active,
        tx_lpi_enabled: number("tx-lpi-enabled", u64::from(before.tx_lpi_enabled)) != 0,
        tx_lpi_timer: number("tx-lpi-timer", u64::from(before.tx_lpi_timer)) as u32,
    };
    if after == before {
        return Ok(());
    }
    quirk::busy(state, ifindex, "eee")?;
    state.machine.by_index_mut(ifindex).ok_or_else(gone)?.eee = Some(after);
    state.announce(ifindex, "eee");
    quirk::felt(state, ifindex, "eee");
    Ok(())
}
