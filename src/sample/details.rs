//! The details service: what is printed on the imprint page of the book.

use super::serve;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

#[derive(Serialize)]
struct Details {
    id: u64,
    author: &'static str,
    year: u16,
    r#type: &'static str,
    pages: u16,
    publisher: &'static str,
    language: &'static str,
    #[serde(rename = "ISBN-10")]
    isbn_10: &'static str,
    #[serde(rename = "ISBN-13")]
    isbn_13: &'static str,
}

/// `/details/{id}` and `/health`.
pub fn router() -> Router {
    Router::new().route("/health", get(|| serve::health("Details is healthy"))).route("/details/{id}", get(details))
}

async fn details(Path(id): Path<String>) -> Response {
    match id.parse() {
        Ok(id) => Json(book(id)).into_response(),
        Err(_) => serve::error(StatusCode::BAD_REQUEST, "please provide numeric product id"),
    }
}

fn book(id: u64) -> Details {
    Details {
        id,
        author: "William Shakespeare",
        year: 1595,
        r#type: "paperback",
        pages: 200,
        publisher: "PublisherA",
        language: "English",
        isbn_10: "1234567890",
        isbn_13: "123-1234567890",
    }
}
