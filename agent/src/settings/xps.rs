//! `xps.cpus`: which CPUs send on which transmit queue. One CPU list a queue, in queue order.

use super::{
    queues::Direction,
    steering::{self, Steering},
};

/// Source: Documentation/networking/scaling.rst XPS, net/core/net-sysfs.c xps_cpus_store.
pub static XPS: Steering = Steering {
    family: "xps",
    direction: Direction::Tx,
    file: "xps_cpus",
    default: steering::Default::Unknown,
};
