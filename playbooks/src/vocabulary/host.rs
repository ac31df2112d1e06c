//! How the host serves the NIC: NAPI, interrupts, packet steering, module and devlink parameters.

use super::{
    Disruption::QueueReset,
    Kind,
    Scope::{Device, Host},
    Setting,
    TakesEffect::Reload,
    row::{INT_MAX, number, row},
};

pub(super) const ROWS: &[Setting] = &[
    number(
        "napi.defer-hard-irqs",
        "polls",
        "Empty polls before the interrupt is switched on again; needs `napi.gro-flush-timeout`.",
        "Documentation/networking/napi.rst; Documentation/netlink/specs/netdev.yaml defer-hard-irqs",
    )
    .at_most(INT_MAX),
    number(
        "napi.gro-flush-timeout",
        "ns",
        "When NAPI polls again while interrupts are deferred. Large values delay packets under \
         light load.",
        "Documentation/networking/napi.rst; Documentation/netlink/specs/netdev.yaml \
         gro-flush-timeout",
    ),
    number(
        "napi.irq-suspend-timeout",
        "ns",
        "How long an application that prefers busy polling may keep interrupts off.",
        "Documentation/networking/napi.rst; Documentation/netlink/specs/netdev.yaml \
         irq-suspend-timeout",
    ),
    row(
        "napi.threaded",
        Kind::Choice(&["disabled", "enabled", "busy-poll"]),
        "Poll in a kernel thread of its own rather than in softirq; `busy-poll` never stops.",
        "Documentation/networking/napi.rst; Documentation/ABI/testing/sysfs-class-net threaded",
    ),
    number(
        "napi.weight",
        "packets",
        "dev_weight. On receive it governs the backlog only (RPS, loopback, veth): drivers fix their \
         own poll weight, so a physical NIC's receive path does not change.",
        "Documentation/admin-guide/sysctl/net.rst dev_weight; net/core/dev.c process_backlog",
    )
    .at_most(INT_MAX)
    .scope(Host),
    number(
        "napi.budget",
        "packets",
        "netdev_budget: packets that one softirq round takes from all NICs together.",
        "Documentation/admin-guide/sysctl/net.rst netdev_budget; net/core/dev.c net_rx_action",
    )
    .at_most(INT_MAX)
    .scope(Host),
    number(
        "napi.budget-usecs",
        "us",
        "netdev_budget_usecs: the longest softirq round. The kernel refuses less than its default.",
        "Documentation/admin-guide/sysctl/net.rst netdev_budget_usecs; net/core/dev.c net_rx_action",
    )
    .at_most(INT_MAX)
    .scope(Host),
    row(
        "irq.affinity",
        Kind::Cpus,
        "Which CPU serves which queue's interrupt. Stop irqbalance, or it moves them again.",
        "Documentation/core-api/irq/irq-affinity.rst",
    ),
    row(
        "xps.cpus",
        Kind::Cpus,
        "Which CPUs send on which transmit queue.",
        "Documentation/networking/scaling.rst; Documentation/ABI/testing/sysfs-class-net-queues",
    ),
    row(
        "rps.cpus",
        Kind::Cpus,
        "Which CPUs a receive queue hands its packets to; empty is off, and saves an interrupt \
         between CPUs.",
        "Documentation/networking/scaling.rst; Documentation/ABI/testing/sysfs-class-net-queues",
    ),
    row(
        "module-param.*",
        Kind::Text,
        "A kernel module's parameter: `module-param.<module>.<name>`.",
        "include/linux/moduleparam.h",
    )
    .scope(Host)
    .from(Reload),
    row(
        "devlink-param.*",
        Kind::Text,
        "A device's own parameter: its `runtime` value, in force at once and gone with the driver. One \
         that has none (`driverinit`, `permanent`) takes effect at a reload; it is listed and not \
         written.",
        "Documentation/networking/devlink/devlink-params.rst",
    )
    .scope(Device)
    .costs(QueueReset),
];
