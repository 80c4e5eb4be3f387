//! The whole mesh as a user runs it: the real binary, real processes, real connections.

#![allow(clippy::unwrap_used)]

mod bookinfo;
mod configuration;
mod identity;
mod load;
mod mesh;
mod outage;
mod programs;
mod traffic;
