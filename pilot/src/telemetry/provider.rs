//! Where telemetry goes: the cluster of a provider's service, and how it is spoken to.

use std::time::Duration;

use api::envoy::config::core::v3 as core;
use galley::kinds::{MeshConfig, OtlpTransport, Provider, ServicePort};

use super::Scene;
use crate::diagnostic::{Code, Findings};
use crate::inputs::Inputs;
use crate::{names, visibility, wire};

/// A collector takes this long at most, unless something else is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A provider's service as proxies reach it.
pub(crate) struct Reached {
    pub cluster: String,
    pub host: String,
}

impl Scene<'_> {
    /// A provider by its name; one that there is not is told.
    pub fn provider(&self, name: &str, findings: &mut Findings) -> Option<&Provider> {
        let found = self.mesh.and_then(|mesh| mesh.provider(name));
        if found.is_none() {
            let message = format!("no provider {name:?} is among the extensionProviders of the MeshConfig");
            findings.add(Code::UnknownProvider, self.object(), message);
        }
        found
    }

    /// A provider that takes nothing of this kind.
    pub fn unfit(&self, provider: &Provider, what: &str, findings: &mut Findings) {
        let message = format!("provider {:?} is {} and takes no {what}", provider.name, provider.kind.as_str());
        findings.add(Code::Unsupported, self.object(), message);
    }

    /// Who is to be told of something wrong: the narrowest object that has a say.
    pub fn object(&self) -> String {
        match self.scopes.last() {
            Some(scope) => format!("Telemetry {}/{}", scope.meta.namespace, scope.meta.name),
            None => format!("MeshConfig {}/{}", MeshConfig::NAMESPACE, MeshConfig::NAME),
        }
    }

    /// The cluster of a provider's service, if there is such a service and the proxy may see it.
    pub fn reach(&self, provider: &str, of: &ServicePort, findings: &mut Findings) -> Option<Reached> {
        let reached = reach(&self.view.index.inputs, &self.view.audience.namespace, provider, of);
        reached.map_err(|(code, message)| findings.add(code, self.object(), message)).ok()
    }
}

/// The cluster of a provider's service, for proxies of a namespace; else what is wrong.
pub(crate) fn reach(
    inputs: &Inputs,
    namespace: &str,
    provider: &str,
    of: &ServicePort,
) -> Result<Reached, (Code, String)> {
    let found = visibility::named(inputs, namespace, &of.host).map(|entry| &entry.service);
    let found = found.filter(|service| of.namespace.as_deref().is_none_or(|wanted| service.namespace() == wanted));
    let Some(service) = found else {
        let message = format!("provider {provider:?} is service {:?}, which no registry knows", of.host);
        return Err((Code::UnknownHost, message));
    };
    if service.port(of.port).is_none() {
        let message = format!("provider {provider:?} is port {} of {:?}, which has no such port", of.port, of.host);
        return Err((Code::UnknownPort, message));
    }
    let host = service.host().to_string();
    Ok(Reached { cluster: names::outbound_cluster(of.port, "", &host), host })
}

impl Reached {
    pub fn http(&self, path: &str, timeout: Option<Duration>, headers: &[(String, String)]) -> core::HttpService {
        let uri = core::HttpUri {
            uri: format!("http://{}{path}", self.host),
            timeout: Some(wire::duration(timeout.unwrap_or(TIMEOUT))),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(self.cluster.clone())),
        };
        let request_headers_to_add = headers.iter().map(|(name, value)| core::HeaderValueOption {
            header: Some(header(name, value)),
            append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
            ..Default::default()
        });
        core::HttpService {
            http_uri: Some(uri),
            request_headers_to_add: request_headers_to_add.collect(),
            ..Default::default()
        }
    }

    pub fn grpc(&self, timeout: Option<Duration>, metadata: &[(String, String)]) -> core::GrpcService {
        use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
        let envoy =
            EnvoyGrpc { cluster_name: self.cluster.clone(), authority: self.host.clone(), ..Default::default() };
        core::GrpcService {
            timeout: timeout.map(wire::duration),
            initial_metadata: metadata.iter().map(|(name, value)| header(name, value)).collect(),
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(envoy)),
            ..Default::default()
        }
    }

    /// One of the two, as the provider says.
    pub fn otlp(&self, by: &OtlpTransport) -> (Option<core::GrpcService>, Option<core::HttpService>) {
        match by {
            OtlpTransport::Grpc { timeout, metadata } => (Some(self.grpc(*timeout, metadata)), None),
            OtlpTransport::Http { path, timeout, headers } => (None, Some(self.http(path, *timeout, headers))),
        }
    }
}

fn header(name: &str, value: &str) -> core::HeaderValue {
    core::HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() }
}
