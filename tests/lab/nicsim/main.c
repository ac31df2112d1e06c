// SPDX-License-Identifier: GPL-2.0
/* Devices come and go. */
#include <linux/module.h>

#include "nicsim.h"

static LIST_HEAD(devices);
static DEFINE_MUTEX(devices_mutex);

static struct nicsim *device_at(unsigned int index)
{
	struct nicsim *nic;

	list_for_each_entry(nic, &devices, list)
		if (nic->index == index)
			return nic;
	return NULL;
}

static void join(struct nicsim *nic)
{
	struct nicsim *other;

	mutex_lock(&devices_mutex);
	while (device_at(nic->index))
		nic->index++;
	list_add_tail(&nic->list, &devices);
	other = device_at(nic->index ^ 1);
	if (other)
		nicsim_wire(nic, other);
	mutex_unlock(&devices_mutex);
}

static void leave(struct nicsim *nic)
{
	mutex_lock(&devices_mutex);
	nicsim_unwire(nic);
	list_del(&nic->list);
	mutex_unlock(&devices_mutex);
}

static void free_ports(struct nicsim *nic)
{
	unsigned int number;

	for (number = 0; number < nic->port_count; number++)
		nicsim_port_free(nic->ports[number]);
}

static int add_devlink_ports(struct nicsim *nic)
{
	unsigned int number;
	int err;

	for (number = 0; number < nic->port_count; number++) {
		struct devlink_port_attrs attrs = {
			.flavour = DEVLINK_PORT_FLAVOUR_PHYSICAL,
			.phys.port_number = number,
		};

		devlink_port_attrs_set(&nic->ports[number]->dl_port, &attrs);
		err = devl_port_register(nic->devlink, &nic->ports[number]->dl_port, number);
		if (err) {
			while (number--)
				devl_port_unregister(&nic->ports[number]->dl_port);
			return err;
		}
	}
	return 0;
}

static int bring_up(struct nicsim *nic)
{
	unsigned int number;
	int err;

	devl_lock(nic->devlink);
	err = add_devlink_ports(nic);
	if (!err) {
		err = nicsim_up(nic, "eth%d");
		for (number = 0; err && number < nic->port_count; number++)
			devl_port_unregister(&nic->ports[number]->dl_port);
	}
	devl_unlock(nic->devlink);
	return err;
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct devlink *devlink;
	struct nicsim *nic;
	int err = pcim_enable_device(pdev);

	if (err)
		return err;
	devlink = devlink_alloc(&nicsim_devlink_ops, sizeof(*nic), &pdev->dev);
	if (!devlink)
		return -ENOMEM;
	nic = devlink_priv(devlink);
	nic->pdev = pdev;
	nic->devlink = devlink;
	pci_set_drvdata(pdev, nic);
	for (; nic->port_count < clamp(nicsim_ports, 1U, NICSIM_PORTS_MAX + 0U); nic->port_count++) {
		nic->ports[nic->port_count] = nicsim_port_new(nic, nic->port_count);
		if (!nic->ports[nic->port_count]) {
			err = -ENOMEM;
			goto free;
		}
	}
	err = nicsim_devlink_init(nic);
	if (err)
		goto free;
	join(nic);
	nicsim_boot(nic);
	err = bring_up(nic);
	if (err)
		goto fini;
	devlink_register(devlink);
	WRITE_ONCE(nic->visible, true);
	return 0;

fini:
	leave(nic);
	nicsim_devlink_fini(nic);
free:
	free_ports(nic);
	devlink_free(devlink);
	return err;
}

static void remove(struct pci_dev *pdev)
{
	struct nicsim *nic = pci_get_drvdata(pdev);
	unsigned int number;

	/* Whoever is not registered may not report. */
	WRITE_ONCE(nic->visible, false);
	cancel_work_sync(&nic->report_work);
	devlink_unregister(nic->devlink);
	cancel_work_sync(&nic->reset_work);
	devl_lock(nic->devlink);
	nicsim_down(nic);
	for (number = 0; number < nic->port_count; number++)
		devl_port_unregister(&nic->ports[number]->dl_port);
	devl_unlock(nic->devlink);
	leave(nic);
	cancel_work_sync(&nic->report_work);
	nicsim_devlink_fini(nic);
	free_ports(nic);
	devlink_free(nic->devlink);
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(0x1b36, 0x0005) },	/* QEMU's pci-testdev */
	{}
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver nicsim_driver = {
	.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
};
module_pci_driver(nicsim_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A NIC whose firmware can be bad, for nicmend's lab");
