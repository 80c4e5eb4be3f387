//! Security policies as they apply to a workload.

mod peer_authentication;

pub(crate) use peer_authentication::PeerPolicies;
