//! Graphs as they were sent a moment ago: a large one takes its time to make, and everybody who looks at the mesh asks
//! for the same. Proxies report every few seconds, so that one of a second ago is as good as a new one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use mixer::{Graph, GraphQuery};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::problem::Problem;

/// How old an answer may be.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How many are kept.
const MOST: usize = 16;

/// What is asked for, and to which namespaces the one who asks is kept.
pub type Wish = (GraphQuery, Vec<String>);

#[derive(Default)]
pub struct Drawn(Mutex<HashMap<Wish, Arc<Mutex<Option<Kept>>>>>);

#[derive(Clone)]
struct Kept {
    at: Instant,
    body: Bytes,
    tag: String,
}

impl Drawn {
    /// The graph that is asked for. Of several who ask at the same time one has it made, and the others wait for that.
    pub async fn answer(
        &self,
        wish: Wish,
        make: impl FnOnce(&GraphQuery, &[String]) -> Graph + Send + 'static,
    ) -> Result<Response, Problem> {
        let place = self.place(&wish).await;
        let mut place = place.lock().await;
        let kept = match place.clone().filter(|kept| kept.at.elapsed() < GOOD_FOR) {
            Some(kept) => kept,
            None => {
                let at = Instant::now();
                let body = tokio::task::spawn_blocking(move || serde_json::to_vec(&make(&wish.0, &wish.1))).await;
                let body: Bytes = body.map_err(Problem::internal)?.map_err(Problem::internal)?.into();
                let mut hasher = DefaultHasher::new();
                hasher.write(&body);
                place.insert(Kept { at, tag: format!("\"c{:016x}\"", hasher.finish()), body }).clone()
            }
        };
        Ok(([(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, kept.tag)], kept.body)
            .into_response())
    }

    async fn place(&self, wish: &Wish) -> Arc<Mutex<Option<Kept>>> {
        let mut places = self.0.lock().await;
        if !places.contains_key(wish) && places.len() >= MOST {
            // One that is being made is in use, and is not kept for the next who asks.
            let is_good = |place: &Arc<Mutex<Option<Kept>>>| {
                place.try_lock().is_ok_and(|kept| kept.as_ref().is_some_and(|kept| kept.at.elapsed() < GOOD_FOR))
            };
            places.retain(|_, place| is_good(place));
            if places.len() >= MOST {
                places.clear();
            }
        }
        Arc::clone(places.entry(wish.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn graph(made: &AtomicUsize) -> Graph {
        made.fetch_add(1, Ordering::Relaxed);
        Graph { at: 1, window_seconds: 60, nodes: Vec::new(), edges: Vec::new(), reporting: Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_graph_is_made_once_for_all_who_ask_within_a_moment() {
        let (drawn, made) = (Drawn::default(), Arc::new(AtomicUsize::new(0)));
        let ask = |window_seconds| {
            let made = Arc::clone(&made);
            let query = GraphQuery { window_seconds, ..GraphQuery::default() };
            drawn.answer((query, Vec::new()), move |_, _| graph(&made))
        };
        let (first, second) = tokio::join!(ask(60), ask(60));
        assert_eq!((first.unwrap().headers(), made.load(Ordering::Relaxed)), (second.unwrap().headers(), 1));
        for window in 61..200 {
            ask(window).await.unwrap();
        }
        assert!(drawn.0.lock().await.len() <= MOST);
    }
}
