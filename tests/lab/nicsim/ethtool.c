// SPDX-License-Identifier: GPL-2.0
/* What ethtool shows and sets. Transmit rings and moderation are kept and shown; they delay nothing. */
#include "nicsim.h"

static const char flag_names[][ETH_GSTRING_LEN] = { "rx_striding", "rx_cqe_moder" };

static const char total_names[][ETH_GSTRING_LEN] = {
	"rx_missed", "rx_slow_path", "rx_interrupts", "rx_interrupts_lost", "rx_queue_resets",
};

static const char queue_names[][ETH_GSTRING_LEN] = {
	"rx_queue_%u_packets", "rx_queue_%u_bytes", "tx_queue_%u_packets",
};

static void get_drvinfo(struct net_device *netdev, struct ethtool_drvinfo *info)
{
	struct nicsim *nic = nicsim_port_of(netdev)->nic;

	strscpy(info->driver, KBUILD_MODNAME, sizeof(info->driver));
	snprintf(info->fw_version, sizeof(info->fw_version), "%.14s (%s)", nic->running.version, NICSIM_BOARD);
	strscpy(info->bus_info, pci_name(nic->pdev), sizeof(info->bus_info));
}

static void get_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
			  struct kernel_ethtool_ringparam *kernel_ring, struct netlink_ext_ack *extack)
{
	struct nicsim_port *port = nicsim_port_of(netdev);

	ring->rx_max_pending = ring->tx_max_pending = NICSIM_RING_MAX;
	ring->rx_pending = port->ring_rx;
	ring->tx_pending = port->ring_tx;
}

static int set_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
			 struct kernel_ethtool_ringparam *kernel_ring, struct netlink_ext_ack *extack)
{
	struct nicsim_port *port = nicsim_port_of(netdev);
	u32 rx = ring->rx_pending, tx = ring->tx_pending;

	if (nicsim_busy(port->nic))
		return -EBUSY;
	if (rx < NICSIM_RING_MIN || tx < NICSIM_RING_MIN) {
		NL_SET_ERR_MSG(extack, "rings have 64 descriptors or more");
		return -EINVAL;
	}
	if (nicsim_ring_clamp && nicsim_faulty(port->nic)) {
		rx = min(rx, nicsim_ring_clamp);
		tx = min(tx, nicsim_ring_clamp);
	}
	return nicsim_requeue(port, port->queue_count, rx, tx);
}

static int get_coalesce(struct net_device *netdev, struct ethtool_coalesce *coalesce,
			struct kernel_ethtool_coalesce *kernel_coalesce, struct netlink_ext_ack *extack)
{
	struct nicsim_port *port = nicsim_port_of(netdev);

	coalesce->rx_coalesce_usecs = port->rx_usecs;
	coalesce->rx_max_coalesced_frames = port->rx_frames;
	coalesce->tx_coalesce_usecs = port->tx_usecs;
	coalesce->tx_max_coalesced_frames = port->tx_frames;
	coalesce->use_adaptive_rx_coalesce = port->adaptive_rx;
	return 0;
}

static int set_coalesce(struct net_device *netdev, struct ethtool_coalesce *coalesce,
			struct kernel_ethtool_coalesce *kernel_coalesce, struct netlink_ext_ack *extack)
{
	struct nicsim_port *port = nicsim_port_of(netdev);
	bool adaptive = coalesce->use_adaptive_rx_coalesce;
	bool faulty = nicsim_faulty(port->nic);

	if (nicsim_busy(port->nic))
		return -EBUSY;
	if (coalesce->rx_coalesce_usecs > 10000 || coalesce->tx_coalesce_usecs > 10000) {
		NL_SET_ERR_MSG(extack, "moderation is 10000 us at most");
		return -ERANGE;
	}
	if (nicsim_coalesce_deaf && faulty)
		return 0;
	if (!(nicsim_coalesce_two_step && faulty && port->adaptive_rx && !adaptive))
		port->rx_usecs = coalesce->rx_coalesce_usecs;
	port->rx_frames = coalesce->rx_max_coalesced_frames;
	port->tx_usecs = coalesce->tx_coalesce_usecs;
	port->tx_frames = coalesce->tx_max_coalesced_frames;
	port->adaptive_rx = adaptive;
	return 0;
}

static void get_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	channels->max_combined = NICSIM_QUEUES_MAX;
	channels->combined_count = nicsim_port_of(netdev)->queue_count;
}

static int set_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	struct nicsim_port *port = nicsim_port_of(netdev);

	if (nicsim_busy(port->nic))
		return -EBUSY;
	if (!channels->combined_count)
		return -EINVAL;
	return nicsim_requeue(port, channels->combined_count, port->ring_rx, port->ring_tx);
}

static void get_pauseparam(struct net_device *netdev, struct ethtool_pauseparam *pause)
{
	pause->rx_pause = nicsim_port_of(netdev)->pause_rx;
	pause->tx_pause = nicsim_port_of(netdev)->pause_tx;
}

static int set_pauseparam(struct net_device *netdev, struct ethtool_pauseparam *pause)
{
	struct nicsim_port *port = nicsim_port_of(netdev);

	if (pause->autoneg)
		return -EINVAL;
	port->pause_rx = pause->rx_pause;
	port->pause_tx = pause->tx_pause;
	return 0;
}

static int get_sset_count(struct net_device *netdev, int set)
{
	switch (set) {
	case ETH_SS_STATS:
		return ARRAY_SIZE(total_names) +
		       nicsim_port_of(netdev)->queue_count * ARRAY_SIZE(queue_names);
	case ETH_SS_PRIV_FLAGS:
		return ARRAY_SIZE(flag_names);
	default:
		return -EOPNOTSUPP;
	}
}

static void get_strings(struct net_device *netdev, u32 set, u8 *data)
{
	unsigned int number, name;

	if (set == ETH_SS_PRIV_FLAGS)
		memcpy(data, flag_names, sizeof(flag_names));
	if (set != ETH_SS_STATS)
		return;
	memcpy(data, total_names, sizeof(total_names));
	data += sizeof(total_names);
	for (number = 0; number < nicsim_port_of(netdev)->queue_count; number++)
		for (name = 0; name < ARRAY_SIZE(queue_names); name++)
			ethtool_sprintf(&data, queue_names[name], number);
}

static void get_ethtool_stats(struct net_device *netdev, struct ethtool_stats *stats, u64 *data)
{
	struct nicsim_port *port = nicsim_port_of(netdev);
	struct nicsim_counts total = {};
	unsigned int number;

	for (number = 0; number < NICSIM_QUEUES_MAX; number++) {
		const struct nicsim_counts *counts = &port->queues[number].counts;

		total.missed += READ_ONCE(counts->missed);
		total.slow_path += READ_ONCE(counts->slow_path);
		total.interrupts += READ_ONCE(counts->interrupts);
		total.interrupts_lost += READ_ONCE(counts->interrupts_lost);
		total.resets += READ_ONCE(counts->resets);
	}
	*data++ = total.missed;
	*data++ = total.slow_path;
	*data++ = total.interrupts;
	*data++ = total.interrupts_lost;
	*data++ = total.resets;
	for (number = 0; number < port->queue_count; number++) {
		*data++ = READ_ONCE(port->queues[number].counts.packets);
		*data++ = READ_ONCE(port->queues[number].counts.bytes);
		*data++ = READ_ONCE(port->queues[number].tx_packets);
	}
}

static u32 get_priv_flags(struct net_device *netdev)
{
	return nicsim_port_of(netdev)->flags;
}

static int set_priv_flags(struct net_device *netdev, u32 flags)
{
	struct nicsim_port *port = nicsim_port_of(netdev);

	if (nicsim_busy(port->nic))
		return -EBUSY;
	port->flags = flags;
	return 0;
}

static int get_rxnfc(struct net_device *netdev, struct ethtool_rxnfc *info, u32 *rules)
{
	if (info->cmd != ETHTOOL_GRXRINGS)
		return -EOPNOTSUPP;
	info->data = nicsim_port_of(netdev)->queue_count;
	return 0;
}

void nicsim_default_indir(struct nicsim_port *port)
{
	unsigned int at;

	for (at = 0; at < NICSIM_INDIR; at++)
		WRITE_ONCE(port->indir[at], ethtool_rxfh_indir_default(at, port->queue_count));
}

static u32 get_rxfh_indir_size(struct net_device *netdev)
{
	return NICSIM_INDIR;
}

static void set_indir(struct nicsim_port *port, const u32 *indir)
{
	unsigned int at;

	for (at = 0; indir && at < NICSIM_INDIR; at++)
		WRITE_ONCE(port->indir[at], indir[at]);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
static int get_rxfh(struct net_device *netdev, struct ethtool_rxfh_param *rxfh)
{
	rxfh->hfunc = ETH_RSS_HASH_TOP;
	if (rxfh->indir)
		memcpy(rxfh->indir, nicsim_port_of(netdev)->indir, NICSIM_INDIR * sizeof(u32));
	return 0;
}

static int set_rxfh(struct net_device *netdev, struct ethtool_rxfh_param *rxfh,
		    struct netlink_ext_ack *extack)
{
	set_indir(nicsim_port_of(netdev), rxfh->indir);
	return 0;
}
#else
static int get_rxfh(struct net_device *netdev, u32 *indir, u8 *key, u8 *hfunc)
{
	if (hfunc)
		*hfunc = ETH_RSS_HASH_TOP;
	if (indir)
		memcpy(indir, nicsim_port_of(netdev)->indir, NICSIM_INDIR * sizeof(u32));
	return 0;
}

static int set_rxfh(struct net_device *netdev, const u32 *indir, const u8 *key, const u8 hfunc)
{
	if (key || (hfunc != ETH_RSS_HASH_NO_CHANGE && hfunc != ETH_RSS_HASH_TOP))
		return -EOPNOTSUPP;
	set_indir(nicsim_port_of(netdev), indir);
	return 0;
}
#endif

static int get_link_ksettings(struct net_device *netdev, struct ethtool_link_ksettings *settings)
{
	ethtool_link_ksettings_zero_link_mode(settings, supported);
	ethtool_link_ksettings_zero_link_mode(settings, advertising);
	ethtool_link_ksettings_add_link_mode(settings, supported, 100000baseCR4_Full);
	settings->base.speed = netif_carrier_ok(netdev) ? SPEED_100000 : SPEED_UNKNOWN;
	settings->base.duplex = netif_carrier_ok(netdev) ? DUPLEX_FULL : DUPLEX_UNKNOWN;
	settings->base.port = PORT_DA;
	settings->base.autoneg = AUTONEG_DISABLE;
	return 0;
}

/* As bnxt does it: the reset is taken on and done later, without the caller's lock. */
static int reset(struct net_device *netdev, u32 *flags)
{
	struct nicsim *nic = nicsim_port_of(netdev)->nic;
	u32 firmware = ETH_RESET_MGMT | (ETH_RESET_MGMT << ETH_RESET_SHARED_SHIFT);

	if (!(*flags & firmware))
		return -EOPNOTSUPP;
	if (nicsim_busy(nic))
		return -EBUSY;
	*flags = 0;
	schedule_work(&nic->reset_work);
	return 0;
}

const struct ethtool_ops nicsim_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_USECS | ETHTOOL_COALESCE_MAX_FRAMES |
				     ETHTOOL_COALESCE_USE_ADAPTIVE_RX,
	.get_drvinfo = get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = get_link_ksettings,
	.get_ringparam = get_ringparam,
	.set_ringparam = set_ringparam,
	.get_coalesce = get_coalesce,
	.set_coalesce = set_coalesce,
	.get_channels = get_channels,
	.set_channels = set_channels,
	.get_pauseparam = get_pauseparam,
	.set_pauseparam = set_pauseparam,
	.get_sset_count = get_sset_count,
	.get_strings = get_strings,
	.get_ethtool_stats = get_ethtool_stats,
	.get_priv_flags = get_priv_flags,
	.set_priv_flags = set_priv_flags,
	.get_rxnfc = get_rxnfc,
	.get_rxfh_indir_size = get_rxfh_indir_size,
	.get_rxfh = get_rxfh,
	.set_rxfh = set_rxfh,
	.get_ts_info = ethtool_op_get_ts_info,
	.reset = reset,
};
