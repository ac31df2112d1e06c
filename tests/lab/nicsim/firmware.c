// SPDX-License-Identifier: GPL-2.0
/*
 * The flash chip: images as mkfw makes them, what is stored, what runs. A new image becomes the stored one
 * only when all of it is written, as in a chip with two banks; a power-off before that changes nothing.
 */
#include <crypto/sha2.h>
#include <linux/delay.h>
#include <linux/firmware.h>
#include <linux/fs.h>
#include <linux/kernel_read_file.h>
#include <linux/vmalloc.h>

#include "nicsim.h"

#define STEPS 20

struct image {
	u8 magic[8];
	char board[16];
	char version[32];
	__le32 security;
	__le32 behaviour;
	__le32 payload_bytes;
	__le32 zero;
	u8 sha256[32];		/* of all above and of the payload */
	u8 payload[];
} __packed;

/* nvram: one line of text a device, over power-offs where the file lives on. */
static bool nvram_path(const struct nicsim *nic, char *path, size_t size)
{
	return *nicsim_nvram &&
	       snprintf(path, size, "%s.%s", nicsim_nvram, pci_name(nic->pdev)) < size;
}

static void recall(struct nicsim *nic)
{
	char path[256], version[32];
	unsigned int security, behaviour, pool;
	void *text = NULL;
	ssize_t size;

	if (!nvram_path(nic, path, sizeof(path)))
		return;
	size = kernel_read_file_from_path(path, 0, &text, 255, NULL, READING_FIRMWARE);
	if (size < 0)
		return;
	/* What was read has no end of its own. */
	if (size < 255) {
		char line[256] = {};

		memcpy(line, text, size);
		if (sscanf(line, "%31s %u %u %u", version, &security, &behaviour, &pool) == 4) {
			strscpy(nic->stored.version, version, sizeof(nic->stored.version));
			nic->stored.security = security;
			nic->stored.behaviour = behaviour;
			nic->rx_pool_stored = pool;
		}
	}
	vfree(text);
}

/* Makes the stored state last. Without a file it lasts as long as the device. */
int nicsim_remember(struct nicsim *nic)
{
	char path[256], line[128];
	struct file *file;
	ssize_t size, written;
	loff_t at = 0;
	int err;

	if (!nvram_path(nic, path, sizeof(path)))
		return 0;
	size = scnprintf(line, sizeof(line), "%s %u %u %u\n", nic->stored.version, nic->stored.security,
			 nic->stored.behaviour, nic->rx_pool_stored);
	/* One short write into the same place: what a reader finds is the old line or the new one. */
	memset(line + size, '\n', sizeof(line) - size);
	file = filp_open(path, O_WRONLY | O_CREAT, 0600);
	if (IS_ERR(file))
		return PTR_ERR(file);
	written = kernel_write(file, line, sizeof(line), &at);
	err = written == sizeof(line) ? vfs_fsync(file, 0) : written < 0 ? written : -EIO;
	filp_close(file, NULL);
	return err;
}

/* Power comes on: what is stored runs. Only device 0 may come with bad firmware. */
void nicsim_boot(struct nicsim *nic)
{
	strscpy(nic->stored.version, "14.31.1014", sizeof(nic->stored.version));
	nic->stored.security = 1;
	if (nicsim_faulty(nic)) {
		strscpy(nic->stored.version, nicsim_fw_version, sizeof(nic->stored.version));
		nic->stored.security = nicsim_fw_security;
		nic->stored.behaviour = nicsim_fw_behaviour;
	}
	recall(nic);
	nic->running = nic->stored;
	nic->rx_pool = nic->rx_pool_stored;
}

static int check(const struct nicsim *nic, const struct firmware *fw, struct netlink_ext_ack *extack)
{
	const struct image *image = (const void *)fw->data;
	struct sha256_state state;
	u8 digest[32];

	if (fw->size < sizeof(*image) || memcmp(image->magic, "NICSIMFW", 8)) {
		NL_SET_ERR_MSG_MOD(extack, "not a firmware image");
		return -EINVAL;
	}
	if (le32_to_cpu(image->payload_bytes) != fw->size - sizeof(*image)) {
		NL_SET_ERR_MSG_MOD(extack, "the image is truncated");
		return -EINVAL;
	}
	sha256_init(&state);
	sha256_update(&state, fw->data, offsetof(struct image, sha256));
	sha256_update(&state, image->payload, fw->size - sizeof(*image));
	sha256_final(&state, digest);
	if (memcmp(digest, image->sha256, sizeof(digest))) {
		NL_SET_ERR_MSG_MOD(extack, "the image's digest does not match");
		return -EBADMSG;
	}
	if (strncmp(image->board, NICSIM_BOARD, sizeof(image->board))) {
		NL_SET_ERR_MSG_MOD(extack, "the image is for another board");
		return -EINVAL;
	}
	if (nicsim_faulty(nic) && le32_to_cpu(image->security) < nicsim_min_security) {
		NL_SET_ERR_MSG_MOD(extack, "anti-rollback: the image's security version is below the minimum");
		return -EPERM;
	}
	return 0;
}

static int write_image(struct nicsim *nic, const struct firmware *fw, struct netlink_ext_ack *extack)
{
	const struct image *image = (const void *)fw->data;
	unsigned int step, fails_at = nicsim_faulty(nic) ? nicsim_flash_fails_at : 0;

	for (step = 0; step <= STEPS; step++) {
		if (fails_at && step * 100 / STEPS >= fails_at) {
			NL_SET_ERR_MSG_MOD(extack, "the flash chip did not take a block");
			return -EIO;
		}
		devlink_flash_update_status_notify(nic->devlink, "Flashing", NULL,
						   (unsigned long)fw->size * step / STEPS, fw->size);
		if (step < STEPS)
			msleep(nicsim_flash_ms / STEPS);
	}
	if (nicsim_strikes(nic, &nicsim_flash_lies))
		return 0;
	strscpy(nic->stored.version, image->version, sizeof(nic->stored.version));
	nic->stored.security = le32_to_cpu(image->security);
	nic->stored.behaviour = le32_to_cpu(image->behaviour);
	return nicsim_remember(nic);
}

/* The devlink lock is held throughout: nothing else happens to the device meanwhile. */
int nicsim_flash(struct devlink *devlink, struct devlink_flash_update_params *params,
		 struct netlink_ext_ack *extack)
{
	struct nicsim *nic = devlink_priv(devlink);
	int err = nicsim_busy(nic);

	if (err) {
		NL_SET_ERR_MSG_MOD(extack, "the device is busy");
		return err;
	}
	devlink_flash_update_status_notify(devlink, "Preparing to flash", NULL, 0, 0);
	err = check(nic, params->fw, extack) ?: write_image(nic, params->fw, extack);
	if (err) {
		devlink_flash_update_status_notify(devlink, "Flashing failed", NULL, 0, 0);
		return err;
	}
	nic->flashes++;
	/* The site's own configuration goes only where that was asked for. */
	if (params->overwrite_mask & DEVLINK_FLASH_OVERWRITE_SETTINGS) {
		nic->rx_pool_stored = false;
		err = nicsim_remember(nic);
	}
	devlink_flash_update_status_notify(devlink, "Flashing done", NULL, 0, 0);
	return err;
}

/* The stored firmware begins to run, or does not. */
int nicsim_activate(struct nicsim *nic, struct netlink_ext_ack *extack)
{
	if (nicsim_strikes(nic, &nicsim_activate_dead)) {
		nic->activations_failed++;
		nic->dead = true;
		NL_SET_ERR_MSG_MOD(extack, "firmware did not come up: initialization timed out");
		return -ETIMEDOUT;
	}
	nic->activations++;
	nic->dead = false;
	if (nicsim_strikes(nic, &nicsim_activate_old))
		return 0;
	nic->running = nic->stored;
	nic->rx_pool = nic->rx_pool_stored;
	return 0;
}
