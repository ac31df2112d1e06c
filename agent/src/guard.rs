//! Who else uses a NIC. Facts only; what may be done about them is decided elsewhere.

pub mod bypass;
