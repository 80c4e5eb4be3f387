//! CUSTOM: what its rules cover is put to a provider (Istio `pilot/pkg/security/authz/builder/extauthz.go`). Rules that
//! are only tried mark such requests, and a filter behind them asks about what is marked. Where nobody can be asked,
//! what the rules cover is denied.

use std::collections::BTreeSet;
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
use api::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::envoy::r#type::matcher::v3 as matcher;
use api::envoy::r#type::v3::HttpStatus;
use core::http_uri::HttpUpstreamType;
use ext_authz::ext_authz::Services;
use galley::kinds::{AccessAction, AskedBy, Authorizer, ProviderKind};

use super::{Access, Speech, matching};
use crate::diagnostic::{Code, Findings};
use crate::http_manager::http_filter;
use crate::telemetry::{Reached, reach};
use crate::visibility::View;
use crate::wire;

/// Before the names of what is left as metadata.
const STATS: &str = "istio_ext_authz_";
/// Before the names of rules.
pub(super) const MARK: &str = "istio-ext-authz-";
/// A provider takes this long at most, unless something else is said (Istio).
const TIMEOUT: Duration = Duration::from_secs(600);

impl Access<'_> {
    /// What comes before tokens are looked at.
    pub fn asked(&self, view: &View<'_>, findings: &mut Findings) -> Vec<http::HttpFilter> {
        let providers: BTreeSet<&str> = self.custom().map(|policy| policy.spec.provider.as_str()).collect();
        let found = match providers.into_iter().collect::<Vec<_>>()[..] {
            [] => return Vec::new(),
            [provider] => self.provider(provider, view, findings),
            ref several => {
                let names = several.join(", ");
                self.cannot_ask(&format!("only one provider can be asked about one workload, not {names}"), findings);
                None
            }
        };
        let Some((asked, reached)) = found else {
            return self.http_filter(AccessAction::Custom).into_iter().collect();
        };
        let marks = HttpRbac {
            shadow_rules: self.rbac(AccessAction::Custom, Speech::Http, false),
            shadow_rules_stat_prefix: STATS.to_owned(),
            ..Default::default()
        };
        let asks = filter(&asked, &reached);
        vec![http_filter("envoy.filters.http.rbac", &marks), http_filter("envoy.filters.http.ext_authz", &asks)]
    }

    fn provider(&self, name: &str, view: &View<'_>, findings: &mut Findings) -> Option<(Authorizer, Reached)> {
        let mesh = view.index.inputs.config.mesh_config();
        let Some(provider) = mesh.and_then(|mesh| mesh.spec.provider(name)) else {
            let message = format!("no provider {name:?} is among the extensionProviders of the MeshConfig");
            self.cannot_ask(&message, findings);
            return None;
        };
        let ProviderKind::Authorizer(asked) = &provider.kind else {
            self.cannot_ask(&format!("provider {name:?} is {} and is not asked", provider.kind.as_str()), findings);
            return None;
        };
        match reach(view, name, &asked.service) {
            Ok(reached) => Some((asked.clone(), reached)),
            Err((_, message)) => {
                self.cannot_ask(&message, findings);
                None
            }
        }
    }

    fn cannot_ask(&self, message: &str, findings: &mut Findings) {
        for policy in self.custom() {
            let object = format!("AuthorizationPolicy {}/{}", policy.meta.namespace, policy.meta.name);
            let message = format!("{message}; what the rules cover is denied");
            findings.add(Code::UnknownProvider, object, message);
        }
    }
}

fn filter(asked: &Authorizer, reached: &Reached) -> ext_authz::ExtAuthz {
    let marked = matcher::MetadataMatcher {
        filter: "envoy.filters.http.rbac".to_owned(),
        path: matching::path([format!("{STATS}shadow_effective_policy_id")]),
        value: Some(matching::string_value(wire::prefix(MARK))),
        ..Default::default()
    };
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
        filter_enabled_metadata: Some(marked),
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
