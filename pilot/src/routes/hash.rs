//! What consistent hashing looks at in a request.

use std::time::Duration;

use api::envoy::config::route::v3::route_action::{HashPolicy, hash_policy};
use galley::kinds::{HashCookie, HashKey, LbAlgorithm};
use hash_policy::PolicySpecifier;

use crate::audience::Audience;
use crate::destination_rule::PortTraffic;
use crate::wire;

/// Empty where the destination does not hash, or the proxy cannot.
pub(super) fn of_traffic(client: &Audience, traffic: &PortTraffic) -> Vec<HashPolicy> {
    if !client.features.consistent_hash {
        return Vec::new();
    }
    let Some(LbAlgorithm::ConsistentHash(hash)) = traffic.load_balancer.as_ref().map(|lb| &lb.algorithm) else {
        return Vec::new();
    };
    let specifier = match &hash.key {
        HashKey::Header(name) => {
            PolicySpecifier::Header(hash_policy::Header { header_name: name.clone(), ..Default::default() })
        }
        HashKey::Cookie(of) => PolicySpecifier::Cookie(cookie(of)),
        HashKey::SourceIp => {
            PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties { source_ip: true })
        }
        HashKey::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.clone() })
        }
    };
    vec![HashPolicy { terminal: false, policy_specifier: Some(specifier) }]
}

fn cookie(of: &HashCookie) -> hash_policy::Cookie {
    let attribute =
        |(name, value): &(String, String)| hash_policy::CookieAttribute { name: name.clone(), value: value.clone() };
    hash_policy::Cookie {
        name: of.name.clone(),
        path: of.path.clone(),
        ttl: of.ttl.map(|ttl: Duration| wire::duration(ttl)),
        attributes: of.attributes.iter().map(attribute).collect(),
    }
}
