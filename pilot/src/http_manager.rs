//! HTTP connection managers: what is common to all, and what differs by side.

use api::envoy::config::core::v3 as core;
use api::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use api::envoy::config::listener::v3 as listener;
use api::envoy::config::route::v3 as route;
use api::envoy::extensions::filters::http::cors::v3::Cors;
use api::envoy::extensions::filters::http::fault::v3::HttpFault;
use api::envoy::extensions::filters::http::router::v3::Router;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::prost::Name;
use api::prost_types;
use http::http_connection_manager::{
    ForwardClientCertDetails, RouteSpecifier, SetCurrentClientCertDetails, UpgradeConfig,
};

use galley::kinds::{ClientCertificates, PathForm, Topology};

use crate::http_proxy::elsewhere;
use crate::listener::network_filter;
use crate::policy::Guard;
use crate::visibility::View;
use crate::{telemetry, wire};

const FILTER: &str = "envoy.filters.network.http_connection_manager";

/// How long the head of a request may take to come in.
const HEAD_SECONDS: i64 = 10;

/// Where a manager's routes come from.
pub(crate) enum Routes {
    Inline(route::RouteConfiguration),
    /// Over the same stream, by this name.
    Named(String),
}

/// Which side of the proxy a manager is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Requests of other workloads to this one's application.
    Inbound,
    /// Requests of this workload's application, sent to the proxy as such.
    ExplicitOutbound,
    /// The same, captured on their way.
    CapturedOutbound,
    /// Requests from outside the mesh.
    Gateway,
}

/// The network filter of a manager; every request comes by the guard first.
pub(crate) fn filter(
    view: &View<'_>,
    side: Side,
    stat_prefix: &str,
    routes: Routes,
    guard: &Guard,
) -> listener::Filter {
    let observed = telemetry::observe(view, side == Side::Inbound);
    let mut manager = manager(side, stat_prefix, routes);
    manager.http_filters.splice(0..0, guard.http.iter().cloned().chain(observed.filter));
    if side == Side::ExplicitOutbound && elsewhere::is_open(view) {
        let router = manager.http_filters.len() - 1;
        manager.http_filters.insert(router, elsewhere::filter());
        manager.local_reply_config = Some(elsewhere::unresolved());
    }
    manager.access_log = observed.access_logs;
    manager.tracing = observed.tracing;
    manager.request_id_extension = observed.request_ids;
    if guard.judges_headers {
        let action = HeadersWithUnderscoresAction::DropHeader as i32;
        manager.common_http_protocol_options =
            Some(core::HttpProtocolOptions { headers_with_underscores_action: action, ..Default::default() });
    }
    let usual = if guard.judges_paths { PathForm::Decoded } else { PathForm::Base };
    form_paths(&mut manager, view.index.mesh().paths.unwrap_or(usual));
    if side == Side::Gateway {
        believe(&mut manager, &view.index.mesh().topology);
    }
    network_filter(FILTER, &manager)
}

fn manager(side: Side, stat_prefix: &str, routes: Routes) -> http::HttpConnectionManager {
    let certificate = match side {
        Side::Inbound => Some(ForwardClientCertDetails::AppendForward),
        Side::Gateway => Some(ForwardClientCertDetails::SanitizeSet),
        Side::ExplicitOutbound | Side::CapturedOutbound => None,
    };
    let upgrades: &[&str] = if side == Side::ExplicitOutbound { &["websocket", "CONNECT"] } else { &["websocket"] };
    http::HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        http_filters: http_filters(),
        server_name: "istio-envoy".into(),
        http_protocol_options: (side == Side::ExplicitOutbound)
            .then(|| core::Http1ProtocolOptions { allow_absolute_url: Some(true), ..Default::default() }),
        // A stream may be silent for as long as it likes; Envoy would end it after five minutes.
        stream_idle_timeout: Some(prost_types::Duration::default()),
        // Whoever begins a request must come to the end of its head.
        request_headers_timeout: Some(prost_types::Duration { seconds: HEAD_SECONDS, nanos: 0 }),
        use_remote_address: Some(side == Side::Gateway),
        forward_client_cert_details: certificate.unwrap_or(ForwardClientCertDetails::Sanitize) as i32,
        set_current_client_cert_details: certificate.map(|_| SetCurrentClientCertDetails {
            subject: Some(true),
            dns: true,
            uri: true,
            ..Default::default()
        }),
        upgrade_configs: upgrades.iter().map(|name| upgrade(name)).collect(),
        route_specifier: Some(specifier(routes)),
        ..Default::default()
    }
}

/// As far as what stands in front of gateways is one's own, what it says of clients is believed.
fn believe(manager: &mut http::HttpConnectionManager, topology: &Topology) {
    manager.xff_num_trusted_hops = topology.trusted_proxies;
    if let Some(form) = topology.client_certificates {
        manager.forward_client_cert_details = match form {
            ClientCertificates::Sanitize => ForwardClientCertDetails::Sanitize,
            ClientCertificates::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
            ClientCertificates::AppendForward => ForwardClientCertDetails::AppendForward,
            ClientCertificates::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
            ClientCertificates::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
        } as i32;
    }
}

/// Rules on paths must see what the application will, so that by default slashes that are doubled or escaped are plain
/// ones to them.
fn form_paths(manager: &mut http::HttpConnectionManager, form: PathForm) {
    use http::http_connection_manager::PathWithEscapedSlashesAction::UnescapeAndForward;
    manager.normalize_path = Some(form != PathForm::Raw);
    manager.merge_slashes = matches!(form, PathForm::Merged | PathForm::Decoded);
    if form == PathForm::Decoded {
        manager.path_with_escaped_slashes_action = UnescapeAndForward as i32;
    }
}

fn specifier(routes: Routes) -> RouteSpecifier {
    match routes {
        Routes::Inline(config) => RouteSpecifier::RouteConfig(config),
        Routes::Named(route_config_name) => {
            RouteSpecifier::Rds(http::Rds { config_source: Some(wire::ads()), route_config_name })
        }
    }
}

fn upgrade(name: &str) -> UpgradeConfig {
    UpgradeConfig { upgrade_type: name.to_owned(), ..Default::default() }
}

fn http_filters() -> Vec<http::HttpFilter> {
    vec![
        http_filter("envoy.filters.http.fault", &HttpFault::default()),
        http_filter("envoy.filters.http.cors", &Cors {}),
        http_filter("envoy.filters.http.router", &Router::default()),
    ]
}

pub(crate) fn http_filter<M: Name>(name: &str, config: &M) -> http::HttpFilter {
    http::HttpFilter {
        name: name.to_owned(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(api::any(config))),
        ..Default::default()
    }
}
