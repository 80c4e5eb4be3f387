//! CORS policies.

use api::envoy::extensions::filters::http::cors::v3 as wire;

use super::super::{basics, matcher};
use crate::config::Fraction;
use crate::config::error::{At, ConfigError};
use crate::filter::cors::CorsPolicy;

pub fn convert(wire: &wire::CorsPolicy, at: &At<'_>) -> Result<CorsPolicy, ConfigError> {
    let origins = at.field("allow_origin_string_match");
    let allow_origins = wire.allow_origin_string_match.iter().enumerate();
    let allow_origins = allow_origins.map(|(index, origin)| matcher::string(origin, &origins.index(index)));
    let enabled = basics::runtime_fraction(wire.filter_enabled.as_ref(), &at.field("filter_enabled"))?;
    Ok(CorsPolicy {
        allow_origins: allow_origins.collect::<Result<_, _>>()?,
        allow_methods: wire.allow_methods.clone(),
        allow_headers: wire.allow_headers.clone(),
        expose_headers: wire.expose_headers.clone(),
        max_age: wire.max_age.clone(),
        allow_credentials: wire.allow_credentials,
        forward_not_matching_preflights: wire.forward_not_matching_preflights,
        enabled: enabled.unwrap_or(Fraction(1_000_000)),
    })
}
