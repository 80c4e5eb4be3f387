//! What is asked of a proxy itself, over the stream of its reports: its log level and its counters.

use axum::extract::State as Shared;
use axum::{Extension, Json};
use citadel::{Verb, Wish};
use mixer::AskError;
use pilot::ProxyStatus;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::find;
use crate::auth::Known;
use crate::extract::{Asked, At, Body};
use crate::log_level::{LogLevel, checked};
use crate::problem::Problem;
use crate::state::State;

/// How an Envoy is asked and told, where it runs.
const LOGGING: &str = "curl -X POST 'http://127.0.0.1:15000/logging?level=debug'";
const MOST_COUNTERS: u32 = 5_000;
const COUNTERS: u32 = 1_000;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(log_level, change_log_level)).routes(routes!(stats))
}

/// What a proxy writes to its log.
#[utoipa::path(get, path = "/proxies/{id}/_log-level", params(("id" = String, Path)),
    responses((status = 200, description = "The filter in force", body = LogLevel)))]
async fn log_level(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At(id): At<String>,
) -> Result<Json<LogLevel>, Problem> {
    filtered(&state, &ours(&state, &known, &id, LOGGING)?, "").await
}

/// Changes what a proxy writes to its log, until it ends. A process that runs proxies of several workloads has one log,
/// which is for administrators of the whole mesh.
#[utoipa::path(put, path = "/proxies/{id}/_log-level", params(("id" = String, Path)), request_body = LogLevel,
    responses((status = 200, description = "The filter in force", body = LogLevel)))]
async fn change_log_level(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At(id): At<String>,
    Body(wanted): Body<LogLevel>,
) -> Result<Json<LogLevel>, Problem> {
    let proxy = ours(&state, &known, &id, LOGGING)?;
    let shares =
        state.discovery.nodes().iter().any(|(node, _)| node.id == proxy.node && node.node_proxy_port.is_some());
    if shares {
        known.access().check(&Wish { verb: Verb::ManageAccess, kind: None, namespace: None }).map_err(|missing| {
            Problem::forbidden(format!("{} shares its process and its log with other workloads: {missing}", proxy.id))
        })?;
    }
    filtered(&state, &proxy, &checked(&wanted)?).await
}

async fn filtered(state: &State, proxy: &ProxyStatus, filter: &str) -> Result<Json<LogLevel>, Problem> {
    let filter = state.mixer.log_level(&proxy.node, filter).await.map_err(|error| problem(proxy, error))?;
    Ok(Json(LogLevel { filter }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatsQuery {
    /// How the names begin: `cluster.`, `listener.`, `http.`, `server.`.
    prefix: Option<String>,
    /// At most so many: 1 to 5000, 1000 if not said.
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProxyStats)]
struct Stats {
    id: String,
    items: Vec<Stat>,
    /// Whether there may be more than the limit.
    more: bool,
}

/// A counter or a gauge, by Envoy's name.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ProxyStat)]
struct Stat {
    name: String,
    value: u64,
}

/// A proxy's counters and gauges, as it counts right now.
#[utoipa::path(get, path = "/proxies/{id}/_stats", params(("id" = String, Path), StatsQuery),
    responses((status = 200, description = "In the order of their names", body = Stats)))]
async fn stats(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At(id): At<String>,
    Asked(query): Asked<StatsQuery>,
) -> Result<Json<Stats>, Problem> {
    let limit = query.limit.unwrap_or(COUNTERS);
    if !(1..=MOST_COUNTERS).contains(&limit) {
        return Err(Problem::malformed(format!("limit is {limit}; it is from 1 to {MOST_COUNTERS}")));
    }
    let proxy = ours(&state, &known, &id, "curl http://127.0.0.1:15000/stats")?;
    let prefix = query.prefix.unwrap_or_default();
    let told = state.mixer.counters(&proxy.node, &prefix, limit).await.map_err(|error| problem(&proxy, error))?;
    let items: Vec<Stat> = told.lines().filter_map(stat).collect();
    let more = items.len() == limit as usize;
    Ok(Json(Stats { id: proxy.id, items, more }))
}

fn stat(line: &str) -> Option<Stat> {
    let (name, value) = line.rsplit_once(": ")?;
    Some(Stat { name: name.to_owned(), value: value.parse().ok()? })
}

/// A proxy that can be asked; of another make, it is told what asks it where it runs.
fn ours(state: &State, known: &Known, id: &str, there: &str) -> Result<ProxyStatus, Problem> {
    let proxy = find(state, id)?;
    if !known.sees(&proxy.namespace) {
        return Err(Problem::forbidden(format!("the token is not for namespace {}, where it is", proxy.namespace)));
    }
    match foreign(&proxy.version) {
        None => Ok(proxy),
        Some(make) => Err(Problem::unprocessable(format!(
            "{} is {make}, which cannot be asked from here; ask it where it runs: {there}",
            proxy.id
        ))),
    }
}

/// What a proxy is that is none of weft's, by its user agent.
fn foreign(version: &str) -> Option<&str> {
    match version {
        ours if ours.starts_with("weft/") => None,
        "" => Some("no proxy of weft"),
        other => Some(other),
    }
}

fn problem(proxy: &ProxyStatus, error: AskError) -> Problem {
    let detail = format!("proxy {}: {error}", proxy.id);
    match error {
        AskError::Away | AskError::Busy => Problem::unavailable(detail),
        AskError::Silent => Problem::late(detail),
        AskError::Refused(_) => Problem::unprocessable(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_another_make_is_not_asked() {
        let makes = ["weft/0.1.0", "envoy/1.36.0", ""].map(foreign);
        assert_eq!(makes, [None, Some("envoy/1.36.0"), Some("no proxy of weft")]);
    }

    #[test]
    fn a_line_is_a_name_and_a_value() {
        let name = "cluster.outbound|80||a.b: c.upstream_rq_2xx".to_owned();
        assert_eq!(stat("cluster.outbound|80||a.b: c.upstream_rq_2xx: 7"), Some(Stat { name, value: 7 }));
        assert_eq!((stat("a"), stat("a: b")), (None, None));
    }
}
