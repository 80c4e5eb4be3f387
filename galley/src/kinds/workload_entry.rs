//! WorkloadEntry: a workload outside any platform, such as a VM (Istio `workload_entry.proto`).

use std::collections::BTreeMap;

use registry::{Address, Locality};

use super::shared::Labels;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadEntry {
    /// `None` only together with a network.
    pub address: Option<Address>,
    /// Service port name to the port the workload listens on.
    pub ports: BTreeMap<String, u16>,
    pub labels: Labels,
    pub network: String,
    pub locality: Locality,
    /// 0: not given.
    pub weight: u32,
    pub service_account: String,
}
