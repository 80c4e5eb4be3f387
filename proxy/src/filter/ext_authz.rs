//! Asks a service whether a request may go on (Envoy `envoy.filters.http.ext_authz`), over gRPC or HTTP, and does what
//! it says. Where the service gives no answer, the request is turned away unless the configuration lets it go.

mod attributes;
mod grpc;
mod http;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

pub use attributes::of_connection as connection_attributes;
pub use grpc::METHOD;
pub use verdict::Change;

use super::grpc::GrpcService;
use super::{After, HttpFilter, Settings, Stream, failed_body};
use crate::access_log::ResponseFlags;
use crate::config::{Fraction, StringMatch};
use crate::forward::Reply;
use crate::http::message::ResponseHead;
use crate::rbac::MetadataMatch;
use verdict::{Outcome, Verdict};

/// The namespace of what the service says for others.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtAuthz {
    pub service: Service,
    pub failure_mode_allow: bool,
    pub failure_mode_allow_header: bool,
    /// Envoy default 403.
    pub status_on_error: u16,
    pub body: Option<BodySettings>,
    pub clear_route_cache: bool,
    pub validate_mutations: bool,
    pub metadata_namespaces: Vec<String>,
    pub include_peer_certificate: bool,
    pub include_tls_session: bool,
    /// `None`: all go to a gRPC service, and none to an HTTP service.
    pub allowed_headers: Option<Vec<StringMatch>>,
    pub disallowed_headers: Vec<StringMatch>,
    pub raw_headers: bool,
    pub enabled: Fraction,
    /// `None`: everywhere.
    pub enabled_where: Option<MetadataMatch>,
    pub deny_at_disable: bool,
    /// Whether the service may leave dynamic metadata.
    pub ingest_metadata: bool,
    /// Zero is no limit.
    pub max_denied_body: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    Grpc(GrpcService),
    Http(HttpService),
}

/// `envoy.extensions.filters.http.ext_authz.v3.HttpService`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpService {
    pub cluster: String,
    pub timeout: Duration,
    pub path_prefix: String,
    /// Empty: the request's own path.
    pub path_override: String,
    pub headers_to_add: Vec<(String, String)>,
    pub upstream_headers: Vec<StringMatch>,
    pub upstream_headers_to_append: Vec<StringMatch>,
    /// `None`: all.
    pub client_headers: Option<Vec<StringMatch>>,
    pub client_headers_on_success: Vec<StringMatch>,
    pub metadata_headers: Vec<StringMatch>,
}

/// `envoy.extensions.filters.http.ext_authz.v3.BufferSettings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySettings {
    pub max_bytes: usize,
    pub allow_partial: bool,
    pub as_bytes: bool,
}

/// `envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute`.
#[derive(Clone, Debug, PartialEq)]
pub enum PerRoute {
    Disabled(bool),
    Check { context_extensions: BTreeMap<String, String>, body: BodyOverride },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyOverride {
    Inherited,
    None,
    Own(BodySettings),
}

/// The body of a request as the service gets it.
struct Held {
    bytes: Bytes,
    partial: bool,
    as_bytes: bool,
}

pub async fn request(
    own: &ExtAuthz,
    filter: &HttpFilter,
    place: usize,
    stream: &mut Stream<'_>,
) -> Result<(), Box<Reply>> {
    let settings = match stream.settings(filter) {
        Some(Settings::ExtAuthz(settings)) => Some(settings),
        _ => None,
    };
    if matches!(settings, Some(PerRoute::Disabled(true))) {
        return Ok(());
    }
    let wanted = own.enabled_where.as_ref().is_none_or(|rule| rule.matches(&stream.exchange.info));
    if !wanted || !own.enabled.hits(stream.worker().random()) {
        return if own.deny_at_disable { Err(Box::new(own.failed(None))) } else { Ok(()) };
    }
    let body = match settings {
        Some(PerRoute::Check { body: BodyOverride::None, .. }) => None,
        Some(PerRoute::Check { body: BodyOverride::Own(body), .. }) => Some(*body),
        _ => own.body,
    };
    let extensions = match &own.service {
        Service::Grpc(_) => context_extensions(filter, stream),
        Service::Http(_) => BTreeMap::new(),
    };
    Box::pin(own.decide(place, body, extensions, stream)).await
}

/// Those of all levels together; a more specific one has the last word.
fn context_extensions(filter: &HttpFilter, stream: &Stream<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for settings in stream.all_settings(filter) {
        if let Settings::ExtAuthz(PerRoute::Check { context_extensions, .. }) = settings {
            for (name, value) in context_extensions {
                all.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    all
}

impl ExtAuthz {
    async fn decide(
        &self,
        place: usize,
        body: Option<BodySettings>,
        extensions: BTreeMap<String, String>,
        stream: &mut Stream<'_>,
    ) -> Result<(), Box<Reply>> {
        let held = self.hold(body, stream).await?;
        let verdict = match &self.service {
            Service::Grpc(service) => grpc::check(self, service, held.as_ref(), extensions, stream).await,
            Service::Http(service) => http::check(self, service, held.as_ref(), stream).await,
        };
        if self.validate_mutations && !verdict.is_valid() {
            return Err(Box::new(Reply::new(500, "").flagged(ResponseFlags::NONE, "ext_authz_invalid")));
        }
        if let Some(fields) =
            verdict.metadata.clone().filter(|fields| self.ingest_metadata && !fields.fields.is_empty())
        {
            stream.metadata().merge(NAMESPACE, fields);
        }
        match verdict.outcome {
            Outcome::Allowed => {
                let changed = verdict.apply(stream.head);
                if changed && self.clear_route_cache {
                    stream.clear_route();
                }
                if !verdict.response.is_empty() {
                    stream.keep(place, After::ExtAuthz(verdict.response));
                }
                Ok(())
            }
            Outcome::Denied => Err(Box::new(self.denied(verdict))),
            Outcome::Failed if self.failure_mode_allow => {
                if self.failure_mode_allow_header {
                    stream.head.headers.set("x-envoy-auth-failure-mode-allowed", "true");
                }
                Ok(())
            }
            Outcome::Failed => Err(Box::new(self.failed(Some(verdict)))),
        }
    }

    /// The request's body, where the service is to see it.
    async fn hold(&self, body: Option<BodySettings>, stream: &mut Stream<'_>) -> Result<Option<Held>, Box<Reply>> {
        let Some(body) = body else { return Ok(None) };
        if stream.body.is_end() || stream.head.upgrade.is_some() || stream.head.method == "CONNECT" {
            return Ok(None);
        }
        let (bytes, whole) = stream.hold_body(body.max_bytes).await.map_err(|error| failed_body(&error))?;
        if !whole && !body.allow_partial {
            let reply = Reply::new(413, "Payload Too Large");
            return Err(Box::new(reply.flagged(ResponseFlags::NONE, "request_payload_too_large")));
        }
        Ok(Some(Held { bytes, partial: !whole, as_bytes: body.as_bytes }))
    }

    fn denied(&self, mut verdict: Verdict) -> Reply {
        if self.max_denied_body > 0 {
            verdict.body.truncate(self.max_denied_body);
        }
        let reply = verdict.reply(403);
        reply.flagged(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE, "ext_authz_denied")
    }

    fn failed(&self, verdict: Option<Verdict>) -> Reply {
        let reply = verdict.unwrap_or_default().reply(self.status_on_error);
        reply.flagged(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE, "ext_authz_error")
    }
}

/// Adds to the answer what the service gave for it.
pub fn response(place: usize, stream: &mut Stream<'_>, head: &mut ResponseHead) {
    if let Some(After::ExtAuthz(changes)) = stream.kept(place) {
        for change in &changes {
            change.apply(&mut head.headers);
        }
    }
}

#[cfg(test)]
mod tests;
