//! What a crash interrupted, finished on simulated machines: what may be said to be back, how often it is
//! tried, and on which device and interface.

mod device;
mod held;
mod names;
mod open;
mod place;
mod tries;
