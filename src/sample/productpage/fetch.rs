//! The calls behind the page, and what stands in for an answer that did not come.

use super::Settings;
use crate::sample::client;
use axum::http::{HeaderMap, StatusCode, Uri};
use bytes::Bytes;

/// A JSON body, or why there is none.
pub type Fetched = Result<Bytes, Missing>;

/// What to show in place of a part: the upstream's status (500 when it gave none), and a sentence for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub status: StatusCode,
    pub message: &'static str,
}

/// Asks details once.
pub async fn details(settings: &Settings, id: u64, headers: HeaderMap) -> Fetched {
    let message = "Sorry, product details are currently unavailable for this book.";
    ask(settings, &client::join(&settings.details, &format!("/details/{id}")), headers, message).await
}

/// Asks reviews, and once more if that fails: two timeouts in all, shorter than reviews' own wait for ratings.
pub async fn reviews(settings: &Settings, id: u64, headers: HeaderMap) -> Fetched {
    let message = "Sorry, product reviews are currently unavailable for this book.";
    let url = client::join(&settings.reviews, &format!("/reviews/{id}"));
    match ask(settings, &url, headers.clone(), message).await {
        Ok(body) => Ok(body),
        Err(_) => ask(settings, &url, headers, message).await,
    }
}

/// Asks ratings once.
pub async fn ratings(settings: &Settings, id: u64, headers: HeaderMap) -> Fetched {
    let message = "Sorry, product ratings are currently unavailable for this book.";
    ask(settings, &client::join(&settings.ratings, &format!("/ratings/{id}")), headers, message).await
}

async fn ask(settings: &Settings, url: &Uri, headers: HeaderMap, message: &'static str) -> Fetched {
    let (status, problem) = match settings.client.get(url, headers, settings.timeout).await {
        Ok(answer) if answer.status() == StatusCode::OK => return Ok(answer.into_body()),
        Ok(answer) => (answer.status(), answer.status().to_string()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    eprintln!("productpage: nothing from {url}: {problem}");
    Err(Missing { status, message })
}
