// SPDX-License-Identifier: GPL-2.0
/* The module parameters: how long things take, what firmware is there, and the faults of device 0. */
#include <linux/moduleparam.h>
#include <linux/random.h>

#include "nicsim.h"

/* The hardware. */
unsigned int nicsim_ports = 1;
module_param_named(ports, nicsim_ports, uint, 0444);
MODULE_PARM_DESC(ports, "ports of each device, 1 or 2");

char *nicsim_nvram = "";
module_param_named(nvram, nicsim_nvram, charp, 0444);
MODULE_PARM_DESC(nvram, "file that keeps each device's stored state over a power-off (its PCI name is appended)");

char *nicsim_fw_version = "14.32.1010";
module_param_named(fw_version, nicsim_fw_version, charp, 0444);
MODULE_PARM_DESC(fw_version, "device 0's firmware where nvram knows none");

unsigned int nicsim_fw_security = 1;
module_param_named(fw_security, nicsim_fw_security, uint, 0444);
MODULE_PARM_DESC(fw_security, "its security version");

unsigned int nicsim_fw_behaviour = NICSIM_SLOW_PATH | NICSIM_LOSES_INTERRUPTS | NICSIM_AGGRESSIVE;
module_param_named(fw_behaviour, nicsim_fw_behaviour, uint, 0444);
MODULE_PARM_DESC(fw_behaviour, "what it does: 1 slow path, 2 loses interrupts, 4 aggressive moderation, added up");

/* How long things take. */
unsigned int nicsim_link_ms = 200;
module_param_named(link_ms, nicsim_link_ms, uint, 0644);
MODULE_PARM_DESC(link_ms, "from an opened port to its link, milliseconds");

unsigned int nicsim_reset_ms = 300;
module_param_named(reset_ms, nicsim_reset_ms, uint, 0644);
MODULE_PARM_DESC(reset_ms, "how long an activation keeps the NIC away, milliseconds");

unsigned int nicsim_flash_ms = 1000;
module_param_named(flash_ms, nicsim_flash_ms, uint, 0644);
MODULE_PARM_DESC(flash_ms, "how long a flash takes, milliseconds");

char *nicsim_name = "eth%d";
module_param_named(name, nicsim_name, charp, 0644);
MODULE_PARM_DESC(name, "name given to a netdev that comes back after a reload");

bool nicsim_no_reset;
module_param_named(no_reset, nicsim_no_reset, bool, 0644);
MODULE_PARM_DESC(no_reset, "activation without a reset (limit no_reset) works");

/* What bad firmware does, in storms. */
static unsigned int storm_period_ms = 4000;
module_param(storm_period_ms, uint, 0644);
MODULE_PARM_DESC(storm_period_ms, "from one storm to the next, milliseconds; 0: always storm");

static unsigned int storm_ms = 400;
module_param(storm_ms, uint, 0644);
MODULE_PARM_DESC(storm_ms, "how long a storm lasts, milliseconds");

static unsigned int slow_ratio = 70;
module_param(slow_ratio, uint, 0644);
MODULE_PARM_DESC(slow_ratio, "packets of 10000 that are late, over storms and calm together, with the largest ring, without adaptive moderation");

static unsigned int slow_us_min = 15000;
module_param(slow_us_min, uint, 0644);
MODULE_PARM_DESC(slow_us_min, "late by at least, microseconds");

static unsigned int slow_us_max = 20000;
module_param(slow_us_max, uint, 0644);
MODULE_PARM_DESC(slow_us_max, "late by at most, microseconds");

static unsigned int irq_loss = 500;
module_param(irq_loss, uint, 0644);
MODULE_PARM_DESC(irq_loss, "interrupts of 10000 that are lost, in a storm");

unsigned int nicsim_irq_timeout_us = 20000;
module_param_named(irq_timeout_us, nicsim_irq_timeout_us, uint, 0644);
MODULE_PARM_DESC(irq_timeout_us, "from a lost interrupt to the queue's reset, microseconds");

/* Faults. A count is of how many times from now on; -1 always. */
unsigned int nicsim_flash_fails_at;
module_param_named(flash_fails_at, nicsim_flash_fails_at, uint, 0644);
MODULE_PARM_DESC(flash_fails_at, "flashes fail at so many per cent; 0: never");

int nicsim_flash_lies;
module_param_named(flash_lies, nicsim_flash_lies, int, 0644);
MODULE_PARM_DESC(flash_lies, "flashes that report success and change nothing: a count");

int nicsim_activate_old;
module_param_named(activate_old, nicsim_activate_old, int, 0644);
MODULE_PARM_DESC(activate_old, "activations that come up on the old version: a count");

int nicsim_activate_dead;
module_param_named(activate_dead, nicsim_activate_dead, int, 0644);
MODULE_PARM_DESC(activate_dead, "activations that do not come up: a count");

unsigned int nicsim_min_security;
module_param_named(min_security, nicsim_min_security, uint, 0644);
MODULE_PARM_DESC(min_security, "images with a lower security version are refused (anti-rollback)");

unsigned int nicsim_ring_clamp;
module_param_named(ring_clamp, nicsim_ring_clamp, uint, 0644);
MODULE_PARM_DESC(ring_clamp, "larger rings are silently made this large; 0: never");

bool nicsim_coalesce_deaf;
module_param_named(coalesce_deaf, nicsim_coalesce_deaf, bool, 0644);
MODULE_PARM_DESC(coalesce_deaf, "coalescing is accepted and ignored");

bool nicsim_coalesce_two_step;
module_param_named(coalesce_two_step, nicsim_coalesce_two_step, bool, 0644);
MODULE_PARM_DESC(coalesce_two_step, "rx-usecs is ignored in a request that switches adaptive-rx off, as mlx5's is");

/* busy_ms: from the write on, for so long, nothing can be set, flashed or reloaded. */
static unsigned int busy_ms;
static unsigned long busy_until;
static int busy_set(const char *text, const struct kernel_param *param)
{
	int err = param_set_uint(text, param);

	if (!err)
		WRITE_ONCE(busy_until, jiffies + msecs_to_jiffies(busy_ms));
	return err;
}

static const struct kernel_param_ops busy_ops = { .set = busy_set, .get = param_get_uint };
module_param_cb(busy_ms, &busy_ops, &busy_ms, 0644);
MODULE_PARM_DESC(busy_ms, "for so long from the write on every change is refused with EBUSY, milliseconds");

bool nicsim_faulty(const struct nicsim *nic)
{
	return nic->index == 0;
}

/* Whether a fault with a count befalls this device now. */
bool nicsim_strikes(const struct nicsim *nic, int *times)
{
	if (!nicsim_faulty(nic) || *times == 0)
		return false;
	if (*times > 0)
		(*times)--;
	return true;
}

int nicsim_busy(const struct nicsim *nic)
{
	bool busy = nicsim_faulty(nic) && busy_ms && time_before(jiffies, READ_ONCE(busy_until));

	return busy ? -EBUSY : 0;
}

/* Below 10000, evenly. */
static u32 chance(void)
{
	return ((u64)get_random_u32() * 10000) >> 32;
}

static bool in_storm(void)
{
	u32 period = READ_ONCE(storm_period_ms), phase;

	if (!period)
		return true;
	div_u64_rem(ktime_get_ns() / NSEC_PER_MSEC, period, &phase);
	return phase < READ_ONCE(storm_ms);
}

/* For how long firmware holds back a packet that arrives now. */
u64 nicsim_held_ns(const struct nicsim_port *port)
{
	u32 period = READ_ONCE(storm_period_ms), storm = READ_ONCE(storm_ms);
	u32 least = READ_ONCE(slow_us_min), most = READ_ONCE(slow_us_max);
	u64 ratio = READ_ONCE(slow_ratio);

	if (!(port->nic->running.behaviour & NICSIM_SLOW_PATH) || !in_storm())
		return 0;
	/* Small rings and adaptive moderation send more packets the slow way, a pool of buffers fewer. */
	if (port->ring_rx < 2048)
		ratio *= port->ring_rx < 1024 ? 3 : 2;
	if (port->adaptive_rx)
		ratio *= 2;
	if (port->nic->rx_pool)
		ratio = ratio * 3 / 4;
	/* The ratio is over storms and calm together; what there is of it falls into storms. */
	if (period && storm && storm < period)
		ratio = div_u64(ratio * period, storm);
	if (chance() >= ratio)
		return 0;
	if (most > least)
		least += ((u64)get_random_u32() * (most - least)) >> 32;
	return (u64)least * NSEC_PER_USEC;
}

bool nicsim_loses_interrupt(const struct nicsim_port *port)
{
	return (port->nic->running.behaviour & NICSIM_LOSES_INTERRUPTS) && in_storm() &&
	       chance() < READ_ONCE(irq_loss);
}

/* How long an interrupt waits for more packets. */
u64 nicsim_moderation_ns(const struct nicsim_port *port)
{
	u32 usecs = port->rx_usecs;

	if (port->adaptive_rx)
		usecs = port->nic->running.behaviour & NICSIM_AGGRESSIVE ? 500 : 16;
	return (u64)usecs * NSEC_PER_USEC;
}
