//! The registry `consul` against real Consul servers.

#![cfg(feature = "consul")]
#![allow(clippy::unwrap_used)]

mod changes;
mod churn;
mod followed;
mod outage;
mod relay;
mod security;
mod server;
