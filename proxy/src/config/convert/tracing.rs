//! Tracing: of the HTTP connection manager, of routes, and the providers there are.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::config::route::v3 as route;
use api::envoy::config::trace::v3 as trace;
use api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::Tracing as Wire,
};
use api::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use api::envoy::r#type::metadata::v3 as metadata;
use api::envoy::r#type::tracing::v3 as tags;
use api::envoy::r#type::v3::{FractionalPercent, Percent};

use super::basics;
use crate::config::Fraction;
use crate::config::error::{At, ConfigError};
use crate::trace::{
    Decorator, Destination, Otlp, Propagation, Provider, RequestIds, RouteTracing, Sampling, Tag, TagValue, Tracing,
    Zipkin,
};

const ALL: Fraction = Fraction(1_000_000);
const SPANS: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

pub(super) fn convert(wire: &Wire, at: &At<'_>) -> Result<Tracing, ConfigError> {
    if wire.spawn_upstream_span == Some(true) {
        return Err(at.field("spawn_upstream_span").refuse(true, "one span a request is made here: leave it out"));
    }
    let provider = at.field("provider");
    let provider = wire.provider.as_ref().map(|wire| self::provider(wire, &provider)).transpose()?;
    Ok(Tracing {
        provider: provider.map(Arc::new),
        sampling: Sampling {
            client: percent(wire.client_sampling.as_ref(), &at.field("client_sampling"))?,
            random: percent(wire.random_sampling.as_ref(), &at.field("random_sampling"))?,
            overall: percent(wire.overall_sampling.as_ref(), &at.field("overall_sampling"))?,
        },
        verbose: wire.verbose,
        max_path_tag_length: wire.max_path_tag_length.unwrap_or(256) as usize,
        tags: custom_tags(&wire.custom_tags, &at.field("custom_tags"))?,
    })
}

fn percent(wire: Option<&Percent>, at: &At<'_>) -> Result<Fraction, ConfigError> {
    match wire.map(|wire| wire.value) {
        None => Ok(ALL),
        // Envoy counts hundredths of a percent.
        Some(value) if (0.0..=100.0).contains(&value) => Ok(Fraction((value * 100.0) as u32 * 100)),
        Some(value) => Err(at.refuse(value, "a percentage is from 0 to 100")),
    }
}

pub(super) fn of_route(wire: &route::Tracing, at: &At<'_>) -> Result<RouteTracing, ConfigError> {
    let share =
        |wire: Option<&FractionalPercent>, name| wire.map_or(Ok(ALL), |wire| basics::fraction(wire, &at.field(name)));
    Ok(RouteTracing {
        sampling: Sampling {
            client: share(wire.client_sampling.as_ref(), "client_sampling")?,
            random: share(wire.random_sampling.as_ref(), "random_sampling")?,
            overall: share(wire.overall_sampling.as_ref(), "overall_sampling")?,
        },
        tags: custom_tags(&wire.custom_tags, &at.field("custom_tags"))?,
    })
}

pub(super) fn decorator(wire: &route::Decorator, at: &At<'_>) -> Result<Decorator, ConfigError> {
    if wire.operation.is_empty() {
        return Err(at.field("operation").missing());
    }
    Ok(Decorator { operation: wire.operation.clone(), propagate: wire.propagate != Some(false) })
}

/// How request ids take part in sampling.
pub(super) fn request_ids(wire: &HttpConnectionManager, at: &At<'_>) -> Result<RequestIds, ConfigError> {
    let Some(extension) = &wire.request_id_extension else { return Ok(RequestIds::default()) };
    let at = at.field("request_id_extension");
    let at = at.field("typed_config");
    let any = extension.typed_config.as_ref().ok_or_else(|| at.missing())?;
    let wire: UuidRequestIdConfig = basics::unpack(any, &at)?;
    Ok(RequestIds {
        pack_trace_reason: wire.pack_trace_reason != Some(false),
        use_for_sampling: wire.use_request_id_for_trace_sampling != Some(false),
    })
}

fn custom_tags(wire: &[tags::CustomTag], at: &At<'_>) -> Result<Vec<Tag>, ConfigError> {
    wire.iter().enumerate().map(|(index, one)| custom_tag(one, &at.index(index))).collect()
}

fn custom_tag(wire: &tags::CustomTag, at: &At<'_>) -> Result<Tag, ConfigError> {
    use tags::custom_tag::Type;
    if wire.tag.is_empty() {
        return Err(at.field("tag").missing());
    }
    let value = match &wire.r#type {
        Some(Type::Literal(literal)) => TagValue::Text(literal.value.clone()),
        Some(Type::Environment(variable)) => {
            TagValue::Text(std::env::var(&variable.name).unwrap_or_else(|_| variable.default_value.clone()))
        }
        Some(Type::RequestHeader(header)) => {
            TagValue::RequestHeader { name: header.name.to_ascii_lowercase(), default: header.default_value.clone() }
        }
        Some(Type::Metadata(wire)) => of_metadata(wire, &at.field("metadata"))?,
        Some(_) => return Err(at.refuse("this kind of tag", "is not supported")),
        None => return Err(at.missing()),
    };
    Ok(Tag { name: wire.tag.clone(), value })
}

fn of_metadata(wire: &tags::custom_tag::Metadata, at: &At<'_>) -> Result<TagValue, ConfigError> {
    use metadata::metadata_key::path_segment::Segment;
    use metadata::metadata_kind::Kind;
    if !matches!(wire.kind.as_ref().and_then(|kind| kind.kind.as_ref()), Some(Kind::Request(_))) {
        return Err(at.field("kind").refuse("this kind", "the metadata of requests is kept here: `request: {}`"));
    }
    let key = at.field("metadata_key");
    let wire_key = wire.metadata_key.as_ref().ok_or_else(|| key.missing())?;
    let path = wire_key.path.iter().filter_map(|part| part.segment.as_ref());
    let path = path.map(|segment| match segment {
        Segment::Key(name) => Ok(name.clone()),
        Segment::Index(index) => Err(key.field("path").refuse(index, "elements of lists are not looked up")),
    });
    let path = path.collect::<Result<_, _>>()?;
    Ok(TagValue::Metadata { namespace: wire_key.key.clone(), path, default: wire.default_value.clone() })
}

fn provider(wire: &trace::tracing::Http, at: &At<'_>) -> Result<Provider, ConfigError> {
    let at = at.field("typed_config");
    let Some(trace::tracing::http::ConfigType::TypedConfig(any)) = &wire.config_type else {
        return Err(at.missing());
    };
    if basics::is_a::<trace::OpenTelemetryConfig>(any) {
        return otlp(&basics::unpack(any, &at)?, &at).map(Provider::Otlp);
    }
    if basics::is_a::<trace::ZipkinConfig>(any) {
        return zipkin(&basics::unpack(any, &at)?, &at).map(Provider::Zipkin);
    }
    Err(at.refuse(&any.type_url, "OpenTelemetry and Zipkin are supported"))
}

fn otlp(wire: &trace::OpenTelemetryConfig, at: &At<'_>) -> Result<Otlp, ConfigError> {
    let (to, grpc) = match (&wire.grpc_service, &wire.http_service) {
        (Some(service), None) => (grpc_service(service, SPANS, &at.field("grpc_service"))?, true),
        (None, Some(service)) => (http_service(service, &at.field("http_service"))?, false),
        (Some(_), Some(_)) => return Err(at.refuse("two services", "`grpc_service` or `http_service` takes the spans")),
        (None, None) => return Err(at.field("grpc_service").missing()),
    };
    let max_cache_size = wire.max_cache_size.unwrap_or(1024) as usize;
    Ok(Otlp { service_name: wire.service_name.clone(), to, grpc, max_cache_size })
}

/// Where a method of gRPC is called.
pub(super) fn grpc_service(wire: &core::GrpcService, method: &str, at: &At<'_>) -> Result<Destination, ConfigError> {
    use core::grpc_service::TargetSpecifier;
    let Some(TargetSpecifier::EnvoyGrpc(envoy)) = &wire.target_specifier else {
        return Err(at.field("google_grpc").refuse("set", "use `envoy_grpc` with a cluster"));
    };
    let cluster = at.field("envoy_grpc");
    let cluster = cluster.field("cluster_name");
    if envoy.cluster_name.is_empty() {
        return Err(cluster.missing());
    }
    let authority = if envoy.authority.is_empty() { &envoy.cluster_name } else { &envoy.authority };
    Ok(Destination {
        cluster: envoy.cluster_name.clone(),
        authority: authority.clone(),
        path: method.to_owned(),
        headers: wire
            .initial_metadata
            .iter()
            .map(|header| (header.key.to_ascii_lowercase(), header.value.clone()))
            .collect(),
        timeout: basics::duration(wire.timeout.as_ref(), Duration::ZERO, &at.field("timeout"))?,
    })
}

pub(super) fn http_service(wire: &core::HttpService, at: &At<'_>) -> Result<Destination, ConfigError> {
    use core::http_uri::HttpUpstreamType;
    let at_uri = at.field("http_uri");
    let uri = wire.http_uri.as_ref().ok_or_else(|| at_uri.missing())?;
    let cluster = match &uri.http_upstream_type {
        Some(HttpUpstreamType::Cluster(cluster)) if !cluster.is_empty() => cluster.clone(),
        _ => return Err(at_uri.field("cluster").missing()),
    };
    let parsed: http::Uri = uri.uri.parse().map_err(|_| at_uri.field("uri").refuse(&uri.uri, "is not a URI"))?;
    let authority = parsed.authority().ok_or_else(|| at_uri.field("uri").refuse(&uri.uri, "has no host"))?;
    let headers = wire.request_headers_to_add.iter().filter_map(|option| option.header.as_ref());
    Ok(Destination {
        cluster,
        authority: authority.to_string(),
        path: parsed.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
        headers: headers.map(|header| (header.key.to_ascii_lowercase(), header.value.clone())).collect(),
        timeout: basics::duration(uri.timeout.as_ref(), Duration::ZERO, &at_uri.field("timeout"))?,
    })
}

fn zipkin(wire: &trace::ZipkinConfig, at: &At<'_>) -> Result<Zipkin, ConfigError> {
    use trace::zipkin_config::{CollectorEndpointVersion as Version, TraceContextOption};
    let to = match &wire.collector_service {
        Some(service) => http_service(service, &at.field("collector_service"))?,
        None => {
            for (field, text) in
                [("collector_cluster", &wire.collector_cluster), ("collector_endpoint", &wire.collector_endpoint)]
            {
                if text.is_empty() {
                    return Err(at.field(field).missing());
                }
            }
            let host = &wire.collector_hostname;
            Destination {
                cluster: wire.collector_cluster.clone(),
                authority: if host.is_empty() { wire.collector_cluster.clone() } else { host.clone() },
                path: wire.collector_endpoint.clone(),
                headers: Vec::new(),
                timeout: Duration::from_secs(5),
            }
        }
    };
    if wire.collector_endpoint_version != Version::HttpJson as i32 {
        return Err(at.field("collector_endpoint_version").refuse(wire.collector_endpoint_version, "is HTTP_JSON"));
    }
    Ok(Zipkin {
        to,
        trace_id_128bit: wire.trace_id_128bit,
        shared_span_context: wire.shared_span_context != Some(false),
        propagation: match TraceContextOption::try_from(wire.trace_context_option) {
            Ok(TraceContextOption::UseB3) => Propagation::B3,
            Ok(TraceContextOption::UseB3WithW3cPropagation) => Propagation::B3AndW3c,
            Err(_) => return Err(at.field("trace_context_option").refuse(wire.trace_context_option, "is not known")),
        },
    })
}
