//! Health checks of this proxy.

use std::sync::Arc;

use api::envoy::extensions::filters::http::health_check::v3 as wire;

use super::super::{basics, route_match};
use crate::config::error::{At, ConfigError};
use crate::filter::health_check::{Cache, HealthCheck, Mode};

pub fn convert(wire: &wire::HealthCheck, at: &At<'_>) -> Result<Arc<HealthCheck>, ConfigError> {
    let through = wire.pass_through_mode.ok_or_else(|| at.field("pass_through_mode").missing())?;
    let cache = at.field("cache_time");
    let time = basics::maybe_duration(wire.cache_time.as_ref(), &cache)?;
    let clusters = at.field("cluster_min_healthy_percentages");
    if through && !wire.cluster_min_healthy_percentages.is_empty() {
        return Err(clusters.refuse("set", "stands without pass_through_mode"));
    }
    if !through && time.is_some() {
        return Err(cache.refuse("set", "is for pass_through_mode"));
    }
    let least = wire.cluster_min_healthy_percentages.iter().map(|(name, percent)| match percent.value {
        value @ 0.0..=100.0 => Ok((name.clone(), value)),
        other => Err(clusters.key(name).refuse(other, "is from 0 to 100")),
    });
    Ok(Arc::new(HealthCheck {
        headers: route_match::headers(&wire.headers, &at.field("headers"))?,
        mode: match through {
            true => Mode::Through(time.map(Cache::new)),
            false => Mode::Here(least.collect::<Result<_, _>>()?),
        },
    }))
}
