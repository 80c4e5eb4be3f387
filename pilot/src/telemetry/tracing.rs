//! Which requests are traced, and who is told (Istio, `Telemetry.tracing`).

use std::collections::BTreeMap;

use api::envoy::config::trace::v3 as trace;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use api::envoy::r#type::tracing::v3 as tags;
use api::envoy::r#type::v3::Percent;
use api::prost::Name;
use galley::kinds::{MeshConfig, ProviderKind, TagSource};
use http::http_connection_manager::Tracing;

use super::Scene;
use crate::diagnostic::Findings;

/// A proxy of weft hands the spans of this cluster to its reports.
const CONTROL_PLANE_CLUSTER: &str = "xds-grpc";
/// Where neither a Telemetry nor the control plane says (Istio's default).
const SAMPLING: f64 = 1.0;

/// All scopes together, each later one above those before it.
#[derive(Default)]
struct Merged<'a> {
    provider: Option<&'a str>,
    disabled: bool,
    sampling: Option<f64>,
    tags: Option<&'a BTreeMap<String, TagSource>>,
    use_request_id: Option<bool>,
}

type Compiled = (Option<Tracing>, Option<http::RequestIdExtension>);

pub(super) fn compile(scene: &Scene<'_>, findings: &mut Findings) -> Compiled {
    let merged = merge(scene);
    if merged.disabled {
        return (None, None);
    }
    let provider = match merged.provider {
        Some(name) => provider(scene, name, findings),
        None => built_in(scene),
    };
    let Some((provider, max_tag_length)) = provider else { return (None, None) };
    let sampling = merged.sampling.or(scene.view.index.mesh().trace_sampling).unwrap_or(SAMPLING);
    let tracing = Tracing {
        random_sampling: Some(Percent { value: sampling }),
        provider: Some(provider),
        max_path_tag_length: max_tag_length,
        custom_tags: merged.tags.into_iter().flatten().map(|(name, source)| tag(name, source)).collect(),
        ..Default::default()
    };
    (Some(tracing), merged.use_request_id.map(request_ids))
}

fn merge<'a>(scene: &'a Scene<'_>) -> Merged<'a> {
    let defaults = scene.mesh.and_then(|mesh| mesh.defaults.tracing.as_ref());
    let mut merged =
        Merged { provider: defaults.and_then(|names| names.first()).map(String::as_str), ..Merged::default() };
    let entries = scene.scopes.iter().flat_map(|scope| &scope.spec.tracing);
    for entry in entries.filter(|entry| entry.mode.covers(scene.server)) {
        merged.provider = entry.provider.as_deref().or(merged.provider);
        merged.disabled = entry.disable_span_reporting.unwrap_or(merged.disabled);
        merged.sampling = entry.sampling.map(|share| share.0).or(merged.sampling);
        merged.tags = entry.custom_tags.as_ref().or(merged.tags);
        merged.use_request_id = entry.use_request_id.or(merged.use_request_id);
    }
    // An empty list of default providers is none.
    merged.disabled |= merged.provider.is_none() && defaults.is_some();
    merged
}

type Provided = (trace::tracing::Http, Option<u32>);

fn provider(scene: &Scene<'_>, name: &str, findings: &mut Findings) -> Option<Provided> {
    let known = scene.mesh.and_then(|mesh| mesh.provider(name));
    if known.is_none() && name.eq_ignore_ascii_case(MeshConfig::TRACES) {
        return built_in(scene);
    }
    let provider = scene.provider(name, findings)?;
    match &provider.kind {
        ProviderKind::Zipkin { service, path, max_tag_length, short_ids, w3c, timeout, headers } => {
            let reached = scene.reach(name, service, findings)?;
            let config = trace::ZipkinConfig {
                collector_service: Some(reached.http(path, *timeout, headers)),
                trace_id_128bit: !short_ids,
                trace_context_option: contexts(*w3c),
                ..zipkin()
            };
            Some((http_provider("envoy.tracers.zipkin", &config), *max_tag_length))
        }
        ProviderKind::OpenTelemetry { service, max_tag_length, transport } => {
            let reached = scene.reach(name, service, findings)?;
            let (grpc_service, http_service) = reached.otlp(transport);
            // Without a name each proxy tells its own.
            let config = trace::OpenTelemetryConfig { grpc_service, http_service, ..Default::default() };
            Some((http_provider("envoy.tracers.opentelemetry", &config), *max_tag_length))
        }
        _ => {
            scene.unfit(provider, "spans", findings);
            None
        }
    }
}

/// Spans go to the control plane with the reports; contexts are read and written as B3 and as W3C's, so that programs
/// may hand on either.
fn built_in(scene: &Scene<'_>) -> Option<Provided> {
    let wanted = scene.view.index.mesh().trace_sampling.is_some() && scene.view.audience.features.reports_spans;
    let config = trace::ZipkinConfig {
        collector_cluster: CONTROL_PLANE_CLUSTER.into(),
        collector_endpoint: "/".into(),
        trace_id_128bit: true,
        trace_context_option: contexts(true),
        ..zipkin()
    };
    wanted.then(|| (http_provider("envoy.tracers.zipkin", &config), None))
}

fn zipkin() -> trace::ZipkinConfig {
    trace::ZipkinConfig {
        shared_span_context: Some(false),
        collector_endpoint_version: trace::zipkin_config::CollectorEndpointVersion::HttpJson as i32,
        ..Default::default()
    }
}

fn contexts(w3c: bool) -> i32 {
    use trace::zipkin_config::TraceContextOption::{UseB3, UseB3WithW3cPropagation};
    if w3c { UseB3WithW3cPropagation as i32 } else { UseB3 as i32 }
}

fn http_provider<M: Name>(name: &str, config: &M) -> trace::tracing::Http {
    let config_type = Some(trace::tracing::http::ConfigType::TypedConfig(api::any(config)));
    trace::tracing::Http { name: name.to_owned(), config_type }
}

fn request_ids(use_for_sampling: bool) -> http::RequestIdExtension {
    let config =
        UuidRequestIdConfig { use_request_id_for_trace_sampling: Some(use_for_sampling), ..Default::default() };
    http::RequestIdExtension { typed_config: Some(api::any(&config)) }
}

fn tag(name: &str, source: &TagSource) -> tags::CustomTag {
    use tags::custom_tag::{Environment, Header, Literal, Type};
    let of = match source.clone() {
        TagSource::Literal(value) => Type::Literal(Literal { value }),
        TagSource::Header { name, default } => Type::RequestHeader(Header { name, default_value: default }),
        TagSource::Environment { name, default } => Type::Environment(Environment { name, default_value: default }),
    };
    tags::CustomTag { tag: name.to_owned(), r#type: Some(of) }
}
