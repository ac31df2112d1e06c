// SPDX-License-Identifier: GPL-2.0
/* What devlink shows and does: versions, flash, reload, one parameter, one health reporter. */
#include <linux/delay.h>

#include "nicsim.h"

enum { PARAM_RX_POOL = DEVLINK_PARAM_GENERIC_ID_MAX + 1 };

static int info_get(struct devlink *devlink, struct devlink_info_req *req, struct netlink_ext_ack *extack)
{
	struct nicsim *nic = devlink_priv(devlink);
	const struct nicsim_firmware *running = &nic->running, *stored = &nic->stored;
	char serial[32], security[2][12];
	int err;

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	devlink_info_driver_name_put(req, KBUILD_MODNAME);
#endif
	/* Of the slot, so that it is the same at every boot. */
	snprintf(serial, sizeof(serial), "NS%02x%02x", nic->pdev->bus->number, nic->pdev->devfn);
	snprintf(security[0], sizeof(security[0]), "%u", running->security);
	snprintf(security[1], sizeof(security[1]), "%u", stored->security);
	err = devlink_info_serial_number_put(req, serial) ?:
	      devlink_info_version_fixed_put(req, DEVLINK_INFO_VERSION_GENERIC_BOARD_ID, NICSIM_BOARD) ?:
	      devlink_info_version_fixed_put(req, DEVLINK_INFO_VERSION_GENERIC_FW_PSID, NICSIM_BOARD);
	/* Of firmware that does not run there is nothing to say. */
	if (!err && !nic->dead)
		err = devlink_info_version_running_put(req, "fw.version", running->version) ?:
		      devlink_info_version_running_put(req, DEVLINK_INFO_VERSION_GENERIC_FW, running->version) ?:
		      devlink_info_version_running_put(req, "fw.srev", security[0]);
	return err ?:
	       devlink_info_version_stored_put(req, "fw.version", stored->version) ?:
	       devlink_info_version_stored_put(req, DEVLINK_INFO_VERSION_GENERIC_FW, stored->version) ?:
	       devlink_info_version_stored_put(req, "fw.srev", security[1]);
}

static int reload_down(struct devlink *devlink, bool netns_change, enum devlink_reload_action action,
		       enum devlink_reload_limit limit, struct netlink_ext_ack *extack)
{
	struct nicsim *nic = devlink_priv(devlink);

	if (nicsim_busy(nic)) {
		NL_SET_ERR_MSG_MOD(extack, "the device is busy");
		return -EBUSY;
	}
	if (limit == DEVLINK_RELOAD_LIMIT_NO_RESET) {
		if (nicsim_no_reset)
			return 0;
		NL_SET_ERR_MSG_MOD(extack, "this firmware cannot be activated without a reset");
		return -EOPNOTSUPP;
	}
	nicsim_down(nic);
	return 0;
}

static int reload_up(struct devlink *devlink, enum devlink_reload_action action,
		     enum devlink_reload_limit limit, u32 *performed, struct netlink_ext_ack *extack)
{
	struct nicsim *nic = devlink_priv(devlink);
	bool firmware = action == DEVLINK_RELOAD_ACTION_FW_ACTIVATE;
	int err;

	*performed = BIT(action);
	if (limit == DEVLINK_RELOAD_LIMIT_NO_RESET)
		return nicsim_activate(nic, extack);
	if (firmware) {
		*performed |= BIT(DEVLINK_RELOAD_ACTION_DRIVER_REINIT);
		msleep(nicsim_reset_ms);
		err = nicsim_activate(nic, extack);
		if (err)
			return err;
	}
	if (nic->dead) {
		NL_SET_ERR_MSG_MOD(extack, "no firmware answers");
		return -EIO;
	}
	return nicsim_up(nic, nicsim_name);
}

static void reset_work(struct work_struct *work)
{
	struct nicsim *nic = container_of(work, struct nicsim, reset_work);
	struct netlink_ext_ack extack = {};
	u32 performed;
	int err;

	devl_lock(nic->devlink);
	nicsim_down(nic);
	err = reload_up(nic->devlink, DEVLINK_RELOAD_ACTION_FW_ACTIVATE, DEVLINK_RELOAD_LIMIT_UNSPEC,
			&performed, &extack);
	devl_unlock(nic->devlink);
	if (err)
		pci_err(nic->pdev, "reset: %s\n", extack._msg ?: "failed");
}

static int get_rx_pool(struct devlink *devlink, u32 id, struct devlink_param_gset_ctx *ctx)
{
	struct nicsim *nic = devlink_priv(devlink);

	ctx->val.vbool = ctx->cmode == DEVLINK_PARAM_CMODE_PERMANENT ? nic->rx_pool_stored : nic->rx_pool;
	return 0;
}

static int store_rx_pool(struct devlink *devlink, const struct devlink_param_gset_ctx *ctx)
{
	struct nicsim *nic = devlink_priv(devlink);

	if (nicsim_busy(nic))
		return -EBUSY;
	if (ctx->cmode == DEVLINK_PARAM_CMODE_PERMANENT) {
		nic->rx_pool_stored = ctx->val.vbool;
		return nicsim_remember(nic);
	}
	nic->rx_pool = ctx->val.vbool;
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
static int set_rx_pool(struct devlink *devlink, u32 id, struct devlink_param_gset_ctx *ctx,
		       struct netlink_ext_ack *extack)
#else
static int set_rx_pool(struct devlink *devlink, u32 id, struct devlink_param_gset_ctx *ctx)
#endif
{
	return store_rx_pool(devlink, ctx);
}

static const struct devlink_param params[] = {
	DEVLINK_PARAM_DRIVER(PARAM_RX_POOL, "rx_pool", DEVLINK_PARAM_TYPE_BOOL,
			     BIT(DEVLINK_PARAM_CMODE_RUNTIME) | BIT(DEVLINK_PARAM_CMODE_PERMANENT),
			     get_rx_pool, set_rx_pool, NULL),
};

static int diagnose(struct devlink_health_reporter *reporter, struct devlink_fmsg *fmsg,
		    struct netlink_ext_ack *extack)
{
	struct nicsim *nic = devlink_health_reporter_priv(reporter);

	devlink_fmsg_string_pair_put(fmsg, "running", nic->running.version);
	devlink_fmsg_bool_pair_put(fmsg, "up", nic->up);
	devlink_fmsg_u32_pair_put(fmsg, "flashes", nic->flashes);
	devlink_fmsg_u32_pair_put(fmsg, "activations", nic->activations);
	devlink_fmsg_u32_pair_put(fmsg, "activations_failed", nic->activations_failed);
	return 0;
}

/* The queue was reset by its own timeout; what is left to do is to say so. */
static int recover(struct devlink_health_reporter *reporter, void *context, struct netlink_ext_ack *extack)
{
	return 0;
}

static const struct devlink_health_reporter_ops rx_reporter = {
	.name = "rx",
	.diagnose = diagnose,
	.recover = recover,
};

static void report_work(struct work_struct *work)
{
	struct nicsim *nic = container_of(work, struct nicsim, report_work);

	if (atomic_xchg(&nic->resets_to_report, 0) && READ_ONCE(nic->visible))
		devlink_health_report(nic->reporter, "a receive queue was reset after a lost interrupt", NULL);
}

/* Everything but the registration, which makes it visible. */
int nicsim_devlink_init(struct nicsim *nic)
{
	int err = devlink_params_register(nic->devlink, params, ARRAY_SIZE(params));

	if (err)
		return err;
	INIT_WORK(&nic->report_work, report_work);
	INIT_WORK(&nic->reset_work, reset_work);
	nic->reporter = devlink_health_reporter_create(nic->devlink, &rx_reporter, 0, nic);
	if (IS_ERR(nic->reporter)) {
		devlink_params_unregister(nic->devlink, params, ARRAY_SIZE(params));
		return PTR_ERR(nic->reporter);
	}
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	devlink_set_features(nic->devlink, DEVLINK_F_RELOAD);
#endif
	return 0;
}

void nicsim_devlink_fini(struct nicsim *nic)
{
	devlink_health_reporter_destroy(nic->reporter);
	devlink_params_unregister(nic->devlink, params, ARRAY_SIZE(params));
}

const struct devlink_ops nicsim_devlink_ops = {
	.supported_flash_update_params = DEVLINK_SUPPORT_FLASH_UPDATE_OVERWRITE_MASK,
	.reload_actions = BIT(DEVLINK_RELOAD_ACTION_DRIVER_REINIT) | BIT(DEVLINK_RELOAD_ACTION_FW_ACTIVATE),
	.reload_limits = BIT(DEVLINK_RELOAD_LIMIT_NO_RESET),
	.reload_down = reload_down,
	.reload_up = reload_up,
	.info_get = info_get,
	.flash_update = nicsim_flash,
};
