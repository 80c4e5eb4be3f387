//! The product page service: the page itself, the same data as JSON, and a sign-in that is only a name.

mod fetch;
mod page;
mod session;

use super::client::Client;
use super::serve;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use fetch::Fetched;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long one call to details, reviews or ratings may take; reviews is asked twice.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// Where the page gets its parts.
pub struct Settings {
    pub details: Uri,
    pub reviews: Uri,
    pub ratings: Uri,
    pub timeout: Duration,
    pub client: Client,
}

#[derive(Serialize)]
struct Product {
    id: u64,
    title: &'static str,
    #[serde(rename = "descriptionHtml")]
    description: &'static str,
}

const PRODUCT: Product = Product {
    id: 0,
    title: "The Comedy of Errors",
    description: "Two pairs of twins, parted by a shipwreck as infants, end up in the same town on the same day \
                  without knowing it. Masters scold the wrong servants, a wife locks out the wrong husband, a gold \
                  chain goes to the wrong neck. One of Shakespeare&#39;s earliest plays, and his shortest.",
};

/// All routes of the service.
pub fn router(settings: Settings) -> Router {
    Router::new()
        .route("/", get(async || Html(page::index())))
        .route("/index.html", get(async || Html(page::index())))
        .route("/health", get(async || "Product page is healthy"))
        .route("/productpage", get(product_page))
        .route("/login", get(async || Redirect::to("/productpage")).post(login))
        .route("/logout", get(logout).post(logout))
        .route("/api/v1/products", get(async || Json([PRODUCT])))
        .route("/api/v1/products/{id}", get(details))
        .route("/api/v1/products/{id}/reviews", get(reviews))
        .route("/api/v1/products/{id}/ratings", get(ratings))
        .with_state(Arc::new(settings))
}

async fn product_page(State(settings): State<Arc<Settings>>, headers: HeaderMap) -> Html<String> {
    let passed = session::passed_on(&headers);
    let (details, reviews) = tokio::join!(
        fetch::details(&settings, PRODUCT.id, passed.clone()),
        fetch::reviews(&settings, PRODUCT.id, passed)
    );
    Html(page::product(&PRODUCT, session::user(&headers).as_deref(), &details, &reviews))
}

async fn details(id: Path<String>, state: State<Arc<Settings>>, headers: HeaderMap) -> Response {
    let Ok(id) = id.parse() else { return not_numeric() };
    answer(fetch::details(&state, id, session::passed_on(&headers)).await)
}

async fn reviews(id: Path<String>, state: State<Arc<Settings>>, headers: HeaderMap) -> Response {
    let Ok(id) = id.parse() else { return not_numeric() };
    answer(fetch::reviews(&state, id, session::passed_on(&headers)).await)
}

async fn ratings(id: Path<String>, state: State<Arc<Settings>>, headers: HeaderMap) -> Response {
    let Ok(id) = id.parse() else { return not_numeric() };
    answer(fetch::ratings(&state, id, session::passed_on(&headers)).await)
}

fn answer(fetched: Fetched) -> Response {
    match fetched {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(missing) => serve::error(missing.status, missing.message),
    }
}

fn not_numeric() -> Response {
    serve::error(StatusCode::BAD_REQUEST, "please provide numeric product ID")
}

#[derive(Deserialize)]
struct Login {
    #[serde(default)]
    username: String,
}

async fn login(Form(login): Form<Login>) -> Response {
    ([(header::SET_COOKIE, session::open(login.username.trim()))], Redirect::to("/productpage")).into_response()
}

async fn logout() -> Response {
    ([(header::SET_COOKIE, session::CLOSE)], Redirect::to("/productpage")).into_response()
}
