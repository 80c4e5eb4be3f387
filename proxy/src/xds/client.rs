//! The stream to the control plane: one incremental ADS stream, opened again whenever it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3::Node;
use api::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use api::google::rpc::Status;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::disk::Copy;
use super::resources::{Kind, Resources};
use crate::config::Snapshot;

/// Puts a snapshot in force. The error names what could not be (an address in use); the rest is in force.
pub type Apply = Box<dyn Fn(Arc<Snapshot>) -> Applied + Send + Sync>;
pub type Applied = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

pub struct Options {
    pub node: Node,
    pub channel: Channel,
    /// Where the last configuration is kept.
    pub copy: Copy,
    /// How long a snapshot may wait for resources it refers to (Envoy `initial_fetch_timeout`: 15 s).
    pub fetch_timeout: Duration,
}

/// The client and what it holds.
pub struct Client {
    options: Options,
    apply: Apply,
    resources: Resources,
    subscribed: BTreeMap<Kind, BTreeSet<String>>,
    /// Something came that is not in force yet.
    dirty: bool,
    /// A part of what was put in force could not be (an address in use): it is tried again.
    incomplete: bool,
    /// Whether the stream under way has brought anything.
    answered: bool,
    /// Kinds of which the control plane has spoken; before it has of listeners and clusters nothing is put in force.
    heard: BTreeSet<Kind>,
    /// Kinds whose answers wait until the snapshot they belong to is in force, with the nonce to answer.
    unanswered: Vec<(Kind, String, Vec<String>)>,
}

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// How soon a listener that could not bind is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Client {
    /// Begins with the copy on disk, if there is one; true if that was put in force.
    pub async fn start(options: Options, apply: Apply) -> (Self, bool) {
        let kept = options.copy.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "the kept configuration cannot be read; waiting for the control plane");
            None
        });
        let mut client = Self {
            options,
            apply,
            resources: Resources::default(),
            subscribed: BTreeMap::new(),
            dirty: false,
            incomplete: false,
            answered: false,
            heard: BTreeSet::new(),
            unanswered: Vec::new(),
        };
        let Some(resources) = kept else { return (client, false) };
        client.resources = resources;
        client.heard.extend(Kind::ALL);
        let applied = (client.apply)(Arc::new(client.resources.snapshot())).await;
        if let Err(error) = applied {
            tracing::warn!(%error, "a part of the kept configuration is not in force yet");
            client.incomplete = true;
        }
        (client, true)
    }

    /// Follows the control plane for ever.
    pub async fn run(mut self) {
        let mut wait = FIRST_RETRY;
        let mut told = None;
        loop {
            if self.incomplete {
                self.incomplete = (self.apply)(Arc::new(self.resources.snapshot())).await.is_err();
            }
            self.answered = false;
            let followed = self.follow().await;
            if self.answered {
                wait = FIRST_RETRY;
                told = None;
            }
            match followed {
                Ok(()) => {
                    tracing::info!("the control plane ended the stream; opening it again");
                }
                Err(status) => {
                    if told.as_deref() != Some(status.message()) {
                        tell(&status);
                        told = Some(status.message().to_owned());
                    }
                }
            }
            let jitter = rand::random_range(0.5..1.0);
            tokio::time::sleep(wait.mul_f64(jitter)).await;
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    async fn follow(&mut self) -> Result<(), tonic::Status> {
        let (requests, stream) = mpsc::channel(64);
        self.subscribed.clear();
        self.unanswered.clear();
        for kind in Kind::ALL {
            let names = self.resources.wanted(kind);
            if kind.is_wildcard() || !names.is_empty() {
                send(&requests, self.first_request(kind, names)).await?;
            }
        }
        let mut service = AggregatedDiscoveryServiceClient::new(self.options.channel.clone())
            .max_decoding_message_size(256 * 1024 * 1024);
        let mut responses = service.delta_aggregated_resources(ReceiverStream::new(stream)).await?.into_inner();
        tracing::info!("following the control plane");
        // What an earlier stream brought and did not put in force must not be lost with it.
        if self.dirty && self.is_complete() {
            self.put_in_force(&requests).await?;
        }
        let mut held_since = self.dirty.then(tokio::time::Instant::now);
        loop {
            let fetch_ends = held_since.map(|since: tokio::time::Instant| since + self.options.fetch_timeout);
            let next = tokio::select! {
                next = responses.next() => next,
                () = tokio::time::sleep(TRY_AGAIN), if self.incomplete => {
                    self.incomplete = (self.apply)(Arc::new(self.resources.snapshot())).await.is_err();
                    if self.incomplete {
                        continue;
                    }
                    // What was refused is in force now: a new stream tells so.
                    return Ok(());
                }
                () = until(fetch_ends) => {
                    tracing::warn!("some resources did not come in time; going on without them");
                    held_since = None;
                    self.resources.give_up_on_missing();
                    self.put_in_force(&requests).await?;
                    continue;
                }
            };
            match next {
                None => return Ok(()),
                Some(response) => {
                    self.answered = true;
                    self.take(response?, &requests).await?;
                }
            }
            if self.dirty && self.is_complete() {
                held_since = None;
                self.put_in_force(&requests).await?;
            } else if self.dirty && held_since.is_none() {
                held_since = Some(tokio::time::Instant::now());
            }
        }
    }

    fn is_complete(&self) -> bool {
        let heard = Kind::ALL.into_iter().filter(|kind| kind.is_wildcard()).all(|kind| self.heard.contains(&kind));
        heard && self.resources.is_complete()
    }

    fn first_request(&mut self, kind: Kind, names: BTreeSet<String>) -> DeltaDiscoveryRequest {
        self.subscribed.insert(kind, names.clone());
        DeltaDiscoveryRequest {
            node: Some(self.options.node.clone()),
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names.into_iter().collect(),
            initial_resource_versions: self.resources.versions(kind),
            ..Default::default()
        }
    }

    /// Takes a response into the model and asks for what it refers to. It is answered once it is in force.
    async fn take(
        &mut self,
        response: DeltaDiscoveryResponse,
        requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), tonic::Status> {
        let Some(kind) = Kind::of(&response.type_url) else {
            return send(requests, refusal(&response.type_url, response.nonce, "this type is not subscribed to")).await;
        };
        let mut errors = Vec::new();
        for resource in response.resources {
            if let Err(error) = self.resources.insert(kind, resource) {
                errors.push(error);
            }
        }
        for name in &response.removed_resources {
            self.resources.remove(kind, name);
        }
        self.dirty = true;
        self.heard.insert(kind);
        self.unanswered.push((kind, response.nonce, errors));
        self.subscribe(requests).await
    }

    /// Tells the control plane which names are wanted now and were not before, and the other way round.
    async fn subscribe(&mut self, requests: &mpsc::Sender<DeltaDiscoveryRequest>) -> Result<(), tonic::Status> {
        for kind in [Kind::Endpoint, Kind::Route, Kind::Secret] {
            let wanted = self.resources.wanted(kind);
            let Some(known) = self.subscribed.get(&kind) else {
                if !wanted.is_empty() {
                    let request = self.first_request(kind, wanted);
                    send(requests, request).await?;
                }
                continue;
            };
            if *known == wanted {
                continue;
            }
            let request = DeltaDiscoveryRequest {
                type_url: kind.type_url().to_owned(),
                resource_names_subscribe: wanted.difference(known).cloned().collect(),
                resource_names_unsubscribe: known.difference(&wanted).cloned().collect(),
                ..Default::default()
            };
            for name in &request.resource_names_unsubscribe {
                self.resources.forget(kind, name);
            }
            self.subscribed.insert(kind, wanted);
            send(requests, request).await?;
        }
        Ok(())
    }

    /// Swaps the snapshot in, answers what was waiting, keeps a copy.
    async fn put_in_force(&mut self, requests: &mpsc::Sender<DeltaDiscoveryRequest>) -> Result<(), tonic::Status> {
        let applied = (self.apply)(Arc::new(self.resources.snapshot())).await;
        self.dirty = false;
        self.incomplete = applied.is_err();
        for (kind, nonce, mut errors) in std::mem::take(&mut self.unanswered) {
            if let (Kind::Listener, Err(error)) = (kind, &applied) {
                errors.push(error.clone());
            }
            let answer = if errors.is_empty() {
                acknowledgement(kind, nonce)
            } else {
                tracing::warn!(kind = ?kind, errors = errors.join("; "), "refused a part of the configuration");
                refusal(kind.type_url(), nonce, &errors.join("; "))
            };
            send(requests, answer).await?;
        }
        let (copy, resources) = (self.options.copy.clone(), self.resources.clone());
        let written = tokio::task::spawn_blocking(move || copy.write(&resources)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the configuration could not be kept on disk");
        }
        Ok(())
    }
}

/// Says why the stream ended; the same reason again is not worth another line.
fn tell(status: &tonic::Status) {
    use tonic::Code::{PermissionDenied, Unauthenticated};
    let reason = status.message();
    if matches!(status.code(), PermissionDenied | Unauthenticated) {
        tracing::error!(reason, "the control plane refuses this proxy; its token may be for another service account");
    } else {
        tracing::warn!(code = ?status.code(), reason, "the control plane is out of reach; serving on the last configuration");
    }
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn acknowledgement(kind: Kind, nonce: String) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: kind.type_url().to_owned(), response_nonce: nonce, ..Default::default() }
}

fn refusal(type_url: &str, nonce: String, reason: &str) -> DeltaDiscoveryRequest {
    let invalid_argument = 3;
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        response_nonce: nonce,
        error_detail: Some(Status { code: invalid_argument, message: reason.to_owned(), details: vec![] }),
        ..Default::default()
    }
}

async fn send(
    requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), tonic::Status> {
    requests.send(request).await.map_err(|_| tonic::Status::unavailable("the stream was closed"))
}

#[cfg(test)]
mod tests;
