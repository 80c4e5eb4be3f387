//! What a worker's hosts look like from outside, for the admin interface.

use std::sync::Arc;

use super::Clusters;
use crate::config::{EndpointAddress, LoadAssignment};

/// A cluster as one worker knows it.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    pub cluster: String,
    /// The hosts with names resolved.
    pub assignment: Arc<LoadAssignment>,
    pub hosts: Vec<HostReport>,
    /// Of the last interval, where outlier detection is configured: of answers and of connections, the mean success
    /// rate and that below which a host stands out.
    pub rates: [Option<(f64, f64)>; 2],
}

/// A host of a cluster.
#[derive(Clone, Debug)]
pub struct HostReport {
    pub address: EndpointAddress,
    /// Requests and connections under way.
    pub active: u32,
    /// Put aside by outlier detection.
    pub ejected: bool,
    /// The percentages of its last interval that went well: of answers and of connections.
    pub success: [Option<f64>; 2],
}

impl Clusters {
    pub fn report(&self) -> Vec<ClusterReport> {
        let one = |(name, cluster): (String, std::rc::Rc<super::Cluster>)| ClusterReport {
            cluster: name,
            assignment: Arc::clone(cluster.current().set.assignment()),
            hosts: cluster
                .all_hosts()
                .iter()
                .map(|host| HostReport {
                    address: host.endpoint().address.clone(),
                    active: host.active(),
                    ejected: host.health().is_ejected(),
                    success: host.health().success.get(),
                })
                .collect(),
            rates: cluster.rates.get(),
        };
        self.known().into_iter().map(one).collect()
    }
}
