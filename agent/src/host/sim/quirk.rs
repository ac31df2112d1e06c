//! What real drivers do beyond their documentation, each switchable per NIC.
//!
//! Which driver does what: igb, e1000e, ixgbe and tg3 drop the link on a ring change; ice clears
//! affinity and coalescing on a channel change; mlx5 and bnxt drop `rx-usecs` that comes together with
//! `adaptive-rx off`; cxgb4 answers EBUSY; mlx5 keeps only powers of two; ice rounds `rx-usecs` to even.

use serde::{Deserialize, Serialize};

use super::{Refusal, State, machine::SimNic};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quirk {
    /// Writing channels also puts this back to what a fresh driver has.
    ChannelsReset(Reset),
    /// Writing channels asks for new interrupts: other IRQ numbers.
    ChannelsRenumberIrqs,
    /// The driver itself refuses any channel write while a user's RSS table is in place.
    ChannelsRefusedUnderRss,
    /// `rx-usecs` and `tx-usecs` in the request that turns adaptive moderation off are dropped, and
    /// moderation falls back to the value the driver booted with.
    AdaptiveOffDropsUsecs,
    /// Another `rx-usecs` or `tx-usecs` in a request that leaves adaptive moderation on is refused
    /// (ice, iavf: EINVAL).
    UsecsRefusedUnderAdaptive,
    /// A write of this family (`ring`, `channels`, …) takes the link down.
    LinkFlap { on: String, ms: u64 },
    /// A write of this family holds the kernel for so long.
    Slow { on: String, ms: u64 },
    /// Rounded up to the next power of two, silently.
    PowerOfTwo { setting: String },
    /// Rounded down to a multiple, silently.
    Multiple { setting: String, of: u64 },
    /// Held between these, silently.
    Clamp { setting: String, min: u64, max: u64 },
    /// Acknowledged, and then nothing: a read gives the old value.
    Ignored { setting: String },
    /// Acknowledged and read back as new, but traffic still sees the old value.
    Deaf { setting: String },
    /// The first so many writes of this family are refused with EBUSY.
    Busy { on: String, tries: u32 },
    /// A write of this family is refused with EBUSY while the NIC is up (cxgb4's rings).
    BusyWhileUp { on: String },
    /// This feature is in force only while the other one is.
    FeatureNeeds { feature: String, needs: String },
    /// A flash fails once it is so far.
    FlashFails { percent: u8 },
    /// A flash is acknowledged, and nothing is stored.
    FlashLies,
    /// A flash to a lower version than the one stored is refused (anti-rollback).
    DowngradeRefused,
    /// `fw_activate` is acknowledged, and the device runs what it ran.
    ActivatesOld,
    /// The kernel works on the device's first `flash` or `reload` for so long.
    Holds { on: String, ms: u64 },
    /// `fw_activate` is refused where nothing else than what runs is stored.
    ActivatesNewOnly,
    /// The first `fw_activate` ends with the ports gone; the next brings them back.
    ActivationDead,
    /// The driver does not tell what the device stores.
    StoresUntold,
    /// A device that stores another version than it runs tells no running one.
    SilentWhilePending,
    /// An image cannot be placed where the kernel looks for it: the disk is full.
    PlaceFails,
    /// What was placed there cannot be removed, so many times.
    Unremovable { tries: u32 },
    /// The kernel manages the interrupts' affinity itself and refuses writes with EIO.
    ManagedIrqs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    Affinity,
    Xps,
    Rps,
    Coalesce,
    /// A user's RSS table, too.
    Rss,
}

/// What a driver makes of one number on its way in.
pub(super) fn taken(nic: &SimNic, name: &str, now: u64, asked: u64) -> u64 {
    nic.quirks.iter().fold(asked, |value, quirk| {
        if let Quirk::PowerOfTwo { setting } = quirk
            && setting == name
        {
            value.max(1).next_power_of_two()
        } else if let Quirk::Multiple { setting, of } = quirk
            && setting == name
        {
            value - value % (*of).max(1)
        } else if let Quirk::Clamp { setting, min, max } = quirk
            && setting == name
        {
            value.max(*min).min(*max)
        } else if let Quirk::Ignored { setting } = quirk
            && setting == name
        {
            now
        } else {
            value
        }
    })
}

/// Whether writes of this setting are acknowledged and dropped.
pub(super) fn ignored(nic: &SimNic, name: &str) -> bool {
    nic.quirks.iter().any(|q| matches!(q, Quirk::Ignored { setting } if setting == name))
}

/// Whether a write of `family` is refused for now.
pub(super) fn busy(state: &mut State, ifindex: u32, family: &str) -> Result<(), Refusal> {
    let Some(nic) = state.machine.by_index(ifindex) else {
        return Err(Refusal::errno(libc::ENODEV));
    };
    let mut tries_left = 0;
    for quirk in &nic.quirks {
        if let Quirk::Busy { on, tries } = quirk
            && on == family
        {
            tries_left = *tries;
        }
        if let Quirk::BusyWhileUp { on } = quirk
            && on == family
            && nic.up
        {
            tries_left = u32::MAX;
        }
    }
    let seen = state.refused.entry((ifindex, family.to_owned())).or_insert(0);
    if *seen >= tries_left {
        return Ok(());
    }
    *seen += 1;
    Err(Refusal::errno(libc::EBUSY))
}

/// What a successful write of `family` does to the link and to time.
pub(super) fn felt(state: &mut State, ifindex: u32, family: &str) {
    let Some(nic) = state.machine.by_index(ifindex) else { return };
    let (mut held_ms, mut down_ms) = (0, 0);
    for quirk in &nic.quirks {
        if let Quirk::Slow { on, ms } = quirk
            && on == family
        {
            held_ms += ms;
        }
        if let Quirk::LinkFlap { on, ms } = quirk
            && on == family
        {
            down_ms += ms;
        }
    }
    state.advance(held_ms * 1_000_000);
    if down_ms > 0 {
        state.link_down_until.insert(ifindex, state.mono_ns + down_ms * 1_000_000);
        state.announce(ifindex, "link");
    }
}

/// What writing channels does to the rest of the NIC.
pub(super) fn channels_written(state: &mut State, ifindex: u32) {
    let all = state.machine.all_cpus();
    let fresh = state.fresh(ifindex);
    let Some(nic) = state.machine.by_index_mut(ifindex) else { return };
    for quirk in nic.quirks.clone() {
        if let Quirk::ChannelsReset(what) = quirk {
            match what {
                Reset::Affinity => nic.irq.clear(),
                Reset::Xps => nic.xps.clear(),
                Reset::Rps => nic.rps.clear(),
                Reset::Coalesce => nic.coalesce.clone_from(&fresh.coalesce),
                Reset::Rss => nic.rss.iter_mut().for_each(|rss| rss.table = None),
            }
        }
        if quirk == Quirk::ChannelsRenumberIrqs {
            *state.irq_shift.entry(ifindex).or_insert(0) += 200;
        }
    }
    nic.fit_queues(&all);
    // The kernel gives new NAPI instances new ids.
    state.napi_shift += 16;
    state.rebuild();
}
