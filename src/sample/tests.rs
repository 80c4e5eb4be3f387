//! The services over real sockets: what a caller sees, what the next service gets, and what a failure looks like.

mod fake;

use super::bookinfo::{Options, router};
use super::client::{Client, Proxy};
use super::{productpage, reviews, serve};
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use bytes::Bytes;
use clap::Parser;
use fake::{Upstream, start};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const PATIENT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// The service that a command line starts, calling others without a proxy.
async fn service(arguments: &[&str]) -> Uri {
    let options = Line::parse_from([&["bookinfo"], arguments].concat()).options;
    start(router(&options, Client::new(Proxy::default()))).await
}

async fn get(base: &Uri, path: &str) -> (StatusCode, Bytes) {
    get_as(base, path, HeaderMap::new()).await
}

async fn get_as(base: &Uri, path: &str, headers: HeaderMap) -> (StatusCode, Bytes) {
    let client = Client::new(Proxy::default());
    let answer = client.get(&super::client::join(base, path), headers, PATIENT).await.unwrap();
    (answer.status(), answer.into_body())
}

async fn get_json(base: &Uri, path: &str) -> (StatusCode, Value) {
    let (status, body) = get(base, path).await;
    (status, serde_json::from_slice(&body).unwrap())
}

async fn page(base: &Uri) -> String {
    let (status, body) = get(base, "/productpage").await;
    assert_eq!(status, StatusCode::OK);
    String::from_utf8(body.into()).unwrap()
}

/// Sends bytes and reads the answer until the server closes.
async fn raw(base: &Uri, request: String) -> String {
    let mut stream = TcpStream::connect(base.authority().unwrap().as_str()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn post(base: &Uri, path: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    raw(base, format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")).await
}

fn named(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[tokio::test]
async fn details_answers_as_the_known_sample() {
    let details = service(&["details"]).await;
    let expected = json!({"id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200,
        "publisher": "PublisherA", "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890"});
    assert_eq!(get_json(&details, "/details/0").await, (StatusCode::OK, expected));
    assert_eq!(get_json(&details, "/health").await.1, json!({"status": "Details is healthy"}));
    assert_eq!(get(&details, "/details/x").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn ratings_can_be_replaced() {
    let ratings = service(&["ratings"]).await;
    let initial = json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}});
    assert_eq!(get_json(&ratings, "/ratings/0").await, (StatusCode::OK, initial.clone()));

    let answer = post(&ratings, "/ratings/0", "application/json", r#"{"Reviewer1": 1}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(get_json(&ratings, "/ratings/0").await.1, json!({"id": 0, "ratings": {"Reviewer1": 1}}));
    assert_eq!(get_json(&ratings, "/ratings/1").await.1["ratings"], initial["ratings"]);

    let answer = post(&ratings, "/ratings/0", "application/json", "[]").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("valid ratings JSON"), "{answer}");
}

#[tokio::test]
async fn the_version_of_reviews_shows_in_its_stars() {
    let ratings = service(&["ratings"]).await.to_string();
    for (version, rating) in [
        ("v1", None),
        ("v2", Some(json!({"stars": 5, "color": "black"}))),
        ("v3", Some(json!({"stars": 5, "color": "red"}))),
    ] {
        let reviews = service(&["reviews", "--version", version, "--ratings", &ratings]).await;
        let (status, body) = get_json(&reviews, "/reviews/0").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["id"], "0");
        assert_eq!(body["podname"], format!("reviews-{version}"));
        assert_eq!(body["reviews"][0]["reviewer"], "Reviewer1");
        assert_eq!(body["reviews"][0].get("rating"), rating.as_ref());
        assert_eq!(body["reviews"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn reviews_without_ratings_say_so() {
    let broken = Upstream::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let reviews = service(&["reviews", "--version", "v2", "--ratings", &broken.url.to_string()]).await;
    let (status, body) = get_json(&reviews, "/reviews/0").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["reviews"][1]["rating"], json!({"error": "Ratings service is currently unavailable"}));
}

#[tokio::test]
async fn reviews_give_up_on_silent_ratings() {
    let silent = Upstream::silent().await;
    let reviews = start(reviews::router(reviews::Settings {
        name: "r".into(),
        cluster: "c".into(),
        stars: Some(reviews::Stars { color: "red", timeout: SHORT }),
        ratings: silent.url.clone(),
        client: Client::new(Proxy::default()),
    }))
    .await;
    let (_, body) = get_json(&reviews, "/reviews/0").await;
    assert_eq!(body["reviews"][0]["rating"], json!({"error": "Ratings service is currently unavailable"}));
}

#[test]
fn waits_are_those_that_the_fault_injection_task_counts_on() {
    assert_eq!(reviews::Stars::BLACK.timeout, Duration::from_secs(10));
    assert_eq!(reviews::Stars::RED.timeout, Duration::from_millis(2500));
    assert_eq!(productpage::TIMEOUT, Duration::from_secs(3));
}

#[tokio::test]
async fn the_page_shows_the_book_its_details_and_coloured_stars() {
    let (details, ratings) = (service(&["details"]).await.to_string(), service(&["ratings"]).await.to_string());
    let reviews = service(&["reviews", "--version", "v3", "--ratings", &ratings]).await.to_string();
    let base = service(&["productpage", "--details", &details, "--reviews", &reviews, "--ratings", &ratings]).await;

    let html = page(&base).await;
    for part in [
        "<title>Simple Bookstore App</title>",
        "The Comedy of Errors",
        "William Shakespeare",
        "slapstick humour",
        "5 of 5 stars, red",
        "4 of 5 stars, red",
        "reviews-v3",
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert_eq!(get_json(&base, "/api/v1/products").await.1[0]["title"], "The Comedy of Errors");
    assert_eq!(get_json(&base, "/api/v1/products/0").await.1["pages"], 200);
    assert_eq!(get_json(&base, "/api/v1/products/0/reviews").await.1["podname"], "reviews-v3");
    assert_eq!(get_json(&base, "/api/v1/products/0/ratings").await.1["ratings"]["Reviewer2"], 4);
    assert_eq!(get(&base, "/health").await.0, StatusCode::OK);
    assert_eq!(get(&base, "/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_page_stands_without_its_parts() {
    let broken = Upstream::answering(StatusCode::SERVICE_UNAVAILABLE).await;
    let url = broken.url.to_string();
    let base = service(&["productpage", "--details", &url, "--reviews", &url, "--ratings", &url]).await;
    let html = page(&base).await;
    assert!(html.contains("Error fetching product details!"), "{html}");
    assert!(html.contains("Sorry, product reviews are currently unavailable for this book."), "{html}");

    let (status, body) = get_json(&base, "/api/v1/products/0/ratings").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, json!({"error": "Sorry, product ratings are currently unavailable for this book."}));
}

#[tokio::test]
async fn the_page_asks_silent_reviews_twice() {
    let (mut silent, details) = (Upstream::silent().await, service(&["details"]).await);
    let base = start(productpage::router(productpage::Settings {
        details: details.clone(),
        reviews: silent.url.clone(),
        ratings: details,
        // In which each of the two must reach them.
        timeout: Duration::from_secs(2),
        client: Client::new(Proxy::default()),
    }))
    .await;
    assert_eq!(get(&base, "/api/v1/products/0/reviews").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(silent.seen().len(), 2);
}

#[tokio::test]
async fn user_and_trace_travel_from_the_page_to_ratings() {
    let mut upstream = Upstream::answering(StatusCode::OK).await;
    let url = upstream.url.to_string();
    let reviews = service(&["reviews", "--version", "v2", "--ratings", &url]).await.to_string();
    let base = service(&["productpage", "--details", &url, "--reviews", &reviews]).await;
    let sent = [
        ("x-request-id", "r-1"),
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("b3", "0"),
        ("traceparent", "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-01"),
        ("tracestate", "a=b"),
        ("x-ot-span-context", "s"),
        ("user-agent", "test"),
        ("authorization", "Bearer t"),
        ("cookie", "bookinfo-user=jason"),
    ];
    let mut headers = named(&sent);
    headers.insert("x-private", HeaderValue::from_static("stays here"));
    get_as(&base, "/productpage", headers).await;

    let seen = upstream.seen();
    assert_eq!(seen.len(), 2, "details once, ratings once");
    for request in seen {
        for (name, value) in sent.into_iter().chain([("end-user", "jason")]) {
            assert_eq!(request.headers.get(name).map(HeaderValue::as_bytes), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(request.headers.get("x-private"), None);
    }
}

#[tokio::test]
async fn signing_in_shows_the_name_and_signing_out_forgets_it() {
    let base = service(&["productpage"]).await;
    let answer = post(&base, "/login", "application/x-www-form-urlencoded", "username=jason&passwd=x").await;
    let answer = answer.to_lowercase();
    assert!(
        answer.contains("location: /productpage") && answer.contains("set-cookie: bookinfo-user=jason;"),
        "{answer}"
    );

    let request = "GET /logout HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = raw(&base, request.to_owned()).await.to_lowercase();
    assert!(answer.contains("set-cookie: bookinfo-user=;") && answer.contains("max-age=0"), "{answer}");
}

#[tokio::test]
async fn a_proxy_gets_whole_urls_over_one_connection() {
    let mut proxy = Upstream::answering(StatusCode::OK).await;
    let address = proxy.url.to_string();
    let client = Client::new(Proxy::from_environment(|name| (name == "http_proxy").then(|| address.clone())).unwrap());
    for _ in 0..2 {
        let url = "http://details:9080/details/0".parse().unwrap();
        assert_eq!(client.get(&url, HeaderMap::new(), PATIENT).await.unwrap().status(), StatusCode::OK);
    }
    let seen = proxy.seen();
    for request in &seen {
        assert_eq!(request.url, "http://details:9080/details/0");
        assert_eq!(request.headers["host"], "details:9080");
    }
    assert_eq!(seen[0].peer, seen[1].peer, "the connection is kept");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_stop_signal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (entered, reached) = oneshot::channel();
    let (finish, finished) = oneshot::channel::<()>();
    let held = fake::once(async move {
        entered.send(()).unwrap();
        finished.await.unwrap();
    });
    let server = tokio::spawn(serve::serve(listener, Router::new().fallback(held), async move {
        stopped.await.unwrap();
    }));
    let request = tokio::spawn(async move { get(&base, "/").await.0 });
    reached.await.unwrap();
    stop.send(()).unwrap();
    finish.send(()).unwrap();
    assert_eq!(request.await.unwrap(), StatusCode::OK);
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn traffic_arrives_and_ends_when_told() {
    let mut upstream = Upstream::answering(StatusCode::OK).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let options = super::traffic::Options { url: upstream.url.clone(), rate: 1000.0 };
    let traffic = tokio::spawn(super::traffic::run(options, async move { drop(stopped.await) }));
    for _ in 0..3 {
        upstream.next().await;
    }
    stop.send(()).unwrap();
    traffic.await.unwrap().unwrap();
}
