//! CUSTOM: what its rules cover is put to a provider (Istio `pilot/pkg/security/authz/builder/extauthz.go`). Rules that
//! are only tried mark such requests, and a filter behind them asks about what is marked. Where nobody can be asked,
//! what the rules cover is denied.

use std::collections::BTreeSet;
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as listener;
use api::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
use api::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use api::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz as NetworkExtAuthz;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use api::envoy::r#type::matcher::v3 as matcher;
use api::envoy::r#type::v3::HttpStatus;
use core::http_uri::HttpUpstreamType;
use ext_authz::ext_authz::Services;
use galley::kinds::{AccessAction, AskedBy, Authorizer, ProviderKind};

use super::{Access, Speech, TCP, matching, object};
use crate::diagnostic::{Code, Findings};
use crate::http_manager::http_filter;
use crate::inputs::Inputs;
use crate::listener::network_filter;
use crate::telemetry::{Reached, reach};
use crate::visibility::{View, is_genuine, named};
use crate::{clusters, wire};

/// Before the names of what is left as metadata.
const STATS: &str = "istio_ext_authz_";
/// Before the names of rules.
pub(super) const MARK: &str = "istio-ext-authz-";
/// A provider takes this long at most, unless something else is said (Istio).
const TIMEOUT: Duration = Duration::from_secs(600);

/// What comes before tokens are looked at.
#[derive(Default)]
pub(in crate::policy) struct Asked {
    pub http: Vec<http::HttpFilter>,
    pub network: Vec<listener::Filter>,
}

impl Access<'_> {
    pub fn asked(&self, view: &View<'_>, findings: &mut Findings) -> Asked {
        let providers: BTreeSet<&str> = self.custom().map(|policy| policy.spec.provider.as_str()).collect();
        if providers.is_empty() {
            return Asked::default();
        }
        let denied = || self.network_filter(AccessAction::Custom).into_iter().collect();
        let (asked, reached) = match who(&view.index.inputs, &view.audience.namespace, &providers) {
            Ok(found) => found,
            Err(why) => {
                self.complain_of(Code::UnknownProvider, &format!("{why}; what the rules cover is denied"), findings);
                return Asked { http: self.http_filter(AccessAction::Custom).into_iter().collect(), network: denied() };
            }
        };
        if let Some(why) = speaks_no_grpc(asked, view) {
            self.complain_of(Code::WrongProtocol, &why, findings);
        }
        let marks = HttpRbac {
            shadow_rules: self.rbac(AccessAction::Custom, Speech::Http, false),
            shadow_rules_stat_prefix: STATS.to_owned(),
            ..Default::default()
        };
        let asks = filter(asked, &reached);
        let http =
            vec![http_filter("envoy.filters.http.rbac", &marks), http_filter("envoy.filters.http.ext_authz", &asks)];
        let network = match cannot_be_put(asked) {
            Some(_) => denied(),
            None => self.asked_of_connections(asked, &reached),
        };
        Asked { http, network }
    }

    fn asked_of_connections(&self, asked: &Authorizer, reached: &Reached) -> Vec<listener::Filter> {
        let marks = NetworkRbac {
            stat_prefix: TCP.to_owned(),
            shadow_rules: self.rbac(AccessAction::Custom, Speech::Tcp, false),
            shadow_rules_stat_prefix: STATS.to_owned(),
            ..Default::default()
        };
        let asks = NetworkExtAuthz {
            stat_prefix: TCP.to_owned(),
            grpc_service: Some(reached.grpc(Some(asked.timeout.unwrap_or(TIMEOUT)), &[])),
            failure_mode_allow: asked.fail_open,
            transport_api_version: core::ApiVersion::V3 as i32,
            filter_enabled_metadata: Some(marked("envoy.filters.network.rbac")),
            ..Default::default()
        };
        vec![
            network_filter("envoy.filters.network.rbac", &marks),
            network_filter("envoy.filters.network.ext_authz", &asks),
        ]
    }

    fn complain_of(&self, code: Code, message: &str, findings: &mut Findings) {
        for policy in self.custom() {
            findings.add(code, object(policy), message);
        }
    }
}

/// Who is asked about a workload of a namespace whose policies name these providers; else why nobody can be.
pub(in crate::policy) fn who<'a>(
    inputs: &'a Inputs,
    namespace: &str,
    providers: &BTreeSet<&str>,
) -> Result<(&'a Authorizer, Reached), String> {
    let several: Vec<&str> = providers.iter().copied().collect();
    let [name] = several[..] else {
        return Err(format!("only one provider can be asked about one workload, not {}", several.join(", ")));
    };
    let provider = inputs.config.mesh_config().and_then(|mesh| mesh.spec.provider(name));
    let provider =
        provider.ok_or_else(|| format!("no provider {name:?} is among the extensionProviders of the MeshConfig"))?;
    let ProviderKind::Authorizer(asked) = &provider.kind else {
        return Err(format!("provider {name:?} is {} and is not asked", provider.kind.as_str()));
    };
    let host = &asked.service.host;
    if let Some(entry) = named(inputs, namespace, host).filter(|entry| !is_genuine(entry, &inputs.mesh)) {
        return Err(format!(
            "the host {host:?} of provider {name:?} is what a ServiceEntry of namespace {:?} makes of it, which decides on \
             traffic and not on access; declare it in {:?}",
            entry.service.namespace(),
            inputs.mesh.root_namespace
        ));
    }
    let reached = reach(inputs, namespace, name, &asked.service).map_err(|(_, why)| why)?;
    Ok((asked, reached))
}

/// Why connections on which no HTTP is spoken cannot be put to a provider; what rules cover of them is denied.
pub(in crate::policy) fn cannot_be_put(asked: &Authorizer) -> Option<String> {
    let why = "a connection on which no HTTP is spoken cannot be put to a provider over HTTP; one that is asked over gRPC \
               (envoyExtAuthzGrpc) can judge it";
    (asked.by != AskedBy::Grpc).then(|| why.to_owned())
}

/// Why a provider that is asked over gRPC does not understand it.
fn speaks_no_grpc(asked: &Authorizer, view: &View<'_>) -> Option<String> {
    let of = &asked.service;
    let entry = view.named(&of.host).filter(|_| asked.by == AskedBy::Grpc)?;
    let port = entry.service.port(of.port).filter(|port| !clusters::is_http2(view, entry, port))?;
    Some(format!(
        "the provider is asked over gRPC at port {} ({:?}) of {:?}, to which proxies speak no HTTP/2: no question is \
         understood; name the port grpc or http2, or give it that appProtocol",
        of.port, port.name, of.host
    ))
}

/// By the filter of rules before it.
fn marked(by: &str) -> matcher::MetadataMatcher {
    matcher::MetadataMatcher {
        filter: by.to_owned(),
        path: matching::path([format!("{STATS}shadow_effective_policy_id")]),
        value: Some(matching::string_value(wire::prefix(MARK))),
        ..Default::default()
    }
}

fn filter(asked: &Authorizer, reached: &Reached) -> ext_authz::ExtAuthz {
    let timeout = asked.timeout.unwrap_or(TIMEOUT);
    let mut filter = ext_authz::ExtAuthz {
        transport_api_version: core::ApiVersion::V3 as i32,
        failure_mode_allow: asked.fail_open,
        clear_route_cache: asked.clear_route_cache,
        status_on_error: asked.status_on_error.map(|code| HttpStatus { code: code.into() }),
        with_request_body: asked.body.map(|body| ext_authz::BufferSettings {
            max_request_bytes: body.most_bytes,
            allow_partial_message: body.partial,
            pack_as_bytes: body.as_bytes,
        }),
        filter_enabled_metadata: Some(marked("envoy.filters.http.rbac")),
        ..Default::default()
    };
    match &asked.by {
        AskedBy::Grpc => filter.services = Some(Services::GrpcService(reached.grpc(Some(timeout), &[]))),
        AskedBy::Http {
            path_prefix,
            headers,
            more_headers,
            upstream_on_allow,
            downstream_on_allow,
            downstream_on_deny,
        } => {
            filter.allowed_headers = names(headers);
            let added = more_headers.iter().map(|(name, value)| core::HeaderValue {
                key: name.clone(),
                value: value.clone(),
                ..Default::default()
            });
            filter.services = Some(Services::HttpService(ext_authz::HttpService {
                server_uri: Some(core::HttpUri {
                    uri: format!("http://{}", reached.host),
                    timeout: Some(wire::duration(timeout)),
                    http_upstream_type: Some(HttpUpstreamType::Cluster(reached.cluster.clone())),
                }),
                path_prefix: path_prefix.clone(),
                authorization_request: Some(ext_authz::AuthorizationRequest {
                    headers_to_add: added.collect(),
                    ..Default::default()
                }),
                // What of the provider's answer goes on.
                authorization_response: Some(ext_authz::AuthorizationResponse {
                    allowed_upstream_headers: names(upstream_on_allow),
                    allowed_client_headers_on_success: names(downstream_on_allow),
                    allowed_client_headers: names(downstream_on_deny),
                    ..Default::default()
                }),
                ..Default::default()
            }));
        }
    }
    filter
}

fn names(names: &[String]) -> Option<matcher::ListStringMatcher> {
    let patterns = names.iter().map(|name| matching::in_any_case(matching::text(name)));
    (!names.is_empty()).then(|| matcher::ListStringMatcher { patterns: patterns.collect() })
}
