//! What traffic feels on each driver, and what else a write may change there: one table, with sources.
//!
//! Files are of Linux 7.2, under drivers/net/. A driver that is not here is assumed to do the worst
//! that any known one does.

use playbooks::{
    Name,
    vocabulary::Disruption::{self, LinkFlap, NicReset, None, QueueReset},
};

use crate::host::Nic;

/// What traffic feels when `name` is written on this NIC.
pub(super) fn of(nic: &Nic, name: &Name) -> Disruption {
    let least = name.setting().disruption;
    let known = TRUTHS.iter().filter(|truth| truth.driver == nic.driver);
    let known =
        known.filter(|truth| truth.setting == name.as_str() || truth.setting == name.family());
    // A setting's own row tells more than its family's.
    match known.max_by_key(|truth| truth.setting.len()) {
        Some(truth) => truth.felt.max(least),
        Option::None => least.max(assumed(nic, name)),
    }
}

/// The worst that traffic feels of any setting of this driver's NICs.
pub fn worst(driver: &str) -> Disruption {
    let known = TRUTHS.iter().filter(|truth| truth.driver == driver);
    known.map(|truth| truth.felt).fold(LinkFlap, Disruption::max)
}

/// Settings and families that writing `name` on this NIC may change behind the operator's back.
pub(super) fn disturbed(nic: &Nic, name: &Name) -> Vec<&'static str> {
    let mut all = name.setting().disturbs.to_vec();
    for (driver, family, also, _source) in ALSO_DISTURBED {
        let here = *driver == nic.driver && *family == name.family();
        all.extend(also.iter().filter(|_| here));
    }
    all.retain(|disturbed| *disturbed != name.as_str());
    all.dedup();
    all
}

/// The worst that is known of any driver; nothing where there is no device behind the NIC.
fn assumed(nic: &Nic, name: &Name) -> Disruption {
    if SOFTWARE_DRIVERS.contains(&nic.driver.as_str()) {
        return None;
    }
    match name.family() {
        "ring" | "channels" | "private-flag" | "devlink-param" => LinkFlap,
        "feature" if !STACK_FEATURES.contains(&name.rest()) => LinkFlap,
        "coalesce" => QueueReset,
        _ => None,
    }
}

/// Drivers with no device behind them.
const SOFTWARE_DRIVERS: [&str; 9] =
    ["veth", "dummy", "bridge", "bond", "tun", "macvlan", "vlan", "ifb", "team"];

/// Features of the kernel's own stack (NETIF_F_SOFT_FEATURES): no driver is asked.
const STACK_FEATURES: [&str; 5] = [
    "rx-gro",
    "rx-gro-list",
    "rx-udp-gro-forwarding",
    "tx-generic-segmentation",
    "tx-nocache-copy",
];

struct Truth {
    driver: &'static str,
    /// A setting, or a whole family.
    setting: &'static str,
    felt: Disruption,
    #[allow(dead_code)] // for the reader: where it is written
    source: &'static str,
}

const fn truth(
    driver: &'static str,
    setting: &'static str,
    felt: Disruption,
    source: &'static str,
) -> Truth {
    Truth { driver, setting, felt, source }
}

#[rustfmt::skip] // one truth a line
static TRUTHS: &[Truth] = &[
    truth("mlx5_core", "ring", QueueReset, "en_ethtool.c:454 mlx5e_safe_switch_params: the physical port stays up"),
    truth("mlx5_core", "channels", QueueReset, "en_ethtool.c:505"),
    truth("mlx5_core", "coalesce", None, "en_ethtool.c mlx5e_ethtool_set_coalesce: moderation changed in place"),
    truth("mlx5_core", "private-flag", QueueReset, "en_ethtool.c:2261 mlx5e_safe_switch_params"),
    truth("mlx5_core", "feature", QueueReset, "en_main.c mlx5e_set_features: LRO, GRO-HW, aRFS, RXFCS reopen the channels"),
    truth("ice", "ring", QueueReset, "ice_ethtool.c:3208 ice_down, ice_up"),
    truth("ice", "channels", LinkFlap, "ice_ethtool.c:3956 ice_vsi_recfg_qs: the VSI is rebuilt, RDMA is away for 3-5 s"),
    truth("ice", "coalesce", None, "ice_ethtool.c:4149: written to GLINT_ITR"),
    truth("i40e", "ring", QueueReset, "i40e_ethtool.c:2210 i40e_down, i40e_up"),
    truth("i40e", "channels", NicReset, "i40e_ethtool.c:5028 i40e_reconfig_rss_queues: PF reset and rebuild"),
    truth("i40e", "coalesce", None, "i40e_ethtool.c i40e_set_coalesce: written to the ITR registers"),
    truth("i40e", "feature.rx-ntuple-filter", NicReset, "i40e_main.c i40e_set_features: PF reset"),
    truth("ixgbe", "ring", LinkFlap, "ixgbe_ethtool.c:1292 ixgbe_down: the 82599's laser goes off"),
    truth("ixgbe", "channels", LinkFlap, "ixgbe_ethtool.c:3454 ixgbe_setup_tc"),
    truth("ixgbe", "coalesce", LinkFlap, "ixgbe_ethtool.c:2582 ixgbe_do_reset where WTHRESH or RSC is crossed"),
    truth("igb", "ring", LinkFlap, "igb_ethtool.c:934 igb_down: MAC reset"),
    truth("igb", "channels", LinkFlap, "igb_ethtool.c:3411 igb_reinit_queues"),
    truth("igb", "coalesce", None, "igb_ethtool.c:2186"),
    truth("e1000e", "ring", LinkFlap, "e1000e/ethtool.c:722 e1000e_down, e1000e_up"),
    truth("bnxt_en", "ring", QueueReset, "bnxt_ethtool.c:879 bnxt_close_nic without the link"),
    truth("bnxt_en", "channels", QueueReset, "bnxt_ethtool.c:1023: interrupts are requested anew"),
    truth("bnxt_en", "coalesce", None, "bnxt_ethtool.c:100 bnxt_hwrm_set_coal"),
    truth("bnxt_en", "coalesce.stats-block-usecs", QueueReset, "bnxt_ethtool.c:178: close and open"),
    truth("sfc", "ring", QueueReset, "sfc/ethtool.c:186 efx_realloc_channels"),
    truth("sfc", "coalesce", None, "sfc/ethtool.c efx_ethtool_set_coalesce"),
    truth("ena", "ring", QueueReset, "ena_ethtool.c:641 ena_update_queue_params"),
    truth("ena", "channels", QueueReset, "ena_ethtool.c:1024 ena_update_queue_count"),
    truth("ena", "coalesce", None, "ena_ethtool.c ena_set_coalesce"),
    truth("cxgb4", "ring", LinkFlap, "cxgb4_ethtool.c:928: refused until the NIC is down"),
    truth("enic", "ring", LinkFlap, "enic_ethtool.c:410 dev_close, dev_open"),
    truth("vmxnet3", "ring", NicReset, "vmxnet3_ethtool.c:780 vmxnet3_reset_dev"),
    truth("virtio_net", "ring", QueueReset, "virtio_net.c:4164: one virtqueue at a time"),
    truth("virtio_net", "channels", QueueReset, "virtio_net.c virtnet_set_channels: one control command"),
    truth("virtio_net", "coalesce", None, "virtio_net.c:5408; it refuses tx-frames 0 to n while up"),
    truth("qede", "ring", QueueReset, "qede_ethtool.c:927 qede_reload"),
    truth("qede", "channels", QueueReset, "qede_ethtool.c:1130 qede_reload"),
    truth("tg3", "ring", LinkFlap, "tg3.c:12554 tg3_phy_stop, tg3_restart_hw"),
    truth("veth", "channels", QueueReset, "veth.c veth_set_channels: NAPI stopped and started"),
    truth("veth", "feature.rx-gro", QueueReset, "veth.c veth_set_features: NAPI enabled or deleted"),
];

/// Driver, family written, what it changes too, where that is written.
static ALSO_DISTURBED: &[(&str, &str, &[&str], &str)] = &[
    ("ice", "channels", &["coalesce"], "ice README: affinity and tuning are cleared"),
    ("enic", "ring", &["irq"], "enic_ethtool.c:410: interrupts are requested anew"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::NicId;

    fn nic(driver: &str) -> Nic {
        Nic {
            id: NicId::Virtual { netns: 1, name: "eth1".into(), mac: String::new() },
            name: "eth1".into(),
            ifindex: 2,
            driver: driver.into(),
            kernel_base: Option::None,
            pci: Option::None,
            numa: Option::None,
        }
    }

    fn felt(driver: &str, setting: &str) -> Disruption {
        of(&nic(driver), &Name::try_from(setting).unwrap())
    }

    #[test]
    fn drivers_differ_and_the_unknown_is_assumed_worst() {
        for driver in ["igb", "e1000e", "ixgbe", "tg3", "a-driver-nobody-knows", ""] {
            assert_eq!(felt(driver, "ring.rx"), LinkFlap, "{driver}");
        }
        for driver in ["mlx5_core", "ice", "i40e", "bnxt_en"] {
            assert_eq!(felt(driver, "ring.rx"), QueueReset, "{driver}");
        }
        assert_eq!(felt("a-driver-nobody-knows", "channels.combined"), LinkFlap);
        assert_eq!(felt("veth", "channels.rx"), QueueReset);
        assert_eq!(felt("ixgbe", "coalesce.rx-usecs"), LinkFlap);
        assert_eq!(felt("igb", "coalesce.rx-usecs"), None);
        assert_eq!(felt("bnxt_en", "coalesce.rx-usecs"), None);
        assert_eq!(felt("bnxt_en", "coalesce.stats-block-usecs"), QueueReset);
        assert_eq!(felt("igb", "pause.rx"), LinkFlap);
        assert_eq!(felt("igb", "feature.rx-gro"), None);
        assert_eq!(felt("veth", "feature.tx-checksum-ip-generic"), None);
    }

    #[test]
    fn every_truth_is_of_a_known_setting() {
        for truth in TRUTHS {
            let known = truth.setting.contains('.') && Name::try_from(truth.setting).is_ok()
                || crate::setting::SETTINGS.iter().any(|family| family.name() == truth.setting);
            assert!(known, "{}", truth.setting);
            let same =
                |other: &&Truth| (other.driver, other.setting) == (truth.driver, truth.setting);
            assert_eq!(TRUTHS.iter().filter(same).count(), 1, "{}", truth.driver);
        }
    }

    #[test]
    fn channels_of_ice_take_its_coalescing_along() {
        let channels = Name::try_from("channels.combined").unwrap();
        assert!(disturbed(&nic("ice"), &channels).contains(&"coalesce"));
        assert!(!disturbed(&nic("igb"), &channels).contains(&"coalesce"));
        assert!(disturbed(&nic("igb"), &channels).contains(&"irq"));
        let tso = Name::try_from("feature.tx-tcp-segmentation").unwrap();
        assert_eq!(disturbed(&nic("igb"), &tso), ["feature.tx-tcp-mangleid-segmentation"]);
    }
}
