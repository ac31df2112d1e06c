//! `rps.cpus`: which CPUs a receive queue hands its packets to. One CPU list a queue, in queue order.

use super::{
    queues::Direction,
    steering::{self, Steering},
};

/// Source: Documentation/networking/scaling.rst RPS, net/core/net-sysfs.c store_rps_map.
pub static RPS: Steering = Steering {
    family: "rps",
    direction: Direction::Rx,
    file: "rps_cpus",
    default: steering::Default::MaskIn("/proc/sys/net/core/rps_default_mask"),
};
