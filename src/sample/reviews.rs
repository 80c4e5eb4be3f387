//! The reviews service: two reviews, with stars from the ratings service in every version but the first.

use super::client::{self, Client};
use super::{forward, serve};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const REVIEWS: [(&str, &str); 2] = [
    ("Reviewer1", "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"),
    (
        "Reviewer2",
        "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
    ),
];

/// What one instance shows, and where it asks for stars.
pub struct Settings {
    pub name: String,
    pub cluster: String,
    /// `None`: this version shows no stars and does not call the ratings service.
    pub stars: Option<Stars>,
    pub ratings: Uri,
    pub client: Client,
}

/// How a version shows stars, and how long it waits for them.
#[derive(Debug, Clone, Copy)]
pub struct Stars {
    pub color: &'static str,
    pub timeout: Duration,
}

impl Stars {
    /// Version v2; its patience is longer than productpage's, which is what a delay fault brings to light.
    pub const BLACK: Self = Self { color: "black", timeout: Duration::from_secs(10) };
    /// Version v3.
    pub const RED: Self = Self { color: "red", timeout: Duration::from_millis(2500) };
}

#[derive(Serialize)]
struct Page<'a> {
    id: String,
    podname: &'a str,
    clustername: &'a str,
    reviews: Vec<Review>,
}

#[derive(Serialize)]
struct Review {
    reviewer: &'static str,
    text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<Rating>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Rating {
    Known { stars: i64, color: &'static str },
    Unknown { error: &'static str },
}

#[derive(Deserialize)]
struct Answer {
    ratings: BTreeMap<String, i64>,
}

/// `/reviews/{id}` and `/health`.
pub fn router(settings: Settings) -> Router {
    Router::new()
        .route("/health", get(|| serve::health("Reviews is healthy")))
        .route("/reviews/{id}", get(reviews))
        .with_state(Arc::new(settings))
}

async fn reviews(Path(id): Path<String>, State(settings): State<Arc<Settings>>, headers: HeaderMap) -> Response {
    let Ok(id) = id.parse::<u64>() else {
        return serve::error(StatusCode::BAD_REQUEST, "please provide numeric product ID");
    };
    let shown = match settings.stars {
        None => None,
        Some(stars) => Some((stars.color, ratings(&settings, stars.timeout, id, &headers).await)),
    };
    let reviews = REVIEWS.map(|(reviewer, text)| Review {
        reviewer,
        text,
        rating: shown.as_ref().map(|(color, ratings)| rating(color, ratings.as_ref(), reviewer)),
    });
    Json(Page { id: id.to_string(), podname: &settings.name, clustername: &settings.cluster, reviews: reviews.into() })
        .into_response()
}

fn rating(color: &'static str, ratings: Option<&BTreeMap<String, i64>>, reviewer: &str) -> Rating {
    match ratings.and_then(|ratings| ratings.get(reviewer)) {
        Some(&stars) => Rating::Known { stars, color },
        None => Rating::Unknown { error: "Ratings service is currently unavailable" },
    }
}

/// The stars by reviewer; `None`, with a line on stderr, when the ratings service has no good answer.
async fn ratings(
    settings: &Settings,
    timeout: Duration,
    id: u64,
    headers: &HeaderMap,
) -> Option<BTreeMap<String, i64>> {
    let url = client::join(&settings.ratings, &format!("/ratings/{id}"));
    let answer = settings.client.get(&url, forward::propagated(headers), timeout).await;
    let problem = match answer {
        Ok(answer) if answer.status() == StatusCode::OK => match serde_json::from_slice::<Answer>(answer.body()) {
            Ok(answer) => return Some(answer.ratings),
            Err(error) => error.to_string(),
        },
        Ok(answer) => answer.status().to_string(),
        Err(error) => error.to_string(),
    };
    eprintln!("reviews: no stars from {url}: {problem}");
    None
}
