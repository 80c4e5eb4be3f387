//! The page at `/`.

use axum::response::Html;

pub async fn page() -> Html<&'static str> {
    Html(include_str!("landing.html"))
}
