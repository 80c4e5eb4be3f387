//! Subsets of a cluster's endpoints.

use std::sync::Arc;

use api::envoy::config::cluster::v3::cluster as wire;
use wire::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy as OwnFallback;
use wire::lb_subset_config::{LbSubsetFallbackPolicy, LbSubsetSelector};

use super::metadata;
use crate::config::error::{At, ConfigError};
use crate::config::{SubsetFallback, SubsetRules, SubsetSelector};

/// Without selectors there are no subsets (Envoy).
pub(super) fn convert(
    wire: Option<&wire::LbSubsetConfig>,
    at: &At<'_>,
) -> Result<Option<Arc<SubsetRules>>, ConfigError> {
    let Some(wire) = wire.filter(|wire| !wire.subset_selectors.is_empty()) else { return Ok(None) };
    let fallback = match LbSubsetFallbackPolicy::try_from(wire.fallback_policy) {
        Ok(LbSubsetFallbackPolicy::NoFallback) => SubsetFallback::None,
        Ok(LbSubsetFallbackPolicy::AnyEndpoint) => SubsetFallback::AnyEndpoint,
        Ok(LbSubsetFallbackPolicy::DefaultSubset) => SubsetFallback::DefaultSubset,
        Err(_) => return Err(at.field("fallback_policy").refuse(wire.fallback_policy, "is not known")),
    };
    let selectors_at = at.field("subset_selectors");
    let selectors = wire.subset_selectors.iter().enumerate();
    let selectors = selectors.map(|(index, wire)| selector(wire, &selectors_at.index(index)));
    Ok(Some(Arc::new(SubsetRules {
        selectors: selectors.collect::<Result<_, _>>()?,
        fallback,
        default_subset: wire.default_subset.as_ref().map(metadata::values_of).unwrap_or_default(),
        locality_weighted: wire.locality_weight_aware,
    })))
}

fn selector(wire: &LbSubsetSelector, at: &At<'_>) -> Result<SubsetSelector, ConfigError> {
    if wire.keys.is_empty() {
        return Err(at.field("keys").missing());
    }
    let sorted = |keys: &[String]| {
        let mut keys = keys.to_vec();
        keys.sort();
        keys.dedup();
        keys
    };
    let keys = sorted(&wire.keys);
    let fewer = sorted(&wire.fallback_keys_subset);
    let fallback = match OwnFallback::try_from(wire.fallback_policy) {
        Ok(OwnFallback::NotDefined) => None,
        Ok(OwnFallback::NoFallback) => Some(SubsetFallback::None),
        Ok(OwnFallback::AnyEndpoint) => Some(SubsetFallback::AnyEndpoint),
        Ok(OwnFallback::DefaultSubset) => Some(SubsetFallback::DefaultSubset),
        Ok(OwnFallback::KeysSubset) => {
            if fewer.is_empty() || fewer.len() >= keys.len() || fewer.iter().any(|key| !keys.contains(key)) {
                let rule = "KEYS_SUBSET needs some of the keys, and not all of them";
                return Err(at.field("fallback_keys_subset").refuse(fewer.join(","), rule));
            }
            Some(SubsetFallback::Keys(fewer.clone()))
        }
        Err(_) => return Err(at.field("fallback_policy").refuse(wire.fallback_policy, "is not known")),
    };
    if !fewer.is_empty() && !matches!(fallback, Some(SubsetFallback::Keys(_))) {
        return Err(at.field("fallback_keys_subset").refuse(fewer.join(","), "goes with KEYS_SUBSET alone"));
    }
    Ok(SubsetSelector { keys, fallback })
}
