//! The real machine: netlink, ioctl, sysfs and procfs of the running kernel.
