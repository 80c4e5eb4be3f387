//! Incremental xDS: who subscribed to what, which versions they have, and the difference to a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::envoy::config::core::v3 as core;
use api::envoy::service::discovery::v3 as xds;

use super::ledger::{Ledger, Verdict};
use super::proxies::TypeStatus;
use super::session::{Protocol, Received};
use crate::resource::{Kind, Resource, Snapshot};

const WILDCARD: &str = "*";

/// The state of one incremental stream.
pub(super) struct Delta {
    identifier: String,
    nonces: u64,
    types: BTreeMap<Kind, Subscription>,
}

#[derive(Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
    /// What the client has, or was told: name → version, `None` for one that it knows not to exist.
    known: BTreeMap<Arc<str>, Option<Arc<str>>>,
    ledger: Ledger,
    /// A push was left out because the client did not answer earlier ones.
    behind: bool,
}

/// What a client lacks.
#[derive(Default)]
struct Difference {
    changed: Vec<Resource>,
    removed: Vec<Arc<str>>,
}

impl Protocol for Delta {
    type Request = xds::DeltaDiscoveryRequest;
    type Response = xds::DeltaDiscoveryResponse;

    fn new(identifier: &str) -> Self {
        Self { identifier: identifier.to_owned(), nonces: 0, types: BTreeMap::new() }
    }

    fn node(request: &Self::Request) -> Option<&core::Node> {
        request.node.as_ref()
    }

    fn health(request: &Self::Request) -> Option<Option<String>> {
        let told = || request.error_detail.as_ref().map(|status| status.message.clone());
        (request.type_url == api::type_url::HEALTH).then(told)
    }

    fn receive(&mut self, request: Self::Request, snapshot: &Snapshot) -> Received<Self::Response> {
        let Some(kind) = Kind::of_url(&request.type_url) else {
            return Received { kind: None, verdict: Verdict::None, error: None, responses: Vec::new() };
        };
        let error = request.error_detail.as_ref().map(|status| status.message.clone());
        let first = !self.types.contains_key(&kind);
        let subscription = self.types.entry(kind).or_default();
        let verdict = subscription.ledger.answer(&request.response_nonce, error.clone());
        let asked = !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty();
        subscription.take(kind, first, request);
        let caught_up = std::mem::take(&mut subscription.behind);
        let mut responses = Vec::new();
        if first || asked || caught_up {
            let difference = subscription.difference(snapshot, kind);
            if first && subscription.expects_answer() || !difference.is_empty() {
                responses.push((kind, self.respond(kind, difference)));
            }
        }
        Received { kind: Some(kind), verdict, error, responses }
    }

    fn push(&mut self, snapshot: &Snapshot) -> Vec<(Kind, Self::Response)> {
        let mut responses = Vec::new();
        let mut clusters_removed = Vec::new();
        for kind in Kind::ALL {
            let Some(subscription) = self.types.get_mut(&kind) else { continue };
            if subscription.ledger.is_full() {
                subscription.behind = true;
                continue;
            }
            let mut difference = subscription.difference(snapshot, kind);
            if kind == Kind::Cluster {
                // Routes may still lead to them: they go last.
                clusters_removed = std::mem::take(&mut difference.removed);
                self.warm(&difference.changed);
            }
            if !difference.is_empty() {
                responses.push((kind, self.respond(kind, difference)));
            }
        }
        if !clusters_removed.is_empty() {
            let difference = Difference { changed: Vec::new(), removed: clusters_removed };
            responses.push((Kind::Cluster, self.respond(Kind::Cluster, difference)));
        }
        responses
    }

    fn status(&self) -> BTreeMap<&'static str, TypeStatus> {
        super::ledger::statuses(|kind| {
            let subscription = self.types.get(&kind)?;
            Some(subscription.ledger.status(subscription.known.values().flatten().count()))
        })
    }
}

impl Delta {
    /// A changed cluster warms anew at an Envoy, which then waits for its endpoints: they are sent again.
    fn warm(&mut self, clusters: &[Resource]) {
        let Some(endpoints) = self.types.get_mut(&Kind::Endpoint) else { return };
        for cluster in clusters {
            endpoints.known.remove(&cluster.name);
        }
    }

    fn respond(&mut self, kind: Kind, difference: Difference) -> xds::DeltaDiscoveryResponse {
        self.nonces += 1;
        let nonce = format!("{:x}", self.nonces);
        let names = difference.changed.iter().map(|resource| resource.name.clone()).collect();
        if let Some(subscription) = self.types.get_mut(&kind) {
            subscription.ledger.sent(nonce.clone(), names);
        }
        xds::DeltaDiscoveryResponse {
            type_url: kind.type_url().to_owned(),
            nonce,
            resources: difference.changed.iter().map(wire).collect(),
            removed_resources: difference.removed.iter().map(|name| name.to_string()).collect(),
            control_plane: Some(core::ControlPlane { identifier: self.identifier.clone() }),
            ..Default::default()
        }
    }
}

fn wire(resource: &Resource) -> xds::Resource {
    xds::Resource {
        name: resource.name.to_string(),
        version: resource.version.to_string(),
        resource: Some((*resource.any).clone()),
        ..Default::default()
    }
}

impl Subscription {
    /// Takes what a request says of subscriptions and, on the first, of what the client already has.
    fn take(&mut self, kind: Kind, first: bool, request: xds::DeltaDiscoveryRequest) {
        if first {
            self.wildcard = kind.is_wildcard() && request.resource_names_subscribe.is_empty();
            let has = request.initial_resource_versions.into_iter();
            self.known = has.map(|(name, version)| (name.into(), Some(version.into()))).collect();
        }
        for name in request.resource_names_subscribe {
            if name == WILDCARD {
                self.wildcard = true;
                continue;
            }
            if !first {
                // Asked for again: sent again.
                self.known.remove(name.as_str());
            }
            self.names.insert(name);
        }
        for name in request.resource_names_unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
            }
            self.names.remove(&name);
        }
        if !self.wildcard {
            let names = &self.names;
            self.known.retain(|name, _| names.contains(&**name));
        }
    }

    fn expects_answer(&self) -> bool {
        self.wildcard || !self.names.is_empty()
    }

    /// What the client lacks of a snapshot; it counts as known from here on.
    fn difference(&mut self, snapshot: &Snapshot, kind: Kind) -> Difference {
        let set = snapshot.of(kind);
        let mut difference = Difference::default();
        if self.wildcard {
            for resource in set.iter() {
                self.offer(resource, &mut difference);
            }
            let gone: Vec<Arc<str>> = self
                .known
                .iter()
                .filter(|(name, version)| version.is_some() && set.get(name).is_none())
                .map(|(name, _)| name.clone())
                .collect();
            for name in gone {
                self.known.remove(&name);
                self.ledger.forget(&name);
                difference.removed.push(name);
            }
        }
        let names = std::mem::take(&mut self.names);
        for name in &names {
            match set.get(name) {
                Some(resource) => self.offer(resource, &mut difference),
                // A certificate that is shown is only ever replaced: who needs it no more leaves it by himself, and a
                // control plane that has not read it yet must not take it away.
                None if kind == Kind::Secret && self.holds(name) => {}
                None => self.withdraw(name, &mut difference),
            }
        }
        self.names = names;
        difference
    }

    fn offer(&mut self, resource: &Resource, difference: &mut Difference) {
        if self.known.get(&resource.name).and_then(Option::as_ref) != Some(&resource.version) {
            self.known.insert(resource.name.clone(), Some(resource.version.clone()));
            difference.changed.push(resource.clone());
        }
    }

    fn holds(&self, name: &str) -> bool {
        matches!(self.known.get(name), Some(Some(_)))
    }

    /// Tells, once, that a resource asked for by name does not exist.
    fn withdraw(&mut self, name: &str, difference: &mut Difference) {
        if !matches!(self.known.get(name), Some(None)) {
            let name: Arc<str> = name.into();
            self.known.insert(name.clone(), None);
            self.ledger.forget(&name);
            if !difference.removed.contains(&name) {
                difference.removed.push(name);
            }
        }
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}
