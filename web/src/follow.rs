//! Turns what changes in the control plane into events of the feed, one function a source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use galley::Follower;
use registry::{Catalog, Entry};
use serde_json::json;

use crate::feed::Topic;
use crate::objects::ObjectView;
use crate::services::{count, health, short_name};
use crate::state::State;
use crate::{proxies, registries, trouble};

/// How long changes are gathered that come in swarms.
const GATHER: Duration = Duration::from_millis(200);
/// The same for problems, which are found by looking at everything.
const GATHER_PROBLEMS: Duration = Duration::from_secs(1);
/// The same for traffic that fails: a fault is to be seen within ten seconds, five of which a proxy takes to report.
const GATHER_TRAFFIC: Duration = Duration::from_secs(2);

/// Follows everything until dropped.
pub async fn follow(state: State) {
    tokio::join!(
        objects(&state),
        catalog(&state),
        of_proxies(&state),
        problems(&state),
        certificates(&state),
        telemetry(&state),
        failing(&state)
    );
}

/// How often the ledger of certificates is read.
const LEDGER: Duration = Duration::from_secs(30);

async fn certificates(state: &State) {
    let mut often = tokio::time::interval(LEDGER);
    loop {
        often.tick().await;
        crate::certificates::refresh(state).await;
    }
}

async fn objects(state: &State) {
    let mut snapshots = state.galley.snapshots();
    let mut follower = Follower::new(&state.galley);
    while snapshots.changed().await.is_ok() {
        snapshots.borrow_and_update();
        for (change, object) in follower.news() {
            let key = &object.key;
            let data = json!({
                "change": change.as_str(), "kind": key.kind.as_str(), "namespace": key.namespace, "name": key.name,
                "revision": object.revision,
            });
            let whole = serde_json::to_value(ObjectView::of(&object)).unwrap_or_default();
            state.kept.feed.publish_object(change.as_str(), key.kind, data, whole);
        }
    }
}

async fn catalog(state: &State) {
    let mut catalogs = state.catalog.clone();
    let mut before = catalogs.borrow_and_update().clone();
    while catalogs.changed().await.is_ok() {
        let now = catalogs.borrow_and_update().clone();
        tell_services(state, &before, &now);
        if registries::all(&before) != registries::all(&now) {
            let items = json!({ "items": registries::all(&now) });
            state.kept.feed.publish(Topic::Registries, "modified", items);
        }
        before = now;
    }
}

fn tell_services(state: &State, before: &Catalog, now: &Catalog) {
    let domain = state.domain();
    let tell = |topic: Topic, event: &'static str, entry: &Entry| {
        let (host, namespace) = (entry.service.host().as_str(), entry.service.namespace());
        let endpoints = count(entry);
        let data = json!({
            "change": event, "namespace": namespace, "name": short_name(host, namespace, &domain), "host": host,
            "endpoints": endpoints, "health": health(endpoints),
        });
        state.kept.feed.publish(topic, event, data);
    };
    for entry in before.entries().filter(|entry| now.get(&entry.service.key).is_none()) {
        tell(Topic::Services, "deleted", entry);
    }
    for entry in now.entries() {
        match before.get(&entry.service.key) {
            None => {
                tell(Topic::Services, "added", entry);
                if !entry.endpoints.is_empty() {
                    tell(Topic::Endpoints, "modified", entry);
                }
            }
            Some(known) => {
                if !Arc::ptr_eq(&known.service, &entry.service) {
                    tell(Topic::Services, "modified", entry);
                }
                if !Arc::ptr_eq(&known.endpoints, &entry.endpoints) {
                    tell(Topic::Endpoints, "modified", entry);
                }
            }
        }
    }
}

async fn of_proxies(state: &State) {
    let mut changes = state.discovery.changes();
    let mut before = syncs(state);
    while changes.changed().await.is_ok() {
        tokio::time::sleep(GATHER).await;
        changes.borrow_and_update();
        let now = syncs(state);
        for id in before.keys().filter(|id| !now.contains_key(*id)) {
            state.kept.feed.publish(Topic::Proxies, "deleted", json!({ "change": "deleted", "id": id }));
        }
        for (id, sync) in &now {
            let change = match before.get(id) {
                None => "added",
                Some(known) if known != sync => "modified",
                Some(_) => continue,
            };
            let data = json!({ "change": change, "id": id, "sync": sync });
            state.kept.feed.publish(Topic::Proxies, change, data);
        }
        before = now;
    }
}

fn syncs(state: &State) -> BTreeMap<String, &'static str> {
    state.discovery.proxies().into_iter().map(|status| (status.id.clone(), proxies::sync(&status))).collect()
}

/// New figures are told of once in the time in which every proxy reports.
async fn telemetry(state: &State) {
    let mut figures = state.mixer.figures();
    while figures.changed().await.is_ok() {
        tokio::time::sleep(state.mixer.interval()).await;
        let at = *figures.borrow_and_update();
        state.kept.feed.publish(Topic::Telemetry, "graph", json!({ "at": at }));
    }
}

/// What fails by the figures is looked for while they come, and while anything fails: it is over, too, when nothing is
/// reported any more.
async fn failing(state: &State) {
    let mut figures = state.mixer.figures();
    let mut any_fails = false;
    while any_fails || figures.changed().await.is_ok() {
        tokio::time::sleep(GATHER_TRAFFIC).await;
        figures.borrow_and_update();
        any_fails = state.kept.failing.look(state);
    }
}

async fn problems(state: &State) {
    let (mut snapshots, mut catalogs) = (state.galley.snapshots(), state.catalog.clone());
    let (mut proxies, mut failing) = (state.discovery.changes(), state.kept.failing.changes());
    let mut before = BTreeMap::new();
    loop {
        let all = trouble::collect(state);
        let now: BTreeMap<_, _> = all.iter().map(|trouble| (trouble.key(), trouble.namespace.clone())).collect();
        let beyond = |these: &BTreeMap<_, Option<String>>, those: &BTreeMap<_, _>| {
            let new = these.iter().filter(|(key, _)| !those.contains_key(*key));
            new.map(|(_, namespace)| namespace.clone()).collect::<Vec<_>>()
        };
        let (added, resolved) = (beyond(&now, &before), beyond(&before, &now));
        if !(added.is_empty() && resolved.is_empty()) {
            let counts = trouble::count(&all);
            let namespaces: BTreeSet<&String> = added.iter().chain(&resolved).flatten().collect();
            let (added, resolved) = (added.len(), resolved.len());
            let data = json!({ "problems": counts, "added": added, "resolved": resolved, "namespaces": namespaces });
            state.kept.feed.publish(Topic::Problems, "modified", data);
        }
        before = now;
        let changed = tokio::select! {
            changed = snapshots.changed() => changed,
            changed = catalogs.changed() => changed,
            changed = proxies.changed() => changed,
            changed = failing.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        tokio::time::sleep(GATHER_PROBLEMS).await;
        snapshots.borrow_and_update();
        catalogs.borrow_and_update();
        proxies.borrow_and_update();
        failing.borrow_and_update();
    }
}
