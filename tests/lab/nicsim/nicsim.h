/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nicsim: a NIC whose firmware can be bad, for nicmend's lab.
 *
 * It binds to QEMU's pci-testdev, of which it uses nothing but the PCI address: rings, interrupts and
 * firmware live in this module. Devices 0 and 1 (by PCI address) are wired to each other, port to port, so
 * are 2 and 3. The faults that are planted by module parameters (faults.c) befall device 0 alone.
 */
#ifndef NICSIM_H
#define NICSIM_H

#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/hrtimer.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <net/devlink.h>

#define NICSIM_BOARD "NSM0000000001"
#define NICSIM_PORTS_MAX 2
#define NICSIM_QUEUES_MAX 8
#define NICSIM_RING_MIN 64
#define NICSIM_RING_DEFAULT 512
#define NICSIM_RING_MAX 4096
#define NICSIM_INDIR 128

/* What a firmware does, as its image says (see mkfw). */
#define NICSIM_SLOW_PATH BIT(0)		/* in storms, a share of received packets is 15 to 20 ms late */
#define NICSIM_LOSES_INTERRUPTS BIT(1)	/* in storms, interrupts fire that nobody hears */
#define NICSIM_AGGRESSIVE BIT(2)	/* adaptive moderation waits 500 us instead of 16 */

struct nicsim_firmware {
	char version[32];
	u32 security;
	u32 behaviour;
};

struct nicsim_counts {
	u64 packets, bytes;
	u64 missed;		/* no free descriptor */
	u64 slow_path;		/* packets that firmware held back */
	u64 interrupts;
	u64 interrupts_lost;
	u64 resets;		/* after a lost interrupt, when its timeout ran out */
};

/* One receive queue. */
struct nicsim_queue {
	struct nicsim_port *port;
	unsigned int number;
	struct napi_struct napi;
	struct hrtimer irq;
	spinlock_t lock;		/* all below; taken in hard interrupts */
	struct sk_buff_head fast;	/* received, in order */
	struct sk_buff_head slow;	/* held back by firmware, by the time they are due */
	bool open, masked, armed, lost;
	u64 when_ns;			/* armed: when the interrupt fires */
	struct nicsim_counts counts;
	u64 tx_packets, tx_bytes, tx_dropped;	/* of the transmit queue of the same number */
};

struct nicsim_port {
	struct nicsim *nic;
	unsigned int number;
	struct net_device *netdev;		/* wire_mutex, rtnl */
	struct devlink_port dl_port;
	struct nicsim_port __rcu *other;	/* the other end of the wire */
	struct delayed_work link_work;
	bool phy;				/* wire_mutex: this end is ready for a link */
	struct nicsim_queue queues[NICSIM_QUEUES_MAX];
	/* Configuration: rtnl; gone with the netdev, as mlx5's is. */
	unsigned int queue_count;
	u32 ring_rx, ring_tx;
	u32 rx_usecs, rx_frames, tx_usecs, tx_frames;
	bool adaptive_rx;
	u32 flags;
	bool pause_rx, pause_tx;
	u32 indir[NICSIM_INDIR];
};

struct nicsim {
	struct pci_dev *pdev;
	struct devlink *devlink;
	unsigned int index;
	struct list_head list;
	unsigned int port_count;
	struct nicsim_port *ports[NICSIM_PORTS_MAX];
	struct nicsim_firmware running, stored;	/* written under the devlink lock */
	bool rx_pool, rx_pool_stored;		/* devlink parameter: runtime, permanent */
	bool up;				/* the netdevs are registered */
	bool dead;				/* an activation failed: no firmware runs */
	bool visible;				/* registered with devlink */
	u32 flashes, activations, activations_failed;
	struct devlink_health_reporter *reporter;
	struct work_struct report_work, reset_work;
	atomic_t resets_to_report;
};

/* faults.c: the module parameters. */
extern unsigned int nicsim_ports, nicsim_link_ms, nicsim_reset_ms, nicsim_flash_ms;
extern unsigned int nicsim_min_security, nicsim_flash_fails_at, nicsim_ring_clamp;
extern unsigned int nicsim_irq_timeout_us;
extern bool nicsim_no_reset, nicsim_coalesce_deaf, nicsim_coalesce_two_step;
extern int nicsim_flash_lies, nicsim_activate_old, nicsim_activate_dead;
extern char *nicsim_nvram, *nicsim_fw_version, *nicsim_name;
extern unsigned int nicsim_fw_security, nicsim_fw_behaviour;
bool nicsim_faulty(const struct nicsim *nic);
bool nicsim_strikes(const struct nicsim *nic, int *times);
int nicsim_busy(const struct nicsim *nic);
u64 nicsim_held_ns(const struct nicsim_port *port);
bool nicsim_loses_interrupt(const struct nicsim_port *port);
u64 nicsim_moderation_ns(const struct nicsim_port *port);

/* queue.c: what is received. */
void nicsim_queue_init(struct nicsim_port *port, unsigned int number);
void nicsim_queues_open(struct nicsim_port *port);
void nicsim_queues_close(struct nicsim_port *port);
bool nicsim_receive(struct nicsim_port *port, struct sk_buff *frame, u32 hash);

/* port.c: netdevs and the wire. */
struct nicsim_port *nicsim_port_of(const struct net_device *netdev);
struct nicsim_port *nicsim_port_new(struct nicsim *nic, unsigned int number);
void nicsim_port_free(struct nicsim_port *port);
void nicsim_wire(struct nicsim *nic, struct nicsim *other);
void nicsim_unwire(struct nicsim *nic);
int nicsim_up(struct nicsim *nic, const char *name);
void nicsim_down(struct nicsim *nic);
int nicsim_requeue(struct nicsim_port *port, unsigned int queue_count, u32 ring_rx, u32 ring_tx);

/* ethtool.c */
extern const struct ethtool_ops nicsim_ethtool_ops;
void nicsim_default_indir(struct nicsim_port *port);

/* firmware.c: the flash chip. */
void nicsim_boot(struct nicsim *nic);
int nicsim_flash(struct devlink *devlink, struct devlink_flash_update_params *params,
		 struct netlink_ext_ack *extack);
int nicsim_activate(struct nicsim *nic, struct netlink_ext_ack *extack);
int nicsim_remember(struct nicsim *nic);

/* devlink.c */
extern const struct devlink_ops nicsim_devlink_ops;
int nicsim_devlink_init(struct nicsim *nic);
void nicsim_devlink_fini(struct nicsim *nic);

#endif
