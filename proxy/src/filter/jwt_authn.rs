//! Tokens checked before a request goes on (Envoy `envoy.filters.http.jwt_authn`): which requests need which tokens,
//! where those stand, whose keys they must be signed with, and what of them is passed on.

mod cache;
mod claims;
mod extract;
mod keys;
mod provider;
mod remote;
mod requirement;
mod verify;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub use cache::CacheSize;
pub use extract::{Issuers, Place, Places};
pub use keys::KeyStore;
pub use provider::{ClaimHeader, KeySource, LocalKeys, Provider, audience};
pub use remote::{RemoteKeys, Retries};
pub use requirement::{Needed, Requirement};

use super::{HttpFilter, Settings, Stream};
use crate::access_log::ResponseFlags;
use crate::config::{NetworkFilter, Snapshot};
use crate::filter::Filter;
use crate::forward::Reply;
use crate::http::message::RequestHead;
use crate::jwt::Status;
use crate::route::RouteMatch;
use crate::worker::Worker;

/// The namespace of what it leaves in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JwtAuthn {
    /// Sorted by name.
    pub providers: Vec<Arc<Provider>>,
    /// The first that matches decides; none lets the request go.
    pub rules: Vec<(RouteMatch, Requirement)>,
    /// `requirement_map`
    pub named: BTreeMap<String, Requirement>,
    pub bypass_cors_preflight: bool,
    pub strip_failure_response: bool,
}

/// `envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig`.
#[derive(Clone, Debug, PartialEq)]
pub enum PerRoute {
    Disabled,
    /// A name in `requirement_map`.
    Requirement(String),
}

/// Lets a request go on if its tokens are as they must be.
pub async fn request(own: &JwtAuthn, filter: &HttpFilter, stream: &mut Stream<'_>) -> Result<(), Box<Reply>> {
    if own.sanitize(stream.head) {
        stream.clear_route();
    }
    if own.bypass_cors_preflight && is_preflight(stream.head) {
        return Ok(());
    }
    let requirement = match stream.settings(filter) {
        Some(Settings::JwtAuthn(PerRoute::Disabled)) => return Ok(()),
        Some(Settings::JwtAuthn(PerRoute::Requirement(name))) => match own.named.get(name) {
            Some(requirement) => requirement,
            None => return Err(Box::new(own.wrong_name(name))),
        },
        _ => {
            let random = stream.worker().random();
            let rule = own.rules.iter().find(|(matches, _)| matches.takes(stream.head, random));
            let Some((_, requirement)) = rule else { return Ok(()) };
            requirement
        }
    };
    if *requirement == Requirement::Nothing {
        return Ok(());
    }
    let uri = original_uri(stream.head);
    let verified = Box::pin(verify::verify(own, requirement, stream)).await;
    verified.map_err(|status| Box::new(own.denied(status, &uri)))
}

impl JwtAuthn {
    /// Headers that tell of claims come from here alone, whatever the request needs: what the client sent of them is
    /// gone before a route can match it. True if there was any.
    fn sanitize(&self, head: &mut RequestHead) -> bool {
        let mut found = false;
        for name in self.providers.iter().flat_map(|provider| provider.headers()) {
            found |= head.headers.remove(name);
        }
        found
    }

    fn denied(&self, status: Status, uri: &str) -> Reply {
        let code = if status == Status::AudienceNotAllowed { 403 } else { 401 };
        let text = if self.strip_failure_response { "" } else { status.text() };
        let mut reply = Reply::new(code, text).flagged(ResponseFlags::NONE, details(status.text()));
        if !self.strip_failure_response {
            let error = if status == Status::Missing { "" } else { ", error=\"invalid_token\"" };
            reply.headers.set("www-authenticate", format!("Bearer realm=\"{uri}\"{error}"));
        }
        reply
    }

    /// The route asks for what the filter does not have.
    fn wrong_name(&self, name: &str) -> Reply {
        let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
        let problem = format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","));
        let text =
            if self.strip_failure_response { String::new() } else { format!("Failed JWT authentication: {problem}") };
        Reply::new(403, text).flagged(ResponseFlags::NONE, details(&problem))
    }
}

/// As a log's field, which has no spaces.
fn details(problem: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", problem.replace(' ', "_"))
}

fn is_preflight(head: &RequestHead) -> bool {
    let has = |name| head.headers.get(name).is_some_and(|value| !value.is_empty());
    head.method == "OPTIONS" && has("origin") && has("access-control-request-method")
}

/// What the client asked for; of a path, no more than 256 bytes.
fn original_uri(head: &RequestHead) -> String {
    let path = head.headers.get_str("x-envoy-original-path").unwrap_or(&head.path);
    let end = (0..=path.len().min(256)).rev().find(|end| path.is_char_boundary(*end)).unwrap_or(0);
    let scheme = head.headers.get_str("x-forwarded-proto").unwrap_or(head.scheme);
    format!("{scheme}://{}{}", head.authority, &path[..end])
}

/// Begins to fetch the keys that are to be there before they are needed (`async_fetch`).
pub fn prefetch(worker: &Rc<Worker>, snapshot: &Snapshot) {
    let chains = snapshot
        .listeners
        .values()
        .flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain));
    for chain in chains {
        let NetworkFilter::Http(manager) = &chain.filter else { continue };
        for filter in &manager.filters {
            let Filter::JwtAuthn(own) = &filter.filter else { continue };
            for provider in &own.providers {
                if let KeySource::Remote(remote) = &provider.keys {
                    worker.keys.prefetch(worker, remote);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
