//! The ratings service: stars by reviewer, replaceable by POST for as long as the process lives.

use super::serve;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many products may have ratings of their own, so that a loop of POSTs cannot eat the memory.
const MAX_PRODUCTS: usize = 1000;

type Stars = BTreeMap<String, i64>;
type Added = Arc<Mutex<BTreeMap<u64, Stars>>>;

#[derive(Serialize)]
struct Ratings {
    id: u64,
    ratings: Stars,
}

/// `/ratings/{id}` and `/health`.
pub fn router() -> Router {
    Router::new()
        .route("/health", get(|| serve::health("Ratings is healthy")))
        .route("/ratings/{id}", get(read).post(replace))
        .with_state(Added::default())
}

async fn read(Path(id): Path<String>, State(added): State<Added>) -> Response {
    let Ok(id) = id.parse() else { return not_numeric() };
    let added = added.lock().unwrap_or_else(PoisonError::into_inner);
    let ratings = added.get(&id).cloned().unwrap_or_else(initial);
    Json(Ratings { id, ratings }).into_response()
}

async fn replace(Path(id): Path<String>, State(added): State<Added>, body: Bytes) -> Response {
    let Ok(id) = id.parse() else { return not_numeric() };
    let Ok(ratings) = serde_json::from_slice::<Stars>(&body) else {
        return serve::error(StatusCode::BAD_REQUEST, "please provide valid ratings JSON");
    };
    let mut added = added.lock().unwrap_or_else(PoisonError::into_inner);
    if added.len() >= MAX_PRODUCTS && !added.contains_key(&id) {
        return serve::error(StatusCode::INSUFFICIENT_STORAGE, "too many products have ratings already");
    }
    added.insert(id, ratings.clone());
    Json(Ratings { id, ratings }).into_response()
}

fn initial() -> Stars {
    BTreeMap::from([("Reviewer1".to_owned(), 5), ("Reviewer2".to_owned(), 4)])
}

fn not_numeric() -> Response {
    serve::error(StatusCode::BAD_REQUEST, "please provide numeric product ID")
}
