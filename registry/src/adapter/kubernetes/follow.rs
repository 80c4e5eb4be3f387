//! Follows one collection of an API server: the whole list, then every change, across everything that can go wrong
//! (Kubernetes, "Efficient detection of changes").
//!
//! A watch that breaks goes on where it was. When the server no longer knows that place (410 Gone) everything is
//! listed anew, and only a list that is complete says what is gone.

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use kube::Error;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use runtime::Backoff;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Cluster;

/// What is followed.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'a> {
    /// `/api/v1/services`
    pub path: &'a str,
    pub field_selector: Option<&'a str>,
    /// Asks for metadata alone (PartialObjectMetadata), where the rest is large and of no use.
    pub metadata_only: bool,
}

impl<'a> Collection<'a> {
    /// All of a collection.
    pub const fn whole(path: &'a str) -> Self {
        Self { path, field_selector: None, metadata_only: false }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All that there is; what is not in it is gone.
    All(Vec<T>),
    Set(T),
    Gone(T),
    /// The server is followed from here on; told when the first watch stands, and after each `Lost`.
    InStep,
    /// Out of reach for this reason. What was told stays true as far as anyone knows.
    Lost(String),
    /// The server has no such collection. It is looked for again.
    Missing,
}

/// An object that has a version.
pub trait Versioned {
    fn resource_version(&self) -> &str;
}

/// How often is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first wait after a failure; it doubles up to `longest`.
    pub first: Duration,
    pub longest: Duration,
    /// When to look again for a collection that is missing.
    pub missing: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(10), missing: Duration::from_secs(15) }
    }
}

/// Objects in one answer to a list.
const PAGE: u32 = 500;
/// How long a list may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// When the server ends a watch by itself; a watch silent for longer is dead.
const WATCH: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(65);
/// How long a watch that is taken up after a loss must stand: that its place is forgotten is said within it, not before.
const STANDING: Duration = Duration::from_millis(300);

/// How a watch ended.
enum Ended {
    /// To be taken up again where it was.
    Broken,
    /// The server does not know that place any more.
    Expired,
    Failed(String),
    /// Nobody listens.
    Unwanted,
}

/// Nobody listens.
struct Unwanted;

/// Follows until nobody listens.
pub async fn follow<T>(cluster: Cluster, collection: Collection<'_>, pace: Pace, tell: mpsc::Sender<Change<T>>)
where
    T: Versioned + Clone + DeserializeOwned + Send + 'static,
{
    let backoff = Backoff::new(pace.first, pace.longest);
    let mut following = Following { cluster, collection, pace, tell, backoff, in_step: false, fresh: false };
    // Ends with the channel.
    let Unwanted = following.run().await;
}

struct Following<'a, T> {
    cluster: Cluster,
    collection: Collection<'a>,
    pace: Pace,
    tell: mpsc::Sender<Change<T>>,
    backoff: Backoff,
    in_step: bool,
    /// Nothing was missed since the last list.
    fresh: bool,
}

impl<T> Following<'_, T>
where
    T: Versioned + Clone + DeserializeOwned + Send + 'static,
{
    async fn run(&mut self) -> Unwanted {
        loop {
            let done = match self.list().await {
                Ok((objects, version)) => self.listed(objects, version).await,
                Err(Error::Api(status)) if status.code == 404 => self.missing().await,
                Err(error) => self.lost(reason(&error)).await,
            };
            if let Err(unwanted) = done {
                return unwanted;
            }
        }
    }

    async fn tell(&self, change: Change<T>) -> Result<(), Unwanted> {
        self.tell.send(change).await.map_err(|_| Unwanted)
    }

    async fn lost(&mut self, why: String) -> Result<(), Unwanted> {
        (self.in_step, self.fresh) = (false, false);
        self.tell(Change::Lost(why)).await?;
        tokio::time::sleep(self.backoff.failed()).await;
        Ok(())
    }

    async fn missing(&mut self) -> Result<(), Unwanted> {
        self.in_step = false;
        self.tell(Change::Missing).await?;
        tokio::time::sleep(self.pace.missing).await;
        Ok(())
    }

    /// Everything there is, page by page, and the version from which changes follow. A list that becomes too old
    /// between its pages is begun anew in one piece.
    async fn list(&self) -> Result<(Vec<T>, String), Error> {
        match self.list_by(Some(PAGE)).await {
            Err(Error::Api(status)) if status.code == 410 => self.list_by(None).await,
            listed => listed,
        }
    }

    async fn list_by(&self, limit: Option<u32>) -> Result<(Vec<T>, String), Error> {
        let field_selector = self.collection.field_selector.map(str::to_owned);
        let mut params = ListParams { field_selector, limit, ..ListParams::default() };
        let mut objects = Vec::new();
        loop {
            let request = Request::new(self.collection.path);
            let request =
                if self.collection.metadata_only { request.list_metadata(&params) } else { request.list(&params) };
            let request = request.map_err(Error::BuildRequest)?;
            let page = timeout(PATIENCE, self.cluster.client.request::<Page<T>>(request)).await;
            let page = page.map_err(|_| no_answer("list"))??;
            objects.extend(page.items);
            match page.metadata.next {
                Some(next) if !next.is_empty() => params.continue_token = Some(next),
                _ => return Ok((objects, page.metadata.resource_version)),
            }
        }
    }

    /// Follows from a list until it has to be made anew.
    async fn listed(&mut self, objects: Vec<T>, mut version: String) -> Result<(), Unwanted> {
        self.tell(Change::All(objects)).await?;
        self.fresh = true;
        loop {
            let (before, begun) = (version.clone(), Instant::now());
            match self.watch(&mut version).await {
                Ended::Unwanted => return Err(Unwanted),
                Ended::Expired => return Ok(()),
                Ended::Failed(why) => self.lost(why).await?,
                // Goes on at once if it got anywhere, so that a server that only ever hangs up is not overrun. One that
                // stood for a while is no such server.
                Ended::Broken if before == version => {
                    if begun.elapsed() >= self.pace.first {
                        self.backoff.reset();
                    }
                    tokio::time::sleep(self.backoff.failed()).await;
                }
                Ended::Broken => {}
            }
        }
    }

    async fn watch(&mut self, version: &mut String) -> Ended {
        let stream = match self.begin_watch(version).await {
            Ok(stream) => stream,
            // What is not there any more shows in the list.
            Err(Error::Api(status)) if matches!(status.code, 404 | 410) => return Ended::Expired,
            Err(error) => return Ended::Failed(reason(&error)),
        };
        let mut stream = pin!(stream);
        loop {
            let patience = if self.in_step {
                SILENCE
            } else if self.fresh {
                Duration::ZERO
            } else {
                STANDING
            };
            let event = tokio::select! {
                event = timeout(patience, stream.try_next()) => event,
                () = self.tell.closed() => return Ended::Unwanted,
            };
            let is_good =
                matches!(event, Err(_) | Ok(Ok(Some(_)))) && !matches!(event, Ok(Ok(Some(WatchEvent::Error(_)))));
            if !self.in_step && is_good {
                (self.in_step, self.fresh) = (true, false);
                if self.tell(Change::InStep).await.is_err() {
                    return Ended::Unwanted;
                }
                if event.is_err() {
                    continue;
                }
            }
            let change = match event {
                Ok(Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => Change::Set(object),
                Ok(Ok(Some(WatchEvent::Deleted(object)))) => Change::Gone(object),
                Ok(Ok(Some(WatchEvent::Bookmark(bookmark)))) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                Ok(Ok(Some(WatchEvent::Error(status)))) if status.code == 410 => return Ended::Expired,
                Ok(Ok(Some(WatchEvent::Error(status)))) => return Ended::Failed(status.message),
                Ok(Err(Error::Api(status))) if status.code == 410 => return Ended::Expired,
                Ok(Err(error)) => {
                    tracing::debug!(cluster = self.cluster.name(), path = self.collection.path, "watch broke: {error}");
                    return Ended::Broken;
                }
                Ok(Ok(None)) | Err(_) => return Ended::Broken,
            };
            if let Change::Set(object) | Change::Gone(object) = &change {
                object.resource_version().clone_into(version);
            }
            self.backoff.reset();
            if self.tell(change).await.is_err() {
                return Ended::Unwanted;
            }
        }
    }

    async fn begin_watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, Error>> + use<T>, Error> {
        let params = WatchParams {
            field_selector: self.collection.field_selector.map(str::to_owned),
            timeout: Some(WATCH.as_secs() as u32),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(self.collection.path);
        let request = match self.collection.metadata_only {
            true => request.watch_metadata(&params, version),
            false => request.watch(&params, version),
        };
        let request = request.map_err(Error::BuildRequest)?;
        let events = timeout(PATIENCE, self.cluster.client.request_events::<T>(request)).await;
        events.map_err(|_| no_answer("watch"))?
    }
}

/// An answer to a list.
#[derive(Deserialize)]
struct Page<T> {
    metadata: PageMeta,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

fn no_answer(verb: &str) -> Error {
    Error::Service(format!("no answer to a {verb} within {} s", PATIENCE.as_secs()).into())
}

/// An error in an operator's words, down to its first cause, which is the one that helps.
pub(super) fn reason(error: &Error) -> String {
    if let Error::Api(status) = error {
        return format!("the API server refuses: {}", status.message);
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
