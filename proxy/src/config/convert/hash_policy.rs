//! What consistent hashing hashes. Clusters that do not hash pay no heed to it.

use api::envoy::config::route::v3::route_action as wire;
use wire::hash_policy::PolicySpecifier;

use super::basics;
use crate::config::error::{At, ConfigError};
use crate::route::HashPolicy;

pub(super) fn convert_all(wire: &[wire::HashPolicy], at: &At<'_>) -> Result<Vec<HashPolicy>, ConfigError> {
    wire.iter().enumerate().map(|(index, policy)| convert(policy, &at.index(index))).collect()
}

fn convert(wire: &wire::HashPolicy, at: &At<'_>) -> Result<HashPolicy, ConfigError> {
    let terminal = wire.terminal;
    match &wire.policy_specifier {
        Some(PolicySpecifier::Header(of)) => {
            Ok(HashPolicy::Header { name: of.header_name.to_ascii_lowercase(), terminal })
        }
        Some(PolicySpecifier::Cookie(of)) => {
            let cookie = at.field("cookie");
            let ttl = basics::maybe_duration(of.ttl.as_ref(), &cookie.field("ttl"))?;
            let attributes = of.attributes.iter().map(|of| (of.name.clone(), of.value.clone())).collect();
            Ok(HashPolicy::Cookie { name: of.name.clone(), ttl, path: of.path.clone(), attributes, terminal })
        }
        Some(PolicySpecifier::ConnectionProperties(of)) if of.source_ip => Ok(HashPolicy::SourceIp { terminal }),
        Some(PolicySpecifier::ConnectionProperties(_)) => {
            Err(at.field("connection_properties").field("source_ip").missing())
        }
        Some(PolicySpecifier::QueryParameter(of)) => Ok(HashPolicy::QueryParameter { name: of.name.clone(), terminal }),
        Some(PolicySpecifier::FilterState(_)) => Err(at.field("filter_state").refuse("set", "is not supported")),
        None => Err(at.missing()),
    }
}
