//! Virtual clusters (Envoy, `envoy.config.route.v3.VirtualCluster`): requests of a virtual host that are counted
//! together, whichever cluster takes them.

use super::HeaderMatch;
use crate::http::message::RequestHead;

#[derive(Clone, Debug, PartialEq)]
pub struct VirtualCluster {
    pub name: String,
    pub headers: Vec<HeaderMatch>,
}

impl VirtualCluster {
    pub fn takes(&self, head: &RequestHead) -> bool {
        self.headers.iter().all(|rule| rule.matches(head))
    }
}
