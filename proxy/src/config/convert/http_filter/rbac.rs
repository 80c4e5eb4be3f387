//! Access control of requests.

use std::sync::Arc;

use api::envoy::extensions::filters::http::rbac::v3 as wire;

use super::super::rbac;
use crate::config::error::{At, ConfigError};
use crate::filter::rbac::Rbac;

pub fn convert(wire: &wire::Rbac, at: &At<'_>) -> Result<Arc<Rbac>, ConfigError> {
    let (rules, shadow) = (at.field("rules"), at.field("shadow_rules"));
    Ok(Arc::new(Rbac {
        rules: wire.rules.as_ref().map(|wire| rbac::rules(wire, &rules)).transpose()?,
        shadow_rules: wire.shadow_rules.as_ref().map(|wire| rbac::rules(wire, &shadow)).transpose()?,
        rules_prefix: wire.rules_stat_prefix.clone(),
        counts_rules: wire.track_per_rule_stats,
        shadow_rules_prefix: wire.shadow_rules_stat_prefix.clone(),
    }))
}
