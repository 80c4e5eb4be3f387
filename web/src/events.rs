//! Changes as they happen, as server-sent events: one stream of all topics for a console, which a browser lets open
//! few connections only.

mod shown;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::Asked;
use crate::feed::{Feed, News, Topic};
use crate::problem::Problem;
use crate::state::State;

const HEARTBEAT: Duration = Duration::from_secs(15);

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// With commas between: `objects`, `services`, `endpoints`, `proxies`, `problems`, `registries`, `telemetry`; all
    /// if not said.
    topics: Option<String>,
    /// Begin after this revision, of a list or of an event (that of a write is the store's, which counts otherwise); `Last-Event-ID` decides where both are there.
    since: Option<u64>,
}

/// All that changes, as it happens: `event` is the topic, `id` the revision, `data` says what changed. A stream begins
/// with `bookmark`; `resync` says that events were lost and everything should be read anew. A token for namespaces is
/// told of what is in them. The stream ends with the token or the session that it was begun with.
#[utoipa::path(get, path = "/events", params(EventQuery, ("last-event-id" = Option<String>, Header)),
    responses((status = 200, description = "A stream that does not end", content_type = "text/event-stream", body = String)))]
async fn events(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(query): Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let topics = match &query.topics {
        None => Topic::ALL.to_vec(),
        Some(words) => words.split(',').map(topic).collect::<Result<Vec<_>, _>>()?,
    };
    let shown = move |news: &News| {
        let data = shown::to(&known, news).filter(|_| topics.contains(&news.topic))?;
        Some(event(news.topic.as_str(), news.revision, &data))
    };
    watch(&state.kept.feed, query.since, &headers, shown)
}

fn topic(word: &str) -> Result<Topic, Problem> {
    let known = || Topic::ALL.map(Topic::as_str).join(", ");
    Topic::named(word.trim())
        .ok_or_else(|| Problem::malformed(format!("there is no topic {word:?}; there are {}", known())))
}

pub fn event(name: &str, revision: u64, data: &Value) -> Event {
    Event::default().event(name).id(revision.to_string()).data(data.to_string())
}

/// A stream of those events that `shown` shows. A revision in `since` that is too old is refused (410); a browser that
/// comes back with such a one in `Last-Event-ID` is told to begin anew.
pub fn watch<F>(
    feed: &Arc<Feed>,
    since: Option<u64>,
    headers: &HeaderMap,
    shown: F,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<F>>, Problem>
where
    F: Fn(&News) -> Option<Event> + Send + 'static,
{
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let resumed = last.map(|id| id.parse().unwrap_or(0));
    let now = feed.revision();
    let mut first = VecDeque::new();
    let at = match (resumed, since) {
        (Some(revision), _) if feed.since(revision).is_ok() => revision,
        (Some(_), _) => {
            first.push_back(event("resync", now, &json!({ "revision": now })));
            now
        }
        (None, Some(revision)) if feed.since(revision).is_ok() => revision,
        (None, Some(revision)) => return Err(gone(revision)),
        (None, None) => now,
    };
    if first.is_empty() {
        first.push_back(event("bookmark", at, &json!({ "revision": at })));
    }
    let reading = Reading { feed: feed.clone(), at, ready: first, shown };
    let stream = stream::unfold(reading, |mut reading| async move {
        let event = reading.next().await?;
        Some((Ok(event), reading))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

pub fn gone(revision: u64) -> Problem {
    Problem::gone(format!("what happened after revision {revision} is not known any more; list again"))
}

struct Reading<F> {
    feed: Arc<Feed>,
    at: u64,
    ready: VecDeque<Event>,
    shown: F,
}

impl<F: Fn(&News) -> Option<Event>> Reading<F> {
    /// The next event; `None` when the server stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if !self.feed.beyond(self.at).await {
                return None;
            }
            match self.feed.since(self.at) {
                Ok(news) => {
                    self.at = news.last().map_or(self.at, |last| last.revision);
                    self.ready.extend(news.iter().filter_map(|news| (self.shown)(news)));
                }
                Err(_) => {
                    self.at = self.feed.revision();
                    self.ready.push_back(event("resync", self.at, &json!({ "revision": self.at })));
                }
            }
        }
    }
}
