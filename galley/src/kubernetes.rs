//! A Kubernetes cluster as a source of configuration: every kind that it has a resource definition of is followed,
//! checked as any other source, and told in the object's status what became of it.

mod remembered;
mod status;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use registry::Catalog;
use registry::kubernetes::{Change, Cluster, Collection, Pace, Versioned, follow};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::{Notify, mpsc, watch};

use crate::galley::Galley;
use crate::kind::Kind;
use crate::object::ObjectKey;

/// Which cluster's configuration is taken, and how.
pub struct Source {
    pub cluster: Cluster,
    pub pace: Pace,
    /// How long the first lists may fail before the mesh starts with what it knew of this cluster before.
    pub grace: Duration,
    /// The mesh's services, if the status of objects is to be written: what is said there depends on them. Only one
    /// control plane of a cluster should.
    pub write_status: Option<watch::Receiver<Arc<Catalog>>>,
}

/// How many times the grace is added for a server that does not fail, and has not listed everything.
const SLOW: u32 = 5;

/// What is usual for `Source::grace`.
pub const GRACE: Duration = Duration::from_secs(5);

impl Galley {
    /// Makes a cluster's objects part of the configuration. They are followed for as long as the future is polled;
    /// until all were read once the galley is not synced. What was known of the cluster when the last control plane
    /// ended is in force from the beginning, and until the cluster says otherwise.
    pub fn attach(&self, source: Source) -> impl Future<Output = ()> + Send + 'static {
        self.shared.awaited.fetch_add(Kind::ALL.len(), Ordering::AcqRel);
        let attached = Arc::new(Attached {
            galley: self.clone(),
            name: source.cluster.name().into(),
            cluster: source.cluster,
            pace: source.pace,
            grace: source.grace,
            seen: Mutex::default(),
            news: Notify::new(),
            changed: Notify::new(),
        });
        async move {
            let kept = remembered::recall(&attached).await;
            let kinds = Kind::ALL.map(|kind| Box::pin(follow_kind(attached.clone(), kind)));
            let writing = async {
                match source.write_status {
                    Some(catalog) => writer::run(attached.clone(), catalog).await,
                    None => std::future::pending().await,
                }
            };
            tokio::join!(futures_util::future::join_all(kinds), writing, remembered::keep(&attached, kept));
        }
    }
}

/// A cluster that a galley follows.
struct Attached {
    galley: Galley,
    name: Arc<str>,
    cluster: Cluster,
    pace: Pace,
    grace: Duration,
    /// The objects as the API server has them now.
    seen: Mutex<BTreeMap<ObjectKey, Seen>>,
    /// A status may have to be written.
    news: Notify,
    /// There may be something to remember.
    changed: Notify,
}

/// What the writer of a status needs of an object.
#[derive(Clone, Debug)]
struct Seen {
    /// Where objects of its kind are written: `/apis/networking.istio.io/v1/namespaces/default/virtualservices`.
    collection: String,
    /// Another object of the same name has another.
    uid: String,
    generation: i64,
    resource_version: String,
    status: Json,
}

/// An object as the API server sent it.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
struct Raw(Json);

impl Versioned for Raw {
    fn resource_version(&self) -> &str {
        self.0["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }
}

/// Counts a kind as read, once.
struct Awaited<'a>(Option<&'a Attached>);

impl Awaited<'_> {
    fn done(&mut self) {
        if let Some(attached) = self.0.take() {
            attached.galley.shared.awaited.fetch_sub(1, Ordering::AcqRel);
            // Published even if nothing came, so that those who wait for it look again.
            attached.galley.shared.change(|_| true);
        }
    }
}

/// Follows a kind in whichever version the server has, and looks again for a definition that is missing.
async fn follow_kind(attached: Arc<Attached>, kind: Kind) {
    let mut awaited = Awaited(Some(&attached));
    let deadline = tokio::time::Instant::now() + attached.grace;
    let mut told_missing = false;
    loop {
        for version in kind.versions() {
            let is_there = follow_version(&attached, kind, version, &mut awaited, deadline).await;
            told_missing &= !is_there;
        }
        if !told_missing {
            told_missing = true;
            // What was remembered of the kind went with its definition.
            attached.take_all(kind, "", Vec::new());
            let (cluster, kind) = (&*attached.name, kind.as_str());
            tracing::info!(cluster, "the API server has no {kind}; it is taken once its definition is there");
        }
        awaited.done();
        tokio::time::sleep(attached.pace.missing).await;
    }
}

/// Until the server turns out not to have the kind in this version; true if it ever had.
async fn follow_version(
    attached: &Arc<Attached>,
    kind: Kind,
    version: &str,
    awaited: &mut Awaited<'_>,
    deadline: tokio::time::Instant,
) -> bool {
    let path = format!("/apis/{}/{version}/{}", kind.group(), kind.plural());
    let (tell, mut told) = mpsc::channel::<Change<Raw>>(64);
    let (mut is_there, mut is_lost) = (false, false);
    let taking = async {
        loop {
            // A server that answers is waited for longer than one that is away.
            let patience = if is_lost { deadline } else { deadline + attached.grace * SLOW };
            let change = tokio::select! {
                change = told.recv() => change,
                () = tokio::time::sleep_until(patience), if awaited.0.is_some() => {
                    awaited.done();
                    continue;
                }
            };
            match change {
                None => return,
                Some(Change::Missing) => {
                    if is_there {
                        attached.take_all(kind, version, Vec::new());
                    }
                    return;
                }
                Some(Change::All(objects)) => {
                    is_there = true;
                    attached.take_all(kind, version, objects);
                    awaited.done();
                }
                Some(Change::Set(object)) => attached.take(kind, version, object, true),
                Some(Change::Gone(object)) => attached.take(kind, version, object, false),
                Some(Change::InStep) => is_lost = false,
                Some(Change::Lost(why)) if !std::mem::replace(&mut is_lost, true) => {
                    tracing::warn!(
                        cluster = &*attached.name,
                        "{path}: out of reach, its objects stay as they are: {why}"
                    );
                }
                Some(Change::Lost(_)) => {}
            }
        }
    };
    tokio::select! {
        () = follow(attached.cluster.clone(), Collection::whole(&path), attached.pace, tell) => {}
        () = taking => {}
    }
    is_there
}

impl Attached {
    fn take_all(&self, kind: Kind, version: &str, objects: Vec<Raw>) {
        let read = |object: Raw| Some((key_of(kind, &object.0)?, as_document(kind, version, object.0)));
        let objects: Vec<(ObjectKey, Json)> = objects.into_iter().filter_map(read).collect();
        {
            let mut seen = self.seen.lock();
            seen.retain(|key, _| key.kind != kind);
            seen.extend(objects.iter().map(|(key, object)| (key.clone(), Seen::of(key, version, object))));
        }
        self.galley.shared.change(|state| state.replace_in_cluster(kind, &self.name, &objects));
        self.news.notify_one();
        self.changed.notify_one();
    }

    fn take(&self, kind: Kind, version: &str, object: Raw, is_there: bool) {
        let Some(key) = key_of(kind, &object.0) else { return };
        let object = as_document(kind, version, object.0);
        match is_there {
            true => self.seen.lock().insert(key.clone(), Seen::of(&key, version, &object)),
            false => self.seen.lock().remove(&key),
        };
        self.galley.shared.change(|state| state.take_from_cluster(&key, &self.name, is_there.then_some(&object)));
        self.news.notify_one();
        self.changed.notify_one();
    }
}

fn key_of(kind: Kind, object: &Json) -> Option<ObjectKey> {
    let metadata = &object["metadata"];
    Some(ObjectKey::new(kind, metadata["namespace"].as_str()?, metadata["name"].as_str()?))
}

/// The items of a list do not always say what they are.
fn as_document(kind: Kind, version: &str, mut object: Json) -> Json {
    object["apiVersion"] = format!("{}/{version}", kind.group()).into();
    object["kind"] = kind.as_str().into();
    object
}

impl Seen {
    fn of(key: &ObjectKey, version: &str, object: &Json) -> Self {
        let (group, namespace, plural) = (key.kind.group(), &key.namespace, key.kind.plural());
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        Self {
            collection: format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}"),
            generation: metadata["generation"].as_i64().unwrap_or_default(),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            status: object["status"].clone(),
        }
    }
}
