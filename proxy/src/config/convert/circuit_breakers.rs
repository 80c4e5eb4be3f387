//! Circuit breakers: what may be under way, for requests of each priority.

use api::envoy::config::cluster::v3::{Cluster, circuit_breakers::Thresholds};
use api::envoy::config::core::v3::RoutingPriority;

use crate::config::error::{At, ConfigError};
use crate::config::{CircuitBreakers, RetryBudget};

pub(super) struct Breakers {
    pub default: CircuitBreakers,
    pub high: CircuitBreakers,
}

/// Of several entries for a priority the first counts, as in Envoy.
pub(super) fn convert(wire: &Cluster, at: &At<'_>) -> Result<Breakers, ConfigError> {
    let all = wire.circuit_breakers.as_ref().map_or(&[][..], |breakers| &breakers.thresholds);
    let thresholds = at.field("thresholds");
    for (index, one) in all.iter().enumerate() {
        if RoutingPriority::try_from(one.priority).is_err() {
            let at = thresholds.index(index);
            return Err(at.field("priority").refuse(one.priority, "is DEFAULT or HIGH"));
        }
    }
    let of = |priority: RoutingPriority| breakers(all.iter().find(|one| one.priority == priority as i32));
    Ok(Breakers { default: of(RoutingPriority::Default), high: of(RoutingPriority::High) })
}

fn breakers(wire: Option<&Thresholds>) -> CircuitBreakers {
    let limit = |of: fn(&Thresholds) -> Option<u32>, otherwise| wire.and_then(of).unwrap_or(otherwise);
    CircuitBreakers {
        max_connections: limit(|of| of.max_connections, 1024),
        max_pending_requests: limit(|of| of.max_pending_requests, 1024),
        max_requests: limit(|of| of.max_requests, 1024),
        max_retries: limit(|of| of.max_retries, 3),
        retry_budget: wire.and_then(|of| of.retry_budget.as_ref()).map(|budget| RetryBudget {
            percent: budget.budget_percent.as_ref().map_or(20.0, |percent| percent.value).clamp(0.0, 100.0),
            min_retry_concurrency: budget.min_retry_concurrency.unwrap_or(3),
        }),
    }
}
