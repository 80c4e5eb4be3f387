//! Live requests, as server-sent events, for as long as somebody looks.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, stream};
use mixer::{TapQuery, TapStream};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::Asked;
use crate::graph::known_node;
use crate::problem::Problem;
use crate::state::State;

const HEARTBEAT: Duration = Duration::from_secs(15);
const PER_SECOND: u32 = 10;
const MOST_A_SECOND: u32 = 50;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(tap))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wish {
    /// Requests that this proxy carries: its id, or the name of its workload.
    proxy: Option<String>,
    /// Requests from this node of the graph.
    source: Option<String>,
    /// Requests to this node of the graph.
    destination: Option<String>,
    /// Conditions with commas between them: `method=GET, path=/api/*, status=5xx, header.x-user=alice`.
    #[serde(rename = "match")]
    #[param(rename = "match")]
    matches: Option<String>,
    /// At most so many requests a second: 1 to 50, 10 if not said.
    rate: Option<u32>,
}

/// Requests as they end, each an event `request`, headers without what is secret. Nothing is kept of them. A token for
/// namespaces is shown what their proxies carry.
#[utoipa::path(get, path = "/tap", params(Wish),
    responses((status = 200, description = "A stream that does not end", content_type = "text/event-stream", body = String)))]
async fn tap(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(wish): Asked<Wish>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let matches = wish.matches.unwrap_or_default().parse().map_err(Problem::malformed)?;
    let per_second = wish.rate.unwrap_or(PER_SECOND);
    if !(1..=MOST_A_SECOND).contains(&per_second) {
        return Err(Problem::malformed(format!("rate is {per_second}; it is from 1 to {MOST_A_SECOND}")));
    }
    let (proxy, source, destination) = (wish.proxy, wish.source, wish.destination);
    if let Some(name) = &proxy {
        known_proxy(&state, &known, name)?;
    }
    for (parameter, id) in [("source", &source), ("destination", &destination)] {
        // Whether there is a caller in a namespace of others is not told.
        known_node(&state, parameter, id.as_deref().filter(|id| known.sees(mixer::namespace(id))))?;
    }
    let query = TapQuery { proxy, source, destination, matches, per_second, namespaces: known.namespaces().to_vec() };
    let requests = state
        .mixer
        .tap(query)
        .ok_or_else(|| Problem::malformed("32 taps are open, which is as many as there may be; end one of them"))?;
    let shown = stream::unfold((requests, state), |(mut requests, state)| async move {
        let event = next(&mut requests, &state).await?;
        Some((Ok(event), (requests, state)))
    });
    Ok(Sse::new(shown).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// Nothing ever comes from a proxy that is not there.
fn known_proxy(state: &State, caller: &Known, name: &str) -> Result<(), Problem> {
    let is = |proxy: &pilot::ProxyStatus| {
        (proxy.id == name || proxy.node == name || proxy.workload == name) && caller.sees(&proxy.namespace)
    };
    if state.mixer.knows_proxy(name, caller.namespaces()) || state.discovery.proxies().iter().any(is) {
        return Ok(());
    }
    let known = "no proxy of that id is connected, and none of a workload of that name; /api/v1/proxies lists them";
    Err(Problem::not_found(format!("proxy is {name:?}: {known}")))
}

/// `None` when the server stops.
async fn next(requests: &mut TapStream, state: &State) -> Option<Event> {
    tokio::select! {
        request = requests.next() => {
            let data = serde_json::to_string(&request?).unwrap_or_default();
            Some(Event::default().event("request").data(data))
        }
        // No revision is beyond the last; what is waited for is the end.
        _ = state.kept.feed.beyond(u64::MAX) => None,
    }
}
