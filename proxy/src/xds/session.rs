//! One ADS stream while it is open: what is subscribed to on it, and how requests are worded, in the incremental
//! protocol and in that of the state of the world (Envoy, "xDS REST and gRPC protocol").

use std::collections::{BTreeMap, BTreeSet};

use api::envoy::config::core::v3::Node;
use api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use api::google::rpc::Status;
use api::prost::Message as _;
use tokio::sync::{mpsc, oneshot};

use super::resources::name_of;
use crate::config::ResourceKind as Kind;

/// Where requests go.
#[derive(Debug)]
pub enum Requests {
    Delta(mpsc::UnboundedSender<DeltaDiscoveryRequest>),
    Sotw(mpsc::UnboundedSender<DiscoveryRequest>),
}

#[derive(Debug)]
pub enum Response {
    Delta(DeltaDiscoveryResponse),
    Sotw(DiscoveryResponse),
}

/// What a response says, in either protocol.
#[derive(Debug, Default)]
pub struct Update {
    pub type_url: String,
    pub nonce: String,
    pub version: String,
    pub resources: Vec<Resource>,
    pub removed: Vec<String>,
    /// Whether what is not among the resources is gone.
    pub whole: bool,
    /// Why some resources could not even be named.
    pub errors: Vec<String>,
}

#[derive(Debug)]
pub struct Session {
    requests: Requests,
    node: Node,
    node_on_first_message_only: bool,
    silent: bool,
    subscribed: BTreeMap<Kind, BTreeSet<String>>,
    /// Of the last response that was answered.
    nonces: BTreeMap<Kind, String>,
    /// Dropped with the session, which ends the stream.
    _open: oneshot::Sender<()>,
}

impl Session {
    pub fn new(requests: Requests, node: Node, node_on_first_message_only: bool, open: oneshot::Sender<()>) -> Self {
        Self {
            requests,
            node,
            node_on_first_message_only,
            silent: true,
            subscribed: BTreeMap::new(),
            nonces: BTreeMap::new(),
            _open: open,
        }
    }

    /// Asks for all of a kind, or for these names of it, if it does not do so already. `held` are the versions that are
    /// there, and `version` the last that was accepted as a whole. Returns the names that are wanted no more.
    /// While a response waits for its answer, that answer will tell the names.
    pub fn subscribe(
        &mut self,
        kind: Kind,
        names: BTreeSet<String>,
        held: impl FnOnce() -> BTreeMap<String, String>,
        version: &str,
        answer_is_due: bool,
    ) -> Vec<String> {
        let known = self.subscribed.get(&kind);
        if known == Some(&names) || known.is_none() && names.is_empty() && !kind.is_wildcard() {
            return Vec::new();
        }
        let none = BTreeSet::new();
        let before = known.unwrap_or(&none);
        let gone: Vec<String> = before.difference(&names).cloned().collect();
        let fresh: Vec<String> = names.difference(before).cloned().collect();
        let first = known.is_none();
        let node = self.node();
        match &self.requests {
            Requests::Delta(requests) => {
                let request = DeltaDiscoveryRequest {
                    node,
                    type_url: kind.type_url().to_owned(),
                    resource_names_subscribe: fresh,
                    resource_names_unsubscribe: gone.clone(),
                    initial_resource_versions: if first { held() } else { BTreeMap::new() },
                    ..Default::default()
                };
                let _ = requests.send(request);
                self.subscribed.insert(kind, names);
            }
            Requests::Sotw(_) => {
                self.subscribed.insert(kind, names);
                if !answer_is_due {
                    self.ask(kind, version, node, None);
                }
            }
        }
        gone
    }

    /// Accepts a response, or refuses it with a reason. `version` is the last that was accepted.
    pub fn answer(&mut self, kind: Kind, nonce: String, version: &str, refusal: Option<String>) {
        let detail = refusal.map(status);
        let node = self.node();
        match &self.requests {
            Requests::Delta(requests) => {
                let _ = requests.send(DeltaDiscoveryRequest {
                    node,
                    type_url: kind.type_url().to_owned(),
                    response_nonce: nonce,
                    error_detail: detail,
                    ..Default::default()
                });
            }
            Requests::Sotw(_) => {
                self.nonces.insert(kind, nonce);
                self.ask(kind, version, node, detail);
            }
        }
    }

    /// Refuses a response of a type that nobody asked for.
    pub fn refuse_type(&mut self, type_url: String, nonce: String) {
        let detail = Some(status("this type is not subscribed to".to_owned()));
        let node = self.node();
        match &self.requests {
            Requests::Delta(requests) => {
                let request = DeltaDiscoveryRequest {
                    node,
                    type_url,
                    response_nonce: nonce,
                    error_detail: detail,
                    ..Default::default()
                };
                let _ = requests.send(request);
            }
            Requests::Sotw(requests) => {
                let request = DiscoveryRequest {
                    node,
                    type_url,
                    response_nonce: nonce,
                    error_detail: detail,
                    ..Default::default()
                };
                let _ = requests.send(request);
            }
        }
    }

    /// Tells whether the workload serves (Istio, `HealthInformation`): why not, if it does not.
    pub fn tell_health(&mut self, unhealthy: Option<&str>) {
        const UNHEALTHY: i32 = 500;
        let (node, type_url) = (self.node(), api::type_url::HEALTH.to_owned());
        let detail = unhealthy.map(|reason| Status { code: UNHEALTHY, message: reason.to_owned(), details: vec![] });
        match &self.requests {
            Requests::Delta(requests) => {
                let request = DeltaDiscoveryRequest { node, type_url, error_detail: detail, ..Default::default() };
                let _ = requests.send(request);
            }
            Requests::Sotw(requests) => {
                let request = DiscoveryRequest { node, type_url, error_detail: detail, ..Default::default() };
                let _ = requests.send(request);
            }
        }
    }

    fn ask(&self, kind: Kind, version: &str, node: Option<Node>, error_detail: Option<Status>) {
        let Requests::Sotw(requests) = &self.requests else { return };
        let names = self.subscribed.get(&kind).into_iter().flatten().cloned();
        // That the stream has ended is told by its other half.
        let _ = requests.send(DiscoveryRequest {
            version_info: version.to_owned(),
            node,
            resource_names: names.collect(),
            type_url: kind.type_url().to_owned(),
            response_nonce: self.nonces.get(&kind).cloned().unwrap_or_default(),
            error_detail,
            ..Default::default()
        });
    }

    fn node(&mut self) -> Option<Node> {
        let tell = self.silent || !self.node_on_first_message_only;
        self.silent = false;
        tell.then(|| self.node.clone())
    }
}

fn status(message: String) -> Status {
    const INVALID_ARGUMENT: i32 = 3;
    Status { code: INVALID_ARGUMENT, message, details: vec![] }
}

impl Response {
    pub fn into_update(self) -> Update {
        match self {
            Self::Delta(response) => Update {
                type_url: response.type_url,
                nonce: response.nonce,
                version: response.system_version_info,
                resources: response.resources,
                removed: response.removed_resources,
                ..Update::default()
            },
            Self::Sotw(response) => of_world(response),
        }
    }
}

/// The resources of a response that holds the state of the world, which do not say their names outside themselves.
pub fn of_world(response: DiscoveryResponse) -> Update {
    let mut update = Update { nonce: response.nonce, version: response.version_info.clone(), ..Update::default() };
    update.type_url = response.type_url;
    update.whole = Kind::of(&update.type_url).is_some_and(Kind::is_wildcard);
    for (index, any) in response.resources.into_iter().enumerate() {
        let named = if any.type_url == WRAPPED {
            Resource::decode(any.value.as_slice()).map_err(|error| error.to_string())
        } else {
            let kind = Kind::of(&any.type_url).ok_or_else(|| format!("{} is no type of resource", any.type_url));
            kind.and_then(|kind| name_of(kind, &any.value)).map(|name| Resource {
                name,
                resource: Some(any),
                ..Default::default()
            })
        };
        match named {
            Ok(mut resource) => {
                if resource.version.is_empty() {
                    resource.version.clone_from(&response.version_info);
                }
                update.resources.push(resource);
            }
            Err(error) => update.errors.push(format!("resources[{index}]: {error}")),
        }
    }
    update
}

const WRAPPED: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

#[cfg(test)]
mod tests;
