//! `Idempotency-Key`: a POST that is sent again because its answer was lost is not done again; it gets the same answer.
//!
//! Answers are kept in memory for ten minutes. The same key with another request is refused.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use crate::problem::Problem;
use crate::state::State;

const KEY: &str = "idempotency-key";
const KEPT: Duration = Duration::from_secs(600);
const MOST: usize = 1024;
const LONGEST_KEY: usize = 255;
/// The largest body that any POST takes.
const LARGEST: usize = 10 << 20;

/// Answers by caller and key.
#[derive(Default)]
pub(crate) struct Answered {
    seed: RandomState,
    known: Mutex<HashMap<u64, Known>>,
}

struct Known {
    /// Of the request: another one under the same key is refused.
    print: u64,
    /// `None` while it is being done.
    answer: Option<(axum::http::response::Parts, Bytes)>,
    at: Instant,
}

/// What is known of a key.
enum Found {
    New,
    Busy,
    Other,
    Answer(Response),
}

pub(crate) async fn keep(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let key = request.headers().get(KEY).cloned();
    let (Some(key), true) = (key, request.method() == Method::POST) else { return next.run(request).await };
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Problem::malformed(format!("an Idempotency-Key has 1 to {LONGEST_KEY} characters")).into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        return Problem::too_large("the body is larger than is taken here").into_response();
    };
    let answered = &state.kept.answered;
    let id = answered.seed.hash_one((key.as_bytes(), credential(&parts.headers)));
    let print = answered.seed.hash_one((parts.uri.to_string(), &body));
    match answered.look(id, print) {
        Found::Answer(response) => return response,
        Found::Other => {
            let words = "this Idempotency-Key was used for another request; take a new one";
            return Problem::unprocessable(words).into_response();
        }
        Found::Busy => return Problem::conflict("the request of this Idempotency-Key is being done").into_response(),
        Found::New => {}
    }
    // Whatever becomes of it, the key is not left marked as being done.
    let mut claim = Claim { answered, id, done: false };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let again = response.status().is_server_error() || matches!(response.status().as_u16(), 401 | 403 | 408 | 429);
    if again {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return Problem::internal("the answer cannot be read").into_response();
    };
    answered.answer(id, parts.clone(), body.clone());
    claim.done = true;
    Response::from_parts(parts, Body::from(body))
}

struct Claim<'a> {
    answered: &'a Answered,
    id: u64,
    done: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.answered.known.lock().remove(&self.id);
        }
    }
}

fn credential(headers: &HeaderMap) -> &[u8] {
    let presented = headers.get(header::AUTHORIZATION).or_else(|| headers.get(header::COOKIE));
    presented.map_or(b"", |value| value.as_bytes())
}

impl Answered {
    /// What is known of a key; a new one is marked as being done.
    fn look(&self, id: u64, print: u64) -> Found {
        let mut known = self.known.lock();
        let now = Instant::now();
        known.retain(|_, known| now.saturating_duration_since(known.at) < KEPT);
        match known.get(&id) {
            Some(known) if known.print != print => Found::Other,
            Some(Known { answer: None, .. }) => Found::Busy,
            Some(Known { answer: Some((parts, body)), .. }) => {
                Found::Answer(Response::from_parts(parts.clone(), Body::from(body.clone())))
            }
            None => {
                if known.len() >= MOST
                    && let Some(oldest) = known.iter().min_by_key(|(_, known)| known.at).map(|(id, _)| *id)
                {
                    known.remove(&oldest);
                }
                known.insert(id, Known { print, answer: None, at: now });
                Found::New
            }
        }
    }

    fn answer(&self, id: u64, parts: axum::http::response::Parts, body: Bytes) {
        if let Some(known) = self.known.lock().get_mut(&id) {
            known.answer = Some((parts, body));
        }
    }
}
