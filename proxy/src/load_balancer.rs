//! Picks an endpoint: first a priority by health, then a locality by weight, then a host by the cluster's policy
//! (Envoy, load balancing overview). Pure but for the counters of one worker; randomness is passed in.

mod edf;
mod health;
mod host_set;

pub use host_set::{HostSet, LbState};
