//! Asks a service whether a connection may go on (Envoy, `envoy.filters.network.ext_authz`). It is asked as soon as the
//! connection is there, where Envoy waits for the first byte: servers that speak first are not reached before.

use api::envoy::service::auth::v3 as wire;

use crate::access_log::{LogContext, RequestInfo, ResponseFlags};
use crate::downstream::Downstream;
use crate::filter::ext_authz::{METHOD, connection_attributes};
use crate::filter::grpc::GrpcService;
use crate::rbac::MetadataMatch;
use crate::stats::label;

/// `envoy.extensions.filters.network.ext_authz.v3.ExtAuthz`.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkExtAuthz {
    pub stat_prefix: String,
    pub service: GrpcService,
    /// Whether a connection goes on about which the service gives no answer.
    pub failure_mode_allow: bool,
    pub include_peer_certificate: bool,
    pub include_tls_session: bool,
    pub metadata_namespaces: Vec<String>,
    /// `None`: everywhere.
    pub enabled_where: Option<MetadataMatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The connection is none of those that are asked about.
    NotAsked,
    Allowed,
    Denied,
}

impl NetworkExtAuthz {
    /// `None` where there is no answer.
    pub async fn ask(&self, downstream: &Downstream, info: &RequestInfo) -> Option<Answer> {
        if self.enabled_where.as_ref().is_some_and(|rule| !rule.matches(info)) {
            return Some(Answer::NotAsked);
        }
        let response = self.call(downstream, info).await?;
        let allowed = response.status.as_ref().is_none_or(|status| status.code == 0);
        Some(if allowed { Answer::Allowed } else { Answer::Denied })
    }

    /// Whether the connection goes on; the reason stands in `info` if it does not.
    pub fn goes_on(&self, answer: Option<Answer>, downstream: &Downstream, info: &mut RequestInfo) -> bool {
        let (counted, details): (&[&str], _) = match answer {
            Some(Answer::NotAsked) => (&["disabled"], None),
            Some(Answer::Allowed) => (&["total", "ok"], None),
            Some(Answer::Denied) => (&["total", "denied", "cx_closed"], Some("ext_authz_denied")),
            None if self.failure_mode_allow => (&["total", "error", "failure_mode_allowed"], None),
            None => (&["total", "error", "cx_closed"], Some("ext_authz_error")),
        };
        let mut labels = String::new();
        label(&mut labels, "envoy_ext_authz_prefix", &self.stat_prefix);
        for name in counted {
            downstream.worker.shard.counter(&format!("envoy_ext_authz_{name}"), &labels).add(1);
        }
        let Some(details) = details else { return true };
        info.flags |= ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE;
        info.response_code_details = Some(details.into());
        info.connection_termination_details = Some(details.into());
        false
    }

    async fn call(&self, downstream: &Downstream, info: &RequestInfo) -> Option<wire::CheckResponse> {
        let (certificate, session) = (self.include_peer_certificate, self.include_tls_session);
        let attributes = connection_attributes(info, certificate, session, &self.metadata_namespaces);
        let request = wire::CheckRequest { attributes: Some(attributes) };
        let context = LogContext::of_connection(info);
        let answer = self.service.call(&downstream.worker, METHOD, &request, &context).await;
        let told = |error: &_| {
            let cluster = &self.service.cluster;
            tracing::debug!(cluster, %error, "no answer from the authorization service about a connection");
        };
        answer.inspect_err(told).ok()
    }
}
