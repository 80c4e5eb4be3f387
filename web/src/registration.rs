//! The HTTP API of lyft/discovery, on a listener of its own: hosts check in, and whoever balances load over them reads
//! the list. Envoy's first service discovery was written against it.
//!
//! Valid calls are answered as the API is described. What there is besides: lists have an entity tag and can be
//! watched; a JSON object is taken in the place of an HTML form, where `tags` may be an object and `ip` an IPv6 address;
//! and where a call names an address with a port, the address may have a host on each of several.

mod fields;
mod page;
mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, RawQuery, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use registry::{CheckIn, Discovery, Place, Refused};
use runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::etag;
use crate::listen::Peer;
use crate::problem::Problem;
use crate::serve::serve_on;
use crate::tls::{ApiTls, TlsListener};
use fields::Fields;

/// The hosts, and who may speak of them. Cloning shares.
#[derive(Clone)]
pub struct CheckIns {
    hosts: Discovery,
    environment: Arc<str>,
    /// The hash of what callers have to send, where anything is asked for.
    token: Option<Arc<str>>,
    /// Ends what is watched.
    shutdown: Shutdown,
}

impl CheckIns {
    /// `environment` is the word that lists are marked with.
    pub fn new(hosts: Discovery, environment: &str, token: Option<&str>, shutdown: Shutdown) -> Self {
        let token = token.map(|token| citadel::sha256(token.as_bytes()).into());
        Self { hosts, environment: environment.into(), token, shutdown }
    }

    /// Hashes are compared, so the time that it takes tells nothing of the token.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let sent = || headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ");
        self.token
            .as_deref()
            .is_none_or(|kept| sent().is_some_and(|sent| citadel::sha256(sent.trim().as_bytes()) == kept))
    }
}

/// Serves the API until drained.
pub async fn serve_registration(listener: TcpListener, tls: Option<ApiTls>, check_ins: CheckIns) -> io::Result<()> {
    let shutdown = check_ins.shutdown.clone();
    let (router, draining) = (router(check_ins), async move { shutdown.draining().await });
    match tls {
        None => serve_on(Ok(listener), router, draining).await,
        Some(tls) => serve_on(TlsListener::new(listener, &tls), router, draining).await,
    }
}

async fn require(Shared(state): Shared<CheckIns>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/healthcheck" || state.admits(request.headers()) {
        return next.run(request).await;
    }
    let words = "send the token that the control plane was given with --registration-token-file as \
                 `authorization: Bearer TOKEN`";
    Problem::unauthorized(words).into_response()
}

fn router(state: CheckIns) -> Router {
    Router::new()
        .route("/v1/registration/{service}", get(list).post(check_in))
        .route("/v1/registration/{service}/{address}", post(check_in_at).delete(remove))
        // A service may be called `repo`: its hosts come and go all the same.
        .route("/v1/registration/repo/{name}", get(list_repository).post(check_in_at_repo).delete(remove_of_repo))
        .route("/v1/loadbalancing/{service}", post(weigh_all))
        .route("/v1/loadbalancing/{service}/{address}", post(weigh_one))
        .route("/healthcheck", get(|| async { "OK" }))
        .fallback(|| async { Problem::not_found("there are /v1/registration, /v1/loadbalancing and /healthcheck") })
        .method_not_allowed_fallback(|| async { Problem::method() })
        .layer(middleware::from_fn(etag::answer))
        .layer(middleware::from_fn_with_state(state.clone(), require))
        .with_state(state)
}

async fn list(state: Shared<CheckIns>, Path(service): Path<String>, query: RawQuery) -> Result<Response, Problem> {
    show(state, page::Asked::Service(service), query).await
}

async fn list_repository(
    state: Shared<CheckIns>,
    Path(name): Path<String>,
    query: RawQuery,
) -> Result<Response, Problem> {
    show(state, page::Asked::Repository(name), query).await
}

async fn show(
    Shared(state): Shared<CheckIns>,
    asked: page::Asked,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let hosts = asked.hosts(&state.hosts).await.map_err(Problem::internal)?;
    if watch::is_asked_for(query.as_deref().unwrap_or_default()) {
        return Ok(watch::stream(state, asked, hosts));
    }
    Ok(Json(asked.page(&state.environment, &hosts)).into_response())
}

async fn check_in(
    Shared(state): Shared<CheckIns>,
    Path(service): Path<String>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let address = match fields.text("ip") {
        Some(ip) => fields.address(&ip),
        None if fields.text("auto_ip").is_some() => caller(&headers, peer),
        None => None,
    };
    let port = fields.text("port").and_then(|port| port.trim().parse().ok());
    said(&state.hosts, &service, address.zip(port), false, &fields).await
}

/// A host that is known by its port too: `ip` and `port` stand in the path, and need not be said again.
async fn check_in_at(
    Shared(state): Shared<CheckIns>,
    Path((service, place)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, Problem> {
    let at = place.parse::<SocketAddr>().ok().map(|at| (at.ip(), at.port()));
    let agrees = |name: &str, value: String| fields.text(name).is_none_or(|said| said.trim() == value);
    let at = at.filter(|(ip, port)| agrees("ip", ip.to_string()) && agrees("port", port.to_string()));
    said(&state.hosts, &service, at, true, &fields).await
}

async fn check_in_at_repo(
    state: Shared<CheckIns>,
    Path(place): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    check_in_at(state, Path(("repo".into(), place)), fields).await
}

/// `at` is nothing where what was said of it was wrong.
async fn said(
    hosts: &Discovery,
    service: &str,
    at: Option<(IpAddr, u16)>,
    by_port: bool,
    fields: &Fields,
) -> Result<Response, Problem> {
    let Some(tags) = fields.tags() else {
        return Ok(answer(StatusCode::BAD_REQUEST, json!({ "error": "Invalid json supplied in tags" })));
    };
    let (Some((address, port)), Some(revision), Value::Object(tags)) = (at, fields.text("revision"), tags) else {
        return Ok(answer(StatusCode::BAD_REQUEST, json!({})));
    };
    let repository = fields.text("service_repo_name").unwrap_or_default();
    done(hosts.check_in(service, CheckIn { address, port, by_port, repository, revision, tags }).await)
}

async fn remove(state: Shared<CheckIns>, Path((service, place)): Path<(String, String)>) -> Result<Response, Problem> {
    match place.parse() {
        Ok(place) => done(state.hosts.remove(&service, place).await),
        Err(_) => Ok(answer(StatusCode::BAD_REQUEST, json!({}))),
    }
}

async fn remove_of_repo(state: Shared<CheckIns>, Path(place): Path<String>) -> Result<Response, Problem> {
    remove(state, Path(("repo".into(), place))).await
}

async fn weigh_all(state: Shared<CheckIns>, Path(service): Path<String>, fields: Fields) -> Result<Response, Problem> {
    weigh(&state.hosts, &service, None, &fields).await
}

async fn weigh_one(
    state: Shared<CheckIns>,
    Path((service, place)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, Problem> {
    weigh(&state.hosts, &service, Some(&place), &fields).await
}

async fn weigh(hosts: &Discovery, service: &str, place: Option<&str>, fields: &Fields) -> Result<Response, Problem> {
    let error = |status, text: &str| Ok(answer(status, json!({ "error": text })));
    let Some(weight) = fields.text("load_balancing_weight") else {
        return error(StatusCode::BAD_REQUEST, "Required parameter 'weight' is missing.");
    };
    let Some(weight) = weight.trim().parse().ok().filter(|weight| (1..=100).contains(weight)) else {
        let text = "Invalid load_balancing_weight. Supply an integer between 1 and 100.";
        return error(StatusCode::BAD_REQUEST, text);
    };
    let unknown = || error(StatusCode::NOT_FOUND, "Host not found");
    let place = match place.map(str::parse::<Place>).transpose() {
        Ok(place) => place,
        Err(_) => return unknown(),
    };
    match hosts.set_weight(service, place, weight).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(Refused::Unknown { .. }) => unknown(),
        Err(failed) => Err(Problem::internal(failed)),
    }
}

/// A host that asks to be known by the address it calls from: the last that a proxy in front of us names, else the
/// peer's. Only private addresses of 192.168.0.0/16 are believed.
fn caller(headers: &HeaderMap, peer: SocketAddr) -> Option<IpAddr> {
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let address = match forwarded {
        Some(value) => value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()?,
        None => peer.ip(),
    };
    matches!(address, IpAddr::V4(v4) if v4.octets()[..2] == [192, 168] && v4 != Ipv4Addr::UNSPECIFIED)
        .then_some(address)
}

fn done(outcome: Result<(), Refused>) -> Result<Response, Problem> {
    match outcome {
        Ok(()) => Ok(answer(StatusCode::OK, json!({}))),
        Err(Refused::Store(failed)) => Err(Problem::internal(failed)),
        Err(Refused::Invalid(_) | Refused::Unknown { .. }) => Ok(answer(StatusCode::BAD_REQUEST, json!({}))),
    }
}

fn answer(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests;
