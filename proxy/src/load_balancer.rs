//! Picks an endpoint: first a subset by metadata where there are any, then a priority by health, then a locality by
//! weight, then a host by the cluster's policy (Envoy, load balancing overview). Pure but for the counters of one
//! worker; randomness and time are passed in.

mod consistent;
mod edf;
mod group;
pub mod hash;
mod health;
mod host_set;
mod maglev;
mod ring;
mod slow_start;
mod subset;

use std::time::Duration;

pub use health::{Health, Load};
pub use host_set::{HostSet, Rules};
pub use subset::Subsets;

/// What the balancer asks while it picks.
pub trait Ask {
    /// Fresh random bits.
    fn random(&self) -> u64;
    /// How much a host has under way.
    fn active(&self, host: usize) -> u32;
    /// For how long a host has been healthy.
    fn healthy_for(&self, host: usize) -> Duration;
    /// The same of the host for which it is shortest, or less.
    fn newest(&self) -> Duration;
}
