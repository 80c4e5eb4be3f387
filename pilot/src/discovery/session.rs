//! The life of one stream: admit, wait until there is something to say, attach, then answer requests and push changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use api::SpiffeId;
use api::envoy::config::core::v3 as core;
use api::prost::Message as _;
use futures_util::FutureExt as _;
use registry::KeyAccess;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::events::Happened;
use super::ledger::Verdict;
use super::proxies::{Place, TypeStatus};
use super::{Attached, Caller, Hub, World, admission};
use crate::diagnostic::{Code, Diagnostic};
use crate::inputs::Mark;
use crate::node::Node;
use crate::resource::{Kind, Snapshot};

/// The bookkeeping of one protocol variant. It never waits: it turns a request or a new snapshot into responses.
pub(super) trait Protocol: Send + 'static {
    type Request: Send + 'static;
    type Response: api::prost::Message + Send + 'static;

    fn new(identifier: &str) -> Self;
    fn node(request: &Self::Request) -> Option<&core::Node>;
    /// Of a request that tells of the workload's health: why it is not healthy, if it is not.
    fn health(request: &Self::Request) -> Option<Option<String>>;
    /// Takes a request; what it said of an earlier response, and what to send.
    fn receive(&mut self, request: Self::Request, snapshot: &Snapshot) -> Received<Self::Response>;
    /// What a new snapshot makes necessary to send, in order.
    fn push(&mut self, snapshot: &Snapshot) -> Vec<(Kind, Self::Response)>;
    fn status(&self) -> BTreeMap<&'static str, TypeStatus>;
}

/// The outcome of one request.
pub(super) struct Received<R> {
    /// `None` for a type that is not served.
    pub kind: Option<Kind>,
    pub verdict: Verdict,
    pub error: Option<String>,
    pub responses: Vec<(Kind, R)>,
}

/// Serves one stream until either side ends it.
pub(super) async fn run<P: Protocol>(
    hub: Arc<Hub>,
    caller: Caller,
    mut requests: Streaming<P::Request>,
    answers: mpsc::Sender<Result<P::Response, Status>>,
) {
    let Ok(Some(first)) = requests.message().await else { return };
    let mut node = match admission::admit(P::node(&first), caller.identity.as_ref()) {
        Ok(node) => node,
        Err(status) => {
            return refuse(status, &caller, answers).await;
        }
    };
    // What a workload may claim is judged by what all registries tell.
    let mut worlds = hub.worlds.clone();
    tokio::select! {
        ready = worlds.wait_for(Option::is_some) => if ready.is_err() { return },
        () = answers.closed() => return,
    }
    let attached = match hub.attachments.connected(&node, caller.peer.as_ref()).await {
        Ok(attached) => attached,
        Err(status) => return refuse(status, &caller, answers).await,
    };
    let mut keys = attached.keys();
    if let Some(keys) = &mut keys {
        node.keys = keys.borrow_and_update().clone();
    }
    tracing::info!(proxy = node.name, version = node.user_agent, "proxy connected");
    let protocol = P::new(&hub.options.identifier);
    let place = hub.proxies.enter(&node, &caller, protocol.status());
    let queue = VecDeque::new();
    let name = node.name.clone();
    let session = Session {
        hub: &hub,
        node,
        identity: caller.identity.clone(),
        withheld: None,
        keys,
        attached,
        place,
        protocol,
        answers,
        queue,
        mark: None,
        pushing: None,
        changed: None,
    };
    session.serve(first, requests).await;
    tracing::info!(proxy = name, "proxy disconnected");
}

async fn refuse<R>(status: Status, caller: &Caller, answers: mpsc::Sender<Result<R, Status>>) {
    tracing::warn!(
        peer = caller.identity.as_ref().map(tracing::field::display),
        error = status.message(),
        "proxy refused"
    );
    let _ = answers.send(Err(status)).await;
}

struct Session<'a, P: Protocol> {
    hub: &'a Hub,
    node: Node,
    identity: Option<SpiffeId>,
    /// Why it was last denied private keys.
    withheld: Option<String>,
    /// Whether it may have private keys.
    keys: Option<watch::Receiver<KeyAccess>>,
    attached: Box<dyn Attached>,
    place: Place<'a>,
    protocol: P,
    answers: mpsc::Sender<Result<P::Response, Status>>,
    /// Responses that wait for room in `answers`; nothing else happens until it is empty.
    queue: VecDeque<(Kind, P::Response)>,
    /// Of what was last compiled for it.
    mark: Option<Mark>,
    /// When the push whose responses are queued began.
    pushing: Option<Instant>,
    /// When the change came that it is for.
    changed: Option<Instant>,
}

impl<P: Protocol> Session<'_, P> {
    async fn serve(mut self, first: P::Request, mut requests: Streaming<P::Request>) {
        self.follow(first, &mut requests).await;
        // Who leaves may have said why, and be gone before it was heard.
        while let Some(Ok(Some(request))) = requests.message().now_or_never() {
            if let Some(unhealthy) = P::health(&request) {
                self.attached.last_words(unhealthy);
            }
        }
    }

    async fn follow(&mut self, first: P::Request, requests: &mut Streaming<P::Request>) {
        let mut worlds = self.hub.worlds.clone();
        let mut snapshot = self.compile(worlds.borrow_and_update().clone());
        self.receive(first, &snapshot);
        let mut keys = self.keys.take();
        loop {
            self.place.types(self.protocol.status(), &self.mark);
            if !self.flush().await {
                return;
            }
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.receive(request, &snapshot),
                    Ok(None) | Err(_) => return,
                },
                changed = worlds.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.pushing = Some(Instant::now());
                    self.changed = worlds.borrow().as_ref().map(|world| world.changed);
                    snapshot = self.compile(worlds.borrow_and_update().clone());
                    self.queue.extend(self.protocol.push(&snapshot));
                }
                access = next(&mut keys) => {
                    self.node.keys = access;
                    self.place.known(&self.node);
                    snapshot = self.compile(worlds.borrow().clone());
                    self.queue.extend(self.protocol.push(&snapshot));
                }
                () = self.answers.closed() => return,
            }
        }
    }

    fn compile(&mut self, world: Option<World>) -> Arc<Snapshot> {
        let Some(world) = world else { return Arc::default() };
        let (snapshot, diagnostics) = world.compiled.snapshot(&self.node);
        self.tell_withheld(&diagnostics);
        let snapshot = Arc::new(snapshot);
        self.place.compiled(Arc::clone(&snapshot), diagnostics.into());
        self.mark = Some(world.mark);
        snapshot
    }

    fn receive(&mut self, request: P::Request, snapshot: &Snapshot) {
        if let Some(unhealthy) = P::health(&request) {
            return self.attached.told_health(unhealthy);
        }
        let received = self.protocol.receive(request, snapshot);
        self.queue.extend(received.responses);
        let Some(kind) = received.kind else { return };
        match received.verdict {
            Verdict::Nack => {
                let error = received.error.unwrap_or_default();
                self.happened(Happened::Refused, kind, Some(error.clone()));
                tracing::warn!(proxy = self.node.name, r#type = kind.short_name(), error, "configuration refused");
                self.hub.counters.rejected(kind);
            }
            Verdict::Stale => self.hub.counters.expired(kind),
            Verdict::Ack => self.happened(Happened::Accepted, kind, None),
            Verdict::None => {}
        }
    }

    /// Somebody who wants keys that it may not have is worth a line, once.
    fn tell_withheld(&mut self, diagnostics: &[Diagnostic]) {
        let withheld = diagnostics.iter().find(|found| found.code == Code::WithheldKey);
        match withheld.map(|found| found.message.clone()) {
            Some(why) if self.withheld.as_ref() != Some(&why) => {
                let identity = self.identity.as_ref().map(tracing::field::display);
                tracing::warn!(proxy = self.node.name, identity, why, "a gateway gets no private keys");
                self.withheld = Some(why);
            }
            Some(_) => {}
            None => self.withheld = None,
        }
    }

    fn happened(&self, what: Happened, kind: Kind, detail: Option<String>) {
        self.hub.proxies.events.add(&self.node.name, what, Some(kind.short_name()), detail);
    }

    /// Hands all queued responses on; false when the client is gone.
    async fn flush(&mut self) -> bool {
        while let Some((kind, response)) = self.queue.pop_front() {
            let bytes = response.encoded_len();
            if self.answers.send(Ok(response)).await.is_err() {
                return false;
            }
            self.hub.counters.pushed(kind, bytes);
            self.happened(Happened::Sent, kind, None);
        }
        if let Some(began) = self.pushing.take() {
            self.hub.counters.took(began.elapsed());
            if let Some(changed) = self.changed.take() {
                self.hub.counters.converged(changed.elapsed());
            }
        }
        true
    }
}

/// The next answer to whether a proxy may have private keys; none comes where nobody tells any more.
async fn next(keys: &mut Option<watch::Receiver<KeyAccess>>) -> KeyAccess {
    if let Some(told) = keys
        && told.changed().await.is_ok()
    {
        return told.borrow_and_update().clone();
    }
    std::future::pending().await
}
