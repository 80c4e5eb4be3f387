//! State-of-the-world xDS, for clients that speak no incremental: clusters and listeners are sent as full sets, routes
//! and endpoints as those that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use api::envoy::config::core::v3 as core;
use api::envoy::service::discovery::v3 as xds;

use super::ledger::{Ledger, Verdict};
use super::proxies::TypeStatus;
use super::session::{Protocol, Received};
use crate::resource::{Kind, Resource, Snapshot};

/// The state of one state-of-the-world stream.
pub(super) struct Sotw {
    identifier: String,
    nonces: u64,
    types: BTreeMap<Kind, Subscription>,
}

#[derive(Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
    /// What was last sent: name → version.
    sent: BTreeMap<Arc<str>, Arc<str>>,
    last_nonce: String,
    ledger: Ledger,
    behind: bool,
}

impl Protocol for Sotw {
    type Request = xds::DiscoveryRequest;
    type Response = xds::DiscoveryResponse;

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
        let error = request.error_detail.as_ref().map(|status| status.message.clone());
        let mut received = Received { kind: None, verdict: Verdict::None, error, responses: Vec::new() };
        let Some(kind) = Kind::of_url(&request.type_url) else { return received };
        received.kind = Some(kind);
        let first = !self.types.contains_key(&kind);
        let subscription = self.types.entry(kind).or_default();
        if !first {
            received.verdict = subscription.judge(&request.response_nonce, received.error.clone());
            if received.verdict == Verdict::Stale {
                return received;
            }
        }
        let asked = subscription.take(kind, first, request.resource_names);
        let caught_up = std::mem::take(&mut subscription.behind);
        if first || asked || caught_up {
            let full = first && subscription.wildcard;
            received.responses.extend(self.respond(kind, snapshot, full));
        }
        received
    }

    fn push(&mut self, snapshot: &Snapshot) -> Vec<(Kind, Self::Response)> {
        let mut responses = Vec::new();
        for kind in Kind::ALL {
            let Some(subscription) = self.types.get_mut(&kind) else { continue };
            if subscription.ledger.is_full() {
                subscription.behind = true;
                continue;
            }
            if kind == Kind::Cluster {
                let changed = subscription.changed(snapshot, kind);
                self.warm(&changed);
            }
            responses.extend(self.respond(kind, snapshot, false));
        }
        responses
    }

    fn status(&self) -> BTreeMap<&'static str, TypeStatus> {
        super::ledger::statuses(|kind| {
            let subscription = self.types.get(&kind)?;
            Some(subscription.ledger.status(subscription.sent.len()))
        })
    }
}

impl Sotw {
    /// A changed cluster warms anew at an Envoy, which then waits for its endpoints: they are sent again.
    fn warm(&mut self, clusters: &[Resource]) {
        let Some(endpoints) = self.types.get_mut(&Kind::Endpoint) else { return };
        for cluster in clusters {
            endpoints.sent.remove(&cluster.name);
        }
    }

    /// The response that brings a client up to date, if it is not (or if it is to be had in any case).
    fn respond(&mut self, kind: Kind, snapshot: &Snapshot, always: bool) -> Option<(Kind, xds::DiscoveryResponse)> {
        let subscription = self.types.get_mut(&kind)?;
        let changed = subscription.changed(snapshot, kind);
        let gone = subscription.forget_gone(snapshot, kind);
        let full = kind.is_wildcard();
        if !always && changed.is_empty() && !(full && gone) {
            return None;
        }
        let names = changed.iter().map(|resource| resource.name.clone()).collect();
        subscription.sent.extend(changed.iter().map(|resource| (resource.name.clone(), resource.version.clone())));
        let version = subscription.version();
        let resources = if full { subscription.wanted(snapshot, kind) } else { changed };
        self.nonces += 1;
        let nonce = format!("{:x}", self.nonces);
        subscription.ledger.sent(nonce.clone(), names);
        subscription.last_nonce.clone_from(&nonce);
        let response = xds::DiscoveryResponse {
            version_info: version,
            resources: resources.iter().map(|resource| (*resource.any).clone()).collect(),
            type_url: kind.type_url().to_owned(),
            nonce,
            control_plane: Some(core::ControlPlane { identifier: self.identifier.clone() }),
            ..Default::default()
        };
        Some((kind, response))
    }
}

impl Subscription {
    /// Only the last response can be answered. A request may repeat an answer to change the names.
    fn judge(&mut self, nonce: &str, error: Option<String>) -> Verdict {
        if !nonce.is_empty() && nonce != self.last_nonce {
            return Verdict::Stale;
        }
        match self.ledger.answer(nonce, error) {
            Verdict::Stale => Verdict::None,
            verdict => verdict,
        }
    }

    /// Takes the names that are now subscribed to; true if some are new.
    fn take(&mut self, kind: Kind, first: bool, names: Vec<String>) -> bool {
        let names: BTreeSet<String> = names.into_iter().collect();
        self.wildcard = names.contains("*") || kind.is_wildcard() && names.is_empty() && (first || self.wildcard);
        let asked = names.difference(&self.names).next().is_some();
        if !self.wildcard {
            self.sent.retain(|name, _| names.contains(&**name));
        }
        self.names = names;
        asked
    }

    fn wanted(&self, snapshot: &Snapshot, kind: Kind) -> Vec<Resource> {
        let set = snapshot.of(kind);
        if self.wildcard {
            return set.iter().cloned().collect();
        }
        self.names.iter().filter_map(|name| set.get(name)).cloned().collect()
    }

    fn changed(&self, snapshot: &Snapshot, kind: Kind) -> Vec<Resource> {
        let mut wanted = self.wanted(snapshot, kind);
        wanted.retain(|resource| self.sent.get(&resource.name) != Some(&resource.version));
        wanted
    }

    /// Forgets what was sent and is no more; true if there was such.
    fn forget_gone(&mut self, snapshot: &Snapshot, kind: Kind) -> bool {
        let before = self.sent.len();
        let (sent, ledger) = (&mut self.sent, &mut self.ledger);
        sent.retain(|name, _| {
            let there = snapshot.of(kind).get(name).is_some();
            if !there {
                ledger.forget(name);
            }
            there
        });
        before != self.sent.len()
    }

    /// A version for the set that was sent.
    fn version(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.sent.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}
