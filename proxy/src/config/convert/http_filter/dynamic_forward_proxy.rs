//! The filter that has a request's host looked up.

use std::sync::Arc;

use api::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as wire;
use wire::filter_config::ImplementationSpecifier;
use wire::per_route_config::HostRewriteSpecifier;

use crate::config::convert::forward_proxy;
use crate::config::error::{At, ConfigError};
use crate::filter::dynamic_forward_proxy::{HostRewrite, LookUp};

pub fn convert(wire: &wire::FilterConfig, at: &At<'_>) -> Result<Arc<LookUp>, ConfigError> {
    let at_cache = at.field("dns_cache_config");
    match &wire.implementation_specifier {
        Some(ImplementationSpecifier::DnsCacheConfig(cache)) => {
            Ok(Arc::new(LookUp { cache: forward_proxy::cache(cache, &at_cache)? }))
        }
        Some(ImplementationSpecifier::SubClusterConfig(_)) => {
            Err(at.field("sub_cluster_config").refuse("set", "is not supported"))
        }
        None => Err(at_cache.missing()),
    }
}

pub fn per_route(wire: &wire::PerRouteConfig) -> Arc<HostRewrite> {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Arc::new(match &wire.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => HostRewrite { literal: some(host), header: None },
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            HostRewrite { literal: None, header: some(&name.to_ascii_lowercase()) }
        }
        None => HostRewrite::default(),
    })
}
