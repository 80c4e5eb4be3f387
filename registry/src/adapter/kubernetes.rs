//! The registry of one Kubernetes cluster: its Services with the endpoints of their EndpointSlices, told apart by the
//! pods behind them.
//!
//! Nothing is told before everything was listed once, so that no endpoint shows without its pod's labels and its
//! node's locality. When the API server is away all stays as it was told, marked stale.

mod cluster;
mod follow;
mod index;
mod objects;
mod reviews;
mod secrets;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use cluster::{Cluster, ClusterError, IN_CLUSTER, WriteError, now, unix_seconds};
pub use follow::{Change, Collection, Pace, Versioned, follow};
use index::{Followed, Index};
use objects::{EndpointSlice, Namespace, Node, Pod, Service};
pub use reviews::{KeyReaders, Review};
pub use secrets::credentials;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::source::{Event, EventStream, Registry};

/// How a cluster becomes a registry.
#[derive(Clone, Debug)]
struct Options {
    /// The cluster's id, and the registry's name.
    cluster: Arc<str>,
    /// The mesh's DNS domain, under which services are.
    domain: Arc<str>,
}

/// The registry.
pub struct Kubernetes {
    cluster: Cluster,
    options: Options,
    pace: Pace,
}

/// How long the first lists may fail before the mesh starts without this cluster: everybody waits meanwhile.
const GRACE: Duration = Duration::from_secs(5);

const SERVICES: Collection<'_> = Collection::whole("/api/v1/services");
const SLICES: Collection<'_> = Collection::whole("/apis/discovery.k8s.io/v1/endpointslices");
/// A pod that has ended takes no traffic.
const PODS: Collection<'_> = Collection {
    field_selector: Some("status.phase!=Succeeded,status.phase!=Failed"),
    ..Collection::whole("/api/v1/pods")
};
const NODES: Collection<'_> = Collection { metadata_only: true, ..Collection::whole("/api/v1/nodes") };
const NAMESPACES: Collection<'_> = Collection {
    field_selector: Some("metadata.name=istio-system"),
    metadata_only: true,
    ..Collection::whole("/api/v1/namespaces")
};
const COLLECTIONS: usize = 5;

impl Kubernetes {
    /// Of a cluster, with the mesh's DNS domain.
    pub fn new(cluster: Cluster, domain: &str) -> Self {
        let options = Options { cluster: cluster.name().into(), domain: domain.into() };
        Self { cluster, options, pace: Pace::default() }
    }

    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    fn follow<T>(&self, collection: Collection<'static>, tell: &mpsc::Sender<Told>)
    where
        T: Followed + Versioned + Clone + DeserializeOwned + Send + 'static,
    {
        let (changes, mut changed) = mpsc::channel::<Change<T>>(64);
        tokio::spawn(follow(self.cluster.clone(), collection, self.pace, changes));
        let tell = tell.clone();
        tokio::spawn(async move {
            while let Some(change) = changed.recv().await {
                let step = match change {
                    Change::All(objects) => Heard::Learn(Box::new(move |index| index.replace(objects))),
                    Change::Set(object) => {
                        let key = object.meta().key();
                        Heard::See(T::seen(key, Some(object)))
                    }
                    Change::Gone(object) => Heard::See(T::seen(object.meta().key(), None)),
                    Change::InStep => Heard::InStep,
                    Change::Lost(why) => Heard::Lost(why),
                    Change::Missing => Heard::Lost("the API server does not serve it".to_owned()),
                };
                if tell.send((collection.path, step)).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// What a collection, by its path, told.
type Told = (&'static str, Heard);

enum Heard {
    /// The whole list.
    Learn(Box<dyn FnOnce(&mut Index) + Send>),
    See(index::Seen),
    InStep,
    Lost(String),
}

impl Registry for Kubernetes {
    fn name(&self) -> &str {
        &self.options.cluster
    }

    fn watch(&self) -> EventStream {
        let (tell, told) = mpsc::channel(1024);
        self.follow::<Service>(SERVICES, &tell);
        self.follow::<EndpointSlice>(SLICES, &tell);
        self.follow::<Pod>(PODS, &tell);
        self.follow::<Node>(NODES, &tell);
        self.follow::<Namespace>(NAMESPACES, &tell);
        let (events, stream) = mpsc::unbounded_channel();
        let standing = Standing::new();
        tokio::spawn(gather(told, Index::new(self.options.clone()), standing, events));
        Box::pin(UnboundedReceiverStream::new(stream))
    }
}

/// Turns what the collections tell into events, until nobody listens. What is there together is settled together.
async fn gather(
    mut told: mpsc::Receiver<Told>,
    mut index: Index,
    mut standing: Standing,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut batch = Vec::new();
    loop {
        let waiting = async {
            match standing.silent_until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            taken = told.recv_many(&mut batch, 1024) => if taken == 0 { return },
            () = waiting => standing.silent_until = None,
            () = events.closed() => return,
        }
        for (path, step) in batch.drain(..) {
            match step {
                Heard::Learn(learn) => {
                    learn(&mut index);
                    standing.listed(path);
                }
                Heard::See(seen) => index.see(seen),
                Heard::InStep => standing.in_step(path),
                Heard::Lost(why) => standing.lost(path, why),
            }
        }
        let mut news = Vec::new();
        if standing.is_listed() {
            news = index.settle();
            news.extend(index.findings());
        }
        if news.into_iter().chain(standing.news()).any(|event| events.send(event).is_err()) {
            return;
        }
    }
}

/// Which collections are known and followed, and what was told of it.
struct Standing {
    listed: BTreeSet<&'static str>,
    lost: BTreeMap<&'static str, String>,
    /// Until then a cluster that was never reached is waited for, and not called lost.
    silent_until: Option<Instant>,
    told: Option<Event>,
}

impl Standing {
    fn new() -> Self {
        let silent_until = Some(Instant::now() + GRACE);
        Self { listed: BTreeSet::new(), lost: BTreeMap::new(), silent_until, told: None }
    }

    fn listed(&mut self, path: &'static str) {
        self.listed.insert(path);
    }

    fn in_step(&mut self, path: &'static str) {
        self.lost.remove(path);
    }

    fn lost(&mut self, path: &'static str, why: String) {
        if !self.lost.contains_key(path) {
            tracing::warn!(path, "the API server is out of reach: {why}");
        }
        self.lost.insert(path, why);
    }

    fn is_listed(&self) -> bool {
        self.listed.len() == COLLECTIONS
    }

    /// The event that says how things stand, if that changed.
    fn news(&mut self) -> Option<Event> {
        let now = match self.lost.iter().next() {
            Some(_) if !self.is_listed() && self.silent_until.is_some() => return None,
            Some((path, why)) => Event::Lost(format!("{path}: {why}")),
            None if self.is_listed() => Event::Synced,
            None => return None,
        };
        if self.is_listed() {
            self.silent_until = None;
        }
        if self.told.as_ref() == Some(&now) {
            return None;
        }
        self.told = Some(now.clone());
        Some(now)
    }
}

#[cfg(test)]
mod tests;
