//! The life of the registry: connect, read everything, follow what changes, and start over when the server is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use runtime::Backoff;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::book::Book;
use super::client::{Ask, Client, Names};
use super::limits::Limits;
use super::options::ConsulOptions;
use super::poll::{self, Tools, Update, jittered};
use crate::source::Event;

type Events = mpsc::UnboundedSender<Event>;

/// Updates that are taken together.
const BATCH: usize = 256;
/// Updates that wait; tasks wait beyond that.
const QUEUE: usize = 1024;

/// Tells all events until nobody listens.
pub(super) async fn run(options: Arc<ConsulOptions>, mut book: Book, events: Events) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    let mut told = None;
    while !events.is_closed() {
        let reason = tokio::select! {
            reason = connected(&options, &mut book, &events, &mut backoff) => reason,
            () = events.closed() => return,
        };
        let Err(reason) = reason else { return };
        if told.as_ref() != Some(&reason) {
            tracing::warn!(server = options.address, reason, "Consul is out of reach; its last known endpoints stay");
        }
        let _ = events.send(Event::Lost(format!("{}: {reason}", options.address)));
        told = Some(reason);
        tokio::select! {
            () = sleep(jittered(backoff.failed())) => {}
            () = events.closed() => return,
        }
    }
}

/// One connection's life; the reason it ended for. `Ok` once nobody listens.
async fn connected(
    options: &ConsulOptions,
    book: &mut Book,
    events: &Events,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let client = Arc::new(Client::open(options).map_err(|error| error.to_string())?);
    let queries = client.connect().await?;
    let services = client.services(Ask::Confirmed).await?;
    let (updates, received) = mpsc::channel(QUEUE);
    let limits = Arc::new(Limits::new(queries, options.wait));
    let tools = Tools { client, limits, updates };
    let mut session = Session {
        book,
        events,
        tools: tools.clone(),
        tasks: JoinSet::new(),
        followed: BTreeMap::new(),
        unread: BTreeSet::new(),
        synced: false,
    };
    session.tasks.spawn(poll::names(tools, services.index.max(1), options.wait));
    session.take(Update::Services(services.value))?;
    session.tell();
    session.follow(received, backoff).await
}

/// What is followed over one connection. Dropping it ends all of its tasks.
struct Session<'a> {
    book: &'a mut Book,
    events: &'a Events,
    tools: Tools,
    tasks: JoinSet<()>,
    followed: BTreeMap<String, AbortHandle>,
    /// Followed, but not yet read over this connection.
    unread: BTreeSet<String>,
    synced: bool,
}

impl Session<'_> {
    async fn follow(&mut self, mut received: mpsc::Receiver<Update>, backoff: &mut Backoff) -> Result<(), String> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            received.recv_many(&mut batch, BATCH).await;
            for update in batch.drain(..) {
                self.take(update)?;
            }
            self.tell();
            if self.synced {
                backoff.reset();
            }
            // Tasks that ended are of no interest; what they found has been taken.
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn take(&mut self, update: Update) -> Result<(), String> {
        match update {
            Update::Services(names) => self.names(names),
            Update::Instances { service, entries } => {
                if self.followed.contains_key(&service) {
                    self.unread.remove(&service);
                    let events = self.book.instances(&service, entries);
                    self.send(events);
                }
            }
            Update::Failed { service, reason } => {
                if self.followed.contains_key(&service) {
                    self.unread.remove(&service);
                    self.book.failed(&service, reason);
                }
            }
            Update::Lost(reason) => return Err(reason),
        }
        Ok(())
    }

    /// Follows services that are new, and lets go of those that are no more.
    fn names(&mut self, Names { names, hidden }: Names) {
        self.book.note(HIDDEN.into(), hidden);
        self.followed.retain(|name, task| {
            let stays = names.contains(name);
            if !stays {
                task.abort();
            }
            stays
        });
        self.unread.retain(|name| names.contains(name));
        let events = self.book.retain(&names);
        self.send(events);
        for name in names {
            if !self.followed.contains_key(&name) {
                let task = self.tasks.spawn(poll::instances(self.tools.clone(), name.clone()));
                self.unread.insert(name.clone());
                self.followed.insert(name, task);
            }
        }
        let unseen = self.tools.limits.services(self.followed.len());
        self.book.note(CROWDED.into(), unseen.is_some());
    }

    /// Tells what is wrong, and once that everything has been read.
    fn tell(&mut self) {
        if let Some(findings) = self.book.findings() {
            self.send(vec![findings]);
        }
        if !self.synced && self.unread.is_empty() {
            self.synced = true;
            self.send(vec![Event::Synced]);
        }
    }

    fn send(&self, events: Vec<Event>) {
        for event in events {
            // That nobody listens ends the whole watch soon.
            let _ = self.events.send(event);
        }
    }
}

const HIDDEN: &str = "not even the service of Consul's own servers is seen: the token, or none, may read little; give one \
                      that may read services and nodes (token-file, CONSUL_HTTP_TOKEN)";

const CROWDED: &str = "more services than connections: a change may go unseen for up to ten seconds; raise Consul's \
                       limits.http_max_conns_per_client and max-connections in the URL, or use https";
