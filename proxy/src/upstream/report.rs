//! What a worker's hosts look like from outside, for the admin interface.

use super::Clusters;
use crate::config::EndpointAddress;

/// A host of a cluster as one worker knows it.
#[derive(Clone, Debug)]
pub struct HostReport {
    pub cluster: String,
    pub address: EndpointAddress,
    /// Requests and connections under way.
    pub active: u32,
    /// Put aside by outlier detection.
    pub ejected: bool,
}

impl Clusters {
    pub fn report(&self) -> Vec<HostReport> {
        let mut all = Vec::new();
        for (name, cluster) in self.known() {
            all.extend(cluster.all_hosts().iter().map(|host| HostReport {
                cluster: name.clone(),
                address: host.endpoint().address.clone(),
                active: host.active(),
                ejected: host.health().is_ejected(),
            }));
        }
        all
    }
}
