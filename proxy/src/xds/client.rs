//! Brings together what the proxy is given, by the bootstrap file, a server and files: asks for what is referred to,
//! answers each response, and puts a snapshot in force whenever it may.

mod count;
mod keep;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3::Node;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::count::Ended;
use super::disk::Copy;
use super::files::Files;
use super::resources::{Key, Origin, Resources};
use super::session::Session;
use super::stream::{self, Event, Server};
use crate::config::{ResourceKind as Kind, ResourceSource, Snapshot, Source};
use crate::stats::Shard;

/// Puts a snapshot in force. The error names what could not be (an address in use); the rest is in force.
pub type Apply = Box<dyn Fn(Arc<Snapshot>) -> Applied + Send + Sync>;
pub type Applied = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

pub struct Options {
    pub node: Node,
    pub server: Option<Server>,
    pub listeners: Option<ResourceSource>,
    pub clusters: Option<ResourceSource>,
    /// Whether the server is asked for the names that the agent answers over DNS. Nothing waits for them.
    pub names: bool,
    /// Where the last configuration is kept.
    pub copy: Option<Copy>,
    pub hold: Hold,
    /// What stands in the bootstrap file.
    pub resources: Resources,
    /// Where updates are counted.
    pub stats: Arc<Shard>,
    /// The cluster as which the stream to the server is counted, where it is none of the configuration.
    pub counted_as: Option<&'static str>,
}

/// What a change waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// For everything that anything refers to, for so long at most: several changes take effect as one.
    All(Duration),
    /// At first for everything, and then each listener and cluster for what it refers to itself, as long as that
    /// source says (Envoy's warming).
    Each,
}

/// The client and what it holds.
pub struct Client {
    options: Options,
    apply: Apply,
    resources: Resources,
    session: Option<Session>,
    events: mpsc::Receiver<Event>,
    files: Files,
    /// The generation of the file that each resource was last taken from; the empty name is the whole file.
    taken: BTreeMap<Key, (PathBuf, u64)>,
    /// The last version of each kind that was accepted as a whole.
    versions: BTreeMap<Kind, String>,
    /// What is missing, and when it is not waited for any more. The empty name is the first response of a kind.
    waiting: BTreeMap<Key, Option<Instant>>,
    /// Kinds of which their source has spoken, or is not waited for any more.
    heard: BTreeSet<Kind>,
    /// Responses that wait until the snapshot they belong to is in force.
    unanswered: Vec<Unanswered>,
    /// Something came that is not in force yet.
    dirty: bool,
    /// When a part of what was put in force that could not be (an address in use) is tried again.
    retry_due: Option<Instant>,
    started: bool,
    /// When what changed is written to disk.
    copy_due: Option<Instant>,
    copy_written: Option<Instant>,
    queries: mpsc::UnboundedReceiver<Query>,
    /// What the workload last told of its health: why it does not serve, if it does not.
    health: Option<Option<String>>,
    /// When what was needed only to take something up is let go of.
    tidy_due: Option<Instant>,
}

struct Unanswered {
    kind: Kind,
    nonce: String,
    version: String,
    errors: Vec<String>,
}

enum Query {
    Resources(oneshot::Sender<Resources>),
    Flush(oneshot::Sender<()>),
    Health(Option<String>),
}

/// Asks a client that runs elsewhere.
#[derive(Clone)]
pub struct Handle(mpsc::UnboundedSender<Query>);

impl Handle {
    /// What the client holds; `None` once it has ended.
    pub async fn resources(&self) -> Option<Resources> {
        self.ask(Query::Resources).await
    }

    /// Returns when what is in force is on disk.
    pub async fn flush(&self) {
        self.ask(Query::Flush).await;
    }

    /// Tells the control plane whether the workload serves, now and on each new stream: why not, if it does not.
    pub fn tell_health(&self, unhealthy: Option<String>) {
        // A client that has ended has nobody to tell.
        let _ = self.0.send(Query::Health(unhealthy));
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Option<T> {
        let (ask, answer) = oneshot::channel();
        self.0.send(query(ask)).ok()?;
        answer.await.ok()
    }
}

/// After a change, how long nothing else has to come before it is tidied up.
const QUIET: Duration = Duration::from_secs(1);

/// How soon a listener that could not bind is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Client {
    /// Begins with the copy on disk, if there is one; true if that was put in force.
    pub async fn start(mut options: Options, apply: Apply) -> (Self, Handle, bool) {
        let (ask, queries) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::channel(64);
        match options.server.clone() {
            // Ends when nobody takes its events any more.
            Some(server) => drop(tokio::spawn(stream::follow(server, tell))),
            None => drop(tell),
        }
        let resources = std::mem::take(&mut options.resources);
        let mut client = Self {
            options,
            apply,
            resources,
            session: None,
            events,
            files: Files::new(),
            taken: BTreeMap::new(),
            versions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            heard: BTreeSet::new(),
            unanswered: Vec::new(),
            dirty: true,
            retry_due: None,
            started: false,
            copy_due: None,
            copy_written: None,
            queries,
            health: None,
            tidy_due: Some(Instant::now() + QUIET),
        };
        let kept = client.take_copy().await;
        (client, Handle(ask), kept)
    }

    /// Follows the sources for ever.
    pub async fn run(mut self) {
        loop {
            self.settle().await;
            tokio::select! {
                Some(event) = self.events.recv() => self.on_event(event),
                () = self.files.changed() => {
                    self.files.reread();
                    self.dirty |= self.resources.reread();
                }
                () = until(self.waiting.values().flatten().min().copied()) => self.give_up_on_late(),
                () = until(self.copy_due) => self.keep().await,
                () = until(self.tidy_due) => {
                    self.tidy();
                    continue;
                }
                () = until(self.retry_due) => self.try_again().await,
                Some(query) = self.queries.recv() => match query {
                    Query::Resources(answer) => drop(answer.send(self.resources.clone())),
                    Query::Flush(answer) => {
                        self.keep().await;
                        let _ = answer.send(());
                    }
                    Query::Health(health) => {
                        self.health = Some(health);
                        self.tell_health();
                    }
                },
            }
            self.tidy_due = Some(Instant::now() + QUIET);
        }
    }

    fn tell_health(&mut self) {
        if let (Some(session), Some(health)) = (&mut self.session, &self.health) {
            session.tell_health(health.as_deref());
        }
    }

    /// Lets go of what was needed only to take something up, and gives back its memory.
    fn tidy(&mut self) {
        self.tidy_due = None;
        api::release_descriptors();
        runtime::memory::settle();
    }

    /// Draws the consequences of what came.
    async fn settle(&mut self) {
        self.take_files();
        self.subscribe();
        self.track_missing();
        if self.may_publish() {
            self.put_in_force().await;
            // What only the former snapshot referred to is wanted no more.
            self.subscribe();
        } else if self.options.hold == Hold::Each {
            self.answer(&Ok(()));
        }
        self.watch_files();
    }

    fn may_publish(&self) -> bool {
        let at_once = self.started && self.options.hold == Hold::Each;
        let heard = || self.wildcards().all(|(kind, _)| self.heard.contains(&kind));
        self.dirty && (at_once || heard() && self.resources.missing().is_empty())
    }

    /// The kinds of which all is wanted, with their source.
    fn wildcards(&self) -> impl Iterator<Item = (Kind, &ResourceSource)> {
        let sources = [(Kind::Cluster, &self.options.clusters), (Kind::Listener, &self.options.listeners)];
        sources.into_iter().filter_map(|(kind, source)| Some((kind, source.as_ref()?)))
    }

    /// Tells the server which names are wanted now and were not before, and the other way round.
    fn subscribe(&mut self) {
        let Some(session) = &mut self.session else { return };
        let sources = [(Kind::Cluster, &self.options.clusters), (Kind::Listener, &self.options.listeners)];
        let of_server = |source: &Option<ResourceSource>| source.as_ref().is_some_and(|s| s.from == Source::Ads);
        let mut names: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
        for (key, source) in self.resources.wanted() {
            if source.from == Source::Ads {
                names.entry(key.0).or_default().insert(key.1);
            }
        }
        for kind in Kind::ALL {
            let names = names.remove(&kind).unwrap_or_default();
            let unwanted = || !sources.iter().any(|(of, source)| *of == kind && of_server(source));
            if kind.is_wildcard() && unwanted() && !(kind == Kind::NameTable && self.options.names) {
                continue;
            }
            let version = self.versions.get(&kind).map(String::as_str).unwrap_or_default();
            let due = self.unanswered.iter().any(|waiting| waiting.kind == kind);
            let held = || self.resources.versions(kind);
            for name in session.subscribe(kind, names, held, version, due) {
                let key = (kind, name);
                if self.resources.get(&key).is_none_or(|held| held.origin == Origin::Ads) {
                    self.resources.forget(&key);
                }
            }
        }
    }

    /// Sets the time until which each missing thing is waited for.
    fn track_missing(&mut self) {
        let now = Instant::now();
        let mut missing: BTreeMap<Key, Option<Duration>> = BTreeMap::new();
        match self.options.hold {
            Hold::All(longest) if self.dirty => {
                let unheard = self.wildcards().filter(|(kind, _)| !self.heard.contains(kind));
                let unheard = unheard.filter(|_| !self.heard.is_empty()).map(|(kind, _)| (kind, String::new()));
                missing.extend(unheard.chain(self.resources.missing().into_keys()).map(|key| (key, Some(longest))));
            }
            Hold::All(_) => {}
            Hold::Each => {
                let unheard = self.wildcards().filter(|(kind, _)| !self.heard.contains(kind));
                missing.extend(unheard.map(|(kind, source)| ((kind, String::new()), source.fetch_timeout)));
                let all = self.resources.missing();
                missing.extend(all.into_iter().map(|(key, source)| (key, source.fetch_timeout)));
            }
        }
        self.waiting.retain(|key, _| missing.contains_key(key));
        for (key, wait) in missing {
            self.waiting.entry(key).or_insert_with(|| wait.map(|wait| now + wait));
        }
    }

    fn give_up_on_late(&mut self) {
        let now = Instant::now();
        let late = self.waiting.iter().filter(|(_, until)| until.is_some_and(|until| until <= now));
        for (kind, name) in late.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if name.is_empty() {
                tracing::warn!(?kind, "nothing came in time; going on without");
                self.heard.insert(kind);
            } else {
                tracing::warn!(?kind, name, "a resource did not come in time; going on without it");
                self.resources.give_up((kind, name));
            }
            self.dirty = true;
        }
    }

    /// Swaps the snapshot in, answers what was waiting, keeps a copy.
    async fn put_in_force(&mut self) {
        self.resources.advance();
        let applied = (self.apply)(Arc::new(self.resources.snapshot())).await;
        self.dirty = false;
        self.started = true;
        self.retry_due = applied.is_err().then(|| Instant::now() + TRY_AGAIN);
        if let Err(error) = &applied {
            tracing::warn!(error, "a part of the configuration is not in force yet");
        }
        self.answer(&applied);
        self.keep_soon();
    }

    async fn try_again(&mut self) {
        let applied = (self.apply)(Arc::new(self.resources.snapshot())).await;
        self.retry_due = applied.is_err().then(|| Instant::now() + TRY_AGAIN);
        if applied.is_ok() {
            // What was refused is in force now: a new stream tells so.
            self.session = None;
        }
    }

    fn answer(&mut self, applied: &Result<(), String>) {
        for Unanswered { kind, nonce, version, mut errors } in std::mem::take(&mut self.unanswered) {
            if let (Kind::Listener, Err(error)) = (kind, applied) {
                errors.push(error.clone());
            }
            let whole = matches!(kind, Kind::Cluster | Kind::Listener);
            if whole {
                let ended = if errors.is_empty() { Ended::Success } else { Ended::Rejected };
                self.count(kind, "", ended, &version);
            }
            let Some(session) = &mut self.session else { continue };
            if errors.is_empty() {
                self.versions.insert(kind, version);
            } else {
                tracing::warn!(?kind, errors = errors.join("; "), "refused a part of the configuration");
            }
            let accepted = self.versions.get(&kind).map(String::as_str).unwrap_or_default();
            session.answer(kind, nonce, accepted, (!errors.is_empty()).then(|| errors.join("; ")));
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
