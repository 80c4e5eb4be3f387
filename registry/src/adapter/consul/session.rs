//! What is known and followed over one connection to Consul.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::{AbortHandle, JoinSet};

use super::book::Book;
use super::client::{Answer, Names, NoAnswer};
use super::limits::Way;
use super::poll::{self, Tools};
use super::seen::Seen;
use super::update::{Found, Subject, Update};
use super::watch::Events;
use crate::source::Event;

/// Whose checks tell that the health of an instance changed.
const STATES: [&str; 2] = ["critical", "warning"];

/// What is followed over one connection. Dropping it ends all of its tasks.
pub(super) struct Session<'a> {
    book: &'a mut Book,
    events: &'a Events,
    tools: Tools,
    tasks: JoinSet<()>,
    seen: Seen,
    /// The services that there are.
    services: BTreeMap<String, Reading>,
    /// Not yet read over this connection.
    unread: BTreeSet<String>,
    /// What could not be read the last time, for no reason of its own.
    shaken: BTreeSet<String>,
    /// Everything has been read, and that was told.
    synced: bool,
    way: Option<Way>,
    watches: BTreeMap<Subject, AbortHandle>,
    nodes: Option<BTreeSet<String>>,
    /// The nodes may not be listed, or one not be read.
    no_nodes: bool,
    /// The checks may not be listed.
    no_checks: bool,
    search: Search,
}

/// Whether a service is being read, and whether it changed meanwhile.
#[derive(Default)]
struct Reading {
    now: bool,
    again: bool,
}

#[derive(Default)]
struct Search {
    runs: bool,
    /// Something changed since it began.
    again: bool,
}

impl<'a> Session<'a> {
    pub fn new(book: &'a mut Book, events: &'a Events, tools: Tools) -> Self {
        Self {
            book,
            events,
            tools,
            tasks: JoinSet::new(),
            seen: Seen::default(),
            services: BTreeMap::new(),
            unread: BTreeSet::new(),
            shaken: BTreeSet::new(),
            synced: false,
            way: None,
            watches: BTreeMap::new(),
            nodes: None,
            no_nodes: false,
            no_checks: false,
            search: Search::default(),
        }
    }

    /// Reads all of these services, and follows their names.
    pub fn begin(&mut self, names: Answer<Names>) {
        self.watch(Subject::Names, names.index.max(1));
        self.names(names.value);
        self.settle();
    }

    pub fn take(&mut self, update: Update) -> Result<(), String> {
        match update {
            Update::Found { subject, index, found } => self.found(&subject, index, found),
            Update::Failed { subject, why } => self.failed(&subject, why),
            Update::Moved(service, index) => {
                if index.is_none_or(|index| index != self.seen.index(&service)) {
                    self.changed([service].into());
                }
            }
            Update::Searched => {
                self.search.runs = false;
                if std::mem::take(&mut self.search.again) {
                    self.look();
                }
            }
            Update::Round => self.look(),
            Update::Lost(reason) => return Err(reason),
        }
        Ok(())
    }

    fn found(&mut self, subject: &Subject, index: u64, found: Found) {
        match (subject, found) {
            (_, Found::Names(names)) => {
                self.names(names);
                self.look();
            }
            (_, Found::Nodes(nodes)) => {
                let known = self.nodes.replace(nodes.clone()).unwrap_or_default();
                for gone in known.difference(&nodes) {
                    self.changed(self.seen.on(gone));
                }
                self.look();
            }
            (Subject::Node(node), Found::Node(occupied)) => self.changed(self.seen.changed_on(node, &occupied)),
            (Subject::Checks(status), Found::Checks(checks)) => self.changed(self.seen.changed_checks(status, &checks)),
            (Subject::Service(service), Found::Instances(entries)) => {
                let Some(reading) = self.services.get_mut(service) else { return };
                let again = std::mem::take(reading).again;
                self.unread.remove(service);
                self.shaken.remove(service);
                self.seen.read(service, index, &entries);
                let events = self.book.instances(service, entries);
                self.send(events);
                if again {
                    self.changed([service.clone()].into());
                }
            }
            // A task tells of its own subject only.
            _ => {}
        }
    }

    fn failed(&mut self, subject: &Subject, why: NoAnswer) {
        match subject {
            Subject::Service(service) if self.services.contains_key(service) => {
                // Where it is the server that is away, the names tell soon.
                if why.lost && self.shaken.insert(service.clone()) {
                    return;
                }
                self.unread.remove(service);
                self.book.failed(service, why);
            }
            Subject::Nodes | Subject::Node(_) if why.is_refusal() => self.no_nodes = true,
            Subject::Checks(_) if why.is_refusal() && !self.no_checks => {
                self.no_checks = true;
                self.tasks.spawn(poll::rounds(self.tools.clone()));
            }
            // It is asked again.
            _ => {}
        }
    }

    /// Reads services that are new, and lets go of those that are no more.
    fn names(&mut self, Names { names, hidden }: Names) {
        self.book.note(HIDDEN.into(), hidden);
        let gone: Vec<String> = self.services.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.services.remove(&name);
            self.unread.remove(&name);
            self.seen.forget(&name);
        }
        let events = self.book.retain(&names);
        self.send(events);
        for name in names {
            if !self.services.contains_key(&name) {
                self.services.insert(name.clone(), Reading::default());
                self.unread.insert(name.clone());
                self.changed([name].into());
            }
        }
    }

    /// Reads these services anew. Others than those whose names are known wait for the names.
    fn changed(&mut self, services: BTreeSet<String>) {
        for service in services {
            let Some(reading) = self.services.get_mut(&service) else { continue };
            if reading.now {
                reading.again = true;
                continue;
            }
            reading.now = true;
            let index = self.seen.index(&service);
            self.tasks.spawn(poll::read(self.tools.clone(), service, index));
        }
    }

    /// Tells what is wrong, and once that everything has been read; follows what there is now. Whether all was read.
    pub fn settle(&mut self) -> bool {
        let first = !self.synced && self.unread.is_empty();
        self.synced |= first;
        if self.synced {
            self.arrange();
        }
        if let Some(findings) = self.book.findings() {
            self.send(vec![findings]);
        }
        if first {
            self.send(vec![Event::Synced]);
        }
        // Tasks that ended are of no interest; what they found has been taken.
        while self.tasks.try_join_next().is_some() {}
        self.synced
    }

    /// Has a task for each thing that is followed now, and for nothing else.
    fn arrange(&mut self) {
        let nodes = if self.no_nodes { Some(usize::MAX) } else { self.nodes.as_ref().map(BTreeSet::len) };
        let way = self.tools.limits.way(self.way, self.services.len(), nodes);
        let wanted = self.wanted(way);
        self.watches.retain(|subject, task| {
            let stays = wanted.contains(subject);
            if !stays {
                task.abort();
            }
            stays
        });
        for subject in wanted {
            if !self.watches.contains_key(&subject) {
                let index = self.seen.index(subject.service());
                self.watch(subject, index);
            }
        }
        let other = self.way != way;
        self.way = way;
        self.book.note(BLIND.into(), self.no_checks && way != Some(Way::Services));
        if other {
            self.look();
        }
    }

    fn wanted(&self, way: Option<Way>) -> BTreeSet<Subject> {
        let mut wanted: BTreeSet<Subject> = [Subject::Names].into();
        if way == Some(Way::Services) {
            let read = self.services.iter().filter(|(service, reading)| !reading.now && self.seen.has(service));
            wanted.extend(read.map(|(service, _)| Subject::Service(service.clone())));
        } else {
            wanted.insert(Subject::Nodes);
            wanted.extend(STATES.map(Subject::Checks));
        }
        if way == Some(Way::Nodes) {
            wanted.extend(self.nodes.iter().flatten().map(|node| Subject::Node(node.clone())));
        }
        wanted
    }

    fn watch(&mut self, subject: Subject, index: u64) {
        let task = self.tasks.spawn(poll::follow(self.tools.clone(), subject.clone(), index));
        self.watches.insert(subject, task);
    }

    /// Something changed, and nobody says what: searches for it, where that is the way.
    fn look(&mut self) {
        if self.way != Some(Way::Search) {
            return;
        }
        if std::mem::replace(&mut self.search.runs, true) {
            self.search.again = true;
            return;
        }
        let read = self.services.keys().filter(|service| self.seen.has(service));
        let services = read.map(|service| (service.clone(), self.seen.index(service))).collect();
        self.tasks.spawn(poll::search(self.tools.clone(), services));
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

const BLIND: &str = "Consul does not let the checks be listed by state, so a change of health is seen only after some \
                     seconds; let the token read nodes and services, and what stands between pass GET /v1/health/state";
