//! Endpoints that are names: looked up, and looked up again in the background.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{Endpoint, EndpointAddress, LoadAssignment};

/// The assignment with every name replaced by its addresses. `logical`: by one of them only. A name that does not
/// resolve contributes nothing.
pub async fn resolve(assignment: &LoadAssignment, logical: bool) -> LoadAssignment {
    let mut resolved = assignment.clone();
    for locality in &mut resolved.localities {
        let mut endpoints = Vec::new();
        for endpoint in &locality.endpoints {
            match &endpoint.address {
                EndpointAddress::Name(name, port) => {
                    let addresses = lookup(name, *port).await;
                    let limit = if logical { 1 } else { usize::MAX };
                    endpoints.extend(addresses.into_iter().take(limit).map(|address| at(endpoint, address)));
                }
                _ => endpoints.push(Arc::clone(endpoint)),
            }
        }
        locality.endpoints = endpoints;
    }
    resolved
}

async fn lookup(name: &str, port: u16) -> Vec<SocketAddr> {
    match tokio::net::lookup_host((name, port)).await {
        Ok(addresses) => {
            let mut addresses: Vec<_> = addresses.collect();
            addresses.sort();
            addresses.dedup();
            addresses
        }
        Err(error) => {
            tracing::warn!(name, %error, "an upstream's name does not resolve");
            Vec::new()
        }
    }
}

fn at(endpoint: &Endpoint, address: SocketAddr) -> Arc<Endpoint> {
    Arc::new(Endpoint { address: EndpointAddress::Socket(address), ..endpoint.clone() })
}
