//! The transparency log against whoever would rewrite it, and against crashes.
#![allow(clippy::disallowed_methods, reason = "an attacker works on files")]

mod attacks;
mod crashes;
mod logs;
mod people;
mod power;
