// SPDX-License-Identifier: GPL-2.0
/* Ports: a netdev that comes and goes with its firmware, one end of a wire. */
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "nicsim.h"

/* Which port is wired to which, and which ends are ready for a link. Taken inside the rtnl lock. */
static DEFINE_MUTEX(wire_mutex);

struct nicsim_port *nicsim_port_of(const struct net_device *netdev)
{
	return *(struct nicsim_port **)netdev_priv(netdev);
}

static void show_carrier(struct nicsim_port *port, bool link)
{
	if (!port || !port->netdev)
		return;
	if (link)
		netif_carrier_on(port->netdev);
	else
		netif_carrier_off(port->netdev);
}

/* There is a link when both ends are ready for it. */
static void set_phy(struct nicsim_port *port, bool phy)
{
	struct nicsim_port *other;
	bool link;

	mutex_lock(&wire_mutex);
	port->phy = phy;
	other = rcu_dereference_protected(port->other, lockdep_is_held(&wire_mutex));
	link = phy && other && other->phy;
	show_carrier(port, link);
	show_carrier(other, link);
	mutex_unlock(&wire_mutex);
}

static void link_work(struct work_struct *work)
{
	set_phy(container_of(to_delayed_work(work), struct nicsim_port, link_work), true);
}

/* The wire carries bytes: the frame is new, and nothing of the sender's buffer comes along. */
static struct sk_buff *on_the_wire(const struct sk_buff *skb)
{
	unsigned int length = max_t(unsigned int, skb->len, ETH_ZLEN);
	struct sk_buff *frame = alloc_skb(NET_SKB_PAD + NET_IP_ALIGN + length, GFP_ATOMIC | __GFP_NOWARN);

	if (!frame)
		return NULL;
	skb_reserve(frame, NET_SKB_PAD + NET_IP_ALIGN);
	memset(skb_put(frame, length), 0, length);
	if (skb_copy_bits(skb, 0, frame->data, skb->len)) {
		kfree_skb(frame);
		return NULL;
	}
	return frame;
}

static netdev_tx_t start_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct nicsim_port *port = nicsim_port_of(netdev), *other;
	struct nicsim_queue *queue = &port->queues[skb_get_queue_mapping(skb)];
	struct sk_buff *frame = on_the_wire(skb);
	u32 hash = __skb_get_hash_symmetric(skb);
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	queue->tx_packets++;
	queue->tx_bytes += skb->len;
	queue->tx_dropped += !frame;
	spin_unlock_irqrestore(&queue->lock, flags);
	skb_tx_timestamp(skb);
	rcu_read_lock();
	other = rcu_dereference(port->other);
	if (frame && (!other || !netif_carrier_ok(netdev) || !nicsim_receive(other, frame, hash)))
		kfree_skb(frame);
	rcu_read_unlock();
	dev_consume_skb_any(skb);
	return NETDEV_TX_OK;
}

static int set_real_queues(struct nicsim_port *port)
{
	int err = netif_set_real_num_tx_queues(port->netdev, port->queue_count);

	return err ?: netif_set_real_num_rx_queues(port->netdev, port->queue_count);
}

static int port_open(struct net_device *netdev)
{
	struct nicsim_port *port = nicsim_port_of(netdev);

	nicsim_queues_open(port);
	netif_tx_start_all_queues(netdev);
	schedule_delayed_work(&port->link_work, msecs_to_jiffies(nicsim_link_ms));
	return 0;
}

static int port_stop(struct net_device *netdev)
{
	struct nicsim_port *port = nicsim_port_of(netdev);

	cancel_delayed_work_sync(&port->link_work);
	set_phy(port, false);
	netif_tx_disable(netdev);
	nicsim_queues_close(port);
	return 0;
}

/* Other rings or queues: what is open is closed and opened anew; the link stays. Holds the rtnl lock. */
int nicsim_requeue(struct nicsim_port *port, unsigned int queue_count, u32 ring_rx, u32 ring_tx)
{
	bool running = netif_running(port->netdev);
	int err;

	if (running) {
		netif_tx_disable(port->netdev);
		nicsim_queues_close(port);
	}
	port->ring_rx = ring_rx;
	port->ring_tx = ring_tx;
	if (queue_count != port->queue_count) {
		port->queue_count = queue_count;
		if (!netif_is_rxfh_configured(port->netdev))
			nicsim_default_indir(port);
	}
	err = set_real_queues(port);
	if (running) {
		nicsim_queues_open(port);
		netif_tx_wake_all_queues(port->netdev);
	}
	return err;
}

static void get_stats64(struct net_device *netdev, struct rtnl_link_stats64 *stats)
{
	struct nicsim_port *port = nicsim_port_of(netdev);
	unsigned int number;

	for (number = 0; number < NICSIM_QUEUES_MAX; number++) {
		const struct nicsim_queue *queue = &port->queues[number];

		stats->rx_packets += READ_ONCE(queue->counts.packets);
		stats->rx_bytes += READ_ONCE(queue->counts.bytes);
		stats->rx_missed_errors += READ_ONCE(queue->counts.missed);
		stats->tx_packets += READ_ONCE(queue->tx_packets);
		stats->tx_bytes += READ_ONCE(queue->tx_bytes);
		stats->tx_dropped += READ_ONCE(queue->tx_dropped);
	}
}

/* It takes all unicast and multicast: the stack sorts them out. */
static void set_rx_mode(struct net_device *netdev)
{
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
static struct devlink_port *get_devlink_port(struct net_device *netdev)
{
	return &nicsim_port_of(netdev)->dl_port;
}
#endif

static const struct net_device_ops netdev_ops = {
	.ndo_open = port_open,
	.ndo_stop = port_stop,
	.ndo_start_xmit = start_xmit,
	.ndo_get_stats64 = get_stats64,
	.ndo_set_rx_mode = set_rx_mode,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	.ndo_get_devlink_port = get_devlink_port,
#endif
};

/* What is configured is configured on the netdev: a new one begins with the defaults. */
static void defaults(struct nicsim_port *port)
{
	unsigned int number;

	port->queue_count = min_t(unsigned int, num_online_cpus(), NICSIM_QUEUES_MAX);
	port->ring_rx = port->ring_tx = NICSIM_RING_DEFAULT;
	port->rx_usecs = 8;
	port->rx_frames = 64;
	port->tx_usecs = 16;
	port->tx_frames = 32;
	port->adaptive_rx = true;
	port->flags = 0;
	port->pause_rx = port->pause_tx = true;
	nicsim_default_indir(port);
	for (number = 0; number < NICSIM_QUEUES_MAX; number++) {
		struct nicsim_queue *queue = &port->queues[number];

		memset(&queue->counts, 0, sizeof(queue->counts));
		queue->tx_packets = queue->tx_bytes = queue->tx_dropped = 0;
	}
}

static int register_port(struct nicsim_port *port, const char *name)
{
	struct nicsim *nic = port->nic;
	/* Of the slot, so that it is the same at every boot. */
	u8 mac[ETH_ALEN] = { 0x02, 0x6e, 0x73, nic->pdev->bus->number, nic->pdev->devfn, port->number };
	struct net_device *netdev = alloc_etherdev_mq(sizeof(port), NICSIM_QUEUES_MAX);
	int err;

	if (!netdev)
		return -ENOMEM;
	*(struct nicsim_port **)netdev_priv(netdev) = port;
	strscpy(netdev->name, name, sizeof(netdev->name));
	SET_NETDEV_DEV(netdev, &nic->pdev->dev);
	dev_net_set(netdev, devlink_net(nic->devlink));
	netdev->dev_port = port->number;
	netdev->netdev_ops = &netdev_ops;
	netdev->ethtool_ops = &nicsim_ethtool_ops;
	netdev->hw_features = NETIF_F_RXCSUM | NETIF_F_RXHASH;
	netdev->features = netdev->hw_features;
	netdev->max_mtu = 9000;
	netdev->watchdog_timeo = 5 * HZ;
	eth_hw_addr_set(netdev, mac);
	netif_carrier_off(netdev);
	port->netdev = netdev;
	defaults(port);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	SET_NETDEV_DEVLINK_PORT(netdev, &port->dl_port);
#endif
	err = set_real_queues(port) ?: register_netdev(netdev);
	if (err) {
		port->netdev = NULL;
		free_netdev(netdev);
		return err;
	}
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	devlink_port_type_eth_set(&port->dl_port, netdev);
#endif
	return 0;
}

static void unregister_port(struct nicsim_port *port)
{
	struct net_device *netdev = port->netdev;

	if (!netdev)
		return;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	devlink_port_type_clear(&port->dl_port);
#endif
	unregister_netdev(netdev);
	mutex_lock(&wire_mutex);
	port->netdev = NULL;
	mutex_unlock(&wire_mutex);
	free_netdev(netdev);
}

/* Registers the netdevs. The devlink lock is held. */
int nicsim_up(struct nicsim *nic, const char *name)
{
	unsigned int number;
	int err;

	for (number = 0; number < nic->port_count; number++) {
		err = register_port(nic->ports[number], name);
		if (err) {
			nicsim_down(nic);
			return err;
		}
	}
	nic->up = true;
	return 0;
}

/* Unregisters them, as mlx5 does before it resets; nothing to do where they are gone already. */
void nicsim_down(struct nicsim *nic)
{
	unsigned int number;

	for (number = 0; number < nic->port_count; number++)
		unregister_port(nic->ports[number]);
	nic->up = false;
}

struct nicsim_port *nicsim_port_new(struct nicsim *nic, unsigned int number)
{
	struct nicsim_port *port = kzalloc(sizeof(*port), GFP_KERNEL);
	unsigned int queue;

	if (!port)
		return NULL;
	port->nic = nic;
	port->number = number;
	INIT_DELAYED_WORK(&port->link_work, link_work);
	for (queue = 0; queue < NICSIM_QUEUES_MAX; queue++)
		nicsim_queue_init(port, queue);
	return port;
}

void nicsim_port_free(struct nicsim_port *port)
{
	kfree(port);
}

void nicsim_wire(struct nicsim *nic, struct nicsim *other)
{
	unsigned int number;

	mutex_lock(&wire_mutex);
	for (number = 0; number < min(nic->port_count, other->port_count); number++) {
		rcu_assign_pointer(nic->ports[number]->other, other->ports[number]);
		rcu_assign_pointer(other->ports[number]->other, nic->ports[number]);
	}
	mutex_unlock(&wire_mutex);
}

/* Pulls the wire; when this returns nobody's packets reach this device any more. */
void nicsim_unwire(struct nicsim *nic)
{
	unsigned int number;

	mutex_lock(&wire_mutex);
	for (number = 0; number < nic->port_count; number++) {
		struct nicsim_port *port = nic->ports[number];
		struct nicsim_port *other =
			rcu_dereference_protected(port->other, lockdep_is_held(&wire_mutex));

		if (!other)
			continue;
		RCU_INIT_POINTER(other->other, NULL);
		RCU_INIT_POINTER(port->other, NULL);
		show_carrier(other, false);
		show_carrier(port, false);
	}
	mutex_unlock(&wire_mutex);
	synchronize_net();
}
