//! What all lists have in common: filters, order, chosen fields, and pages that stay as they were when the first was
//! read.

mod expression;
mod filter;
mod pages;
mod wait;

use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::feed::News;
use crate::problem::Problem;
use crate::scope;
use crate::state::State;

use filter::Conditions;
pub use filter::by_labels;
pub(crate) use pages::Pages;

const INDEX: &str = "x-consul-index";

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// A list: a page of it, and where the next begins.
#[derive(Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// The cursor of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are on all pages.
    pub total: usize,
    /// The moment the list is of; `since` and `index` take it.
    pub revision: u64,
}

/// How to choose from a list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only these namespaces, with commas between.
    pub namespace: Option<String>,
    /// Only items that hold this text, in any case.
    pub q: Option<String>,
    /// Only items with these labels: `app=reviews,version!=v1,tier`.
    pub labels: Option<String>,
    /// Only items of which this holds: `health == "failing" and endpoints.total > 2`, `name contains "rev"`,
    /// `platforms is not empty`, `"v2" in versions`; with `and`, `or`, `not` and brackets.
    pub filter: Option<String>,
    /// Sort by this field; with a `-` before it from the greatest.
    pub sort: Option<String>,
    /// Only these fields of each item, with commas between.
    pub fields: Option<String>,
    /// The most items of a page: 1 to 1000, 100 if not said.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Where the last page ended: its `next`. The other parameters are those of the first page.
    pub cursor: Option<String>,
}

/// How to follow a list, besides.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LiveQuery {
    /// Only these namespaces, with commas between.
    pub namespace: Option<String>,
    /// Only items that hold this text, in any case.
    pub q: Option<String>,
    /// Only items with these labels: `app=reviews,version!=v1,tier`.
    pub labels: Option<String>,
    /// Only items of which this holds: `health == "failing" and endpoints.total > 2`, `name contains "rev"`,
    /// `platforms is not empty`, `"v2" in versions`; with `and`, `or`, `not` and brackets.
    pub filter: Option<String>,
    /// Sort by this field; with a `-` before it from the greatest.
    pub sort: Option<String>,
    /// Only these fields of each item, with commas between.
    pub fields: Option<String>,
    /// The most items of a page: 1 to 1000, 100 if not said.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Where the last page ended: its `next`. The other parameters are those of the first page.
    pub cursor: Option<String>,
    /// Only endpoints of this service: a whole host, or what it begins with up to a dot.
    pub service: Option<String>,
    /// Answer when the list is beyond this revision (`X-Consul-Index` of the last answer), or when `wait` is over.
    pub index: Option<u64>,
    /// How long to wait for that: `30s`, `5m`; 5 minutes if not said, 10 at most.
    pub wait: Option<String>,
    /// `1`: a stream of the changes instead of a list (server-sent events); of configuration only.
    pub watch: Option<u8>,
    /// Where the stream begins: the revision of a list, or the `id` of an event. The revision that a write answers with is
    /// the store's, which counts otherwise: read the list, and follow it from there.
    pub since: Option<u64>,
    /// A flag: as this control plane has it; `X-Consul-LastContact` says for how many milliseconds nothing was heard of
    /// the store. Of configuration only.
    pub stale: Option<String>,
    /// A flag: as the store has it at this moment; what another control plane wrote is seen for sure. Of configuration
    /// only.
    pub consistent: Option<String>,
}

impl LiveQuery {
    /// What of it chooses from the list.
    pub fn chosen(&self) -> ListQuery {
        let Self { namespace, q, labels, filter, sort, fields, limit, cursor, .. } = self.clone();
        ListQuery { namespace, q, labels, filter, sort, fields, limit, cursor }
    }
}

/// A page of the items that are asked for.
pub fn page<T: Serialize>(
    state: &State,
    query: &ListQuery,
    items: impl IntoIterator<Item = T>,
) -> Result<Json<List<Value>>, Problem> {
    let conditions = Conditions::parse(query)?;
    page_of(state, query, &conditions, state.kept.feed.revision(), items).map(Json)
}

/// A page of a list that can be waited for: `concerns` says which events change it, and `items` makes it then.
pub async fn live<T: Serialize, I: IntoIterator<Item = T>>(
    state: &State,
    query: &LiveQuery,
    concerns: impl Fn(&News) -> bool,
    items: impl FnOnce() -> I,
) -> Result<Response, Problem> {
    let chosen = query.chosen();
    followed(state, query, &chosen, concerns, items).await
}

/// The same where `labels` is about more than the items' own labels, and `items` has chosen by it.
pub async fn live_by_labels<T: Serialize, I: IntoIterator<Item = T>>(
    state: &State,
    query: &LiveQuery,
    concerns: impl Fn(&News) -> bool,
    items: impl FnOnce() -> I,
) -> Result<Response, Problem> {
    let chosen = ListQuery { labels: None, ..query.chosen() };
    followed(state, query, &chosen, concerns, items).await
}

/// `left` is what is left to choose by.
async fn followed<T: Serialize, I: IntoIterator<Item = T>>(
    state: &State,
    query: &LiveQuery,
    left: &ListQuery,
    concerns: impl Fn(&News) -> bool,
    items: impl FnOnce() -> I,
) -> Result<Response, Problem> {
    if query.watch.is_some() || query.since.is_some() {
        return Err(Problem::malformed("this list has no stream of its own; /api/v1/events has the changes of all"));
    }
    if query.stale.is_some() || query.consistent.is_some() {
        let rule = "this list is what this control plane sees now";
        return Err(Problem::malformed(format!("`stale` and `consistent` are for configuration, {rule}")));
    }
    if query.service.is_some() {
        return Err(Problem::malformed("`service` chooses endpoints; leave it out here"));
    }
    // Before the wait: who asks wrongly is told at once.
    let conditions = Conditions::parse(left)?;
    wait::beyond(&state.kept.feed, query, concerns).await?;
    // Taken before the items: a change meanwhile is told twice rather than never.
    let revision = state.kept.feed.revision();
    let list = page_of(state, &query.chosen(), &conditions, revision, items())?;
    let mut response = Json(list).into_response();
    response.headers_mut().insert(INDEX, HeaderValue::from(revision));
    Ok(response)
}

fn page_of<T: Serialize>(
    state: &State,
    query: &ListQuery,
    conditions: &Conditions<'_>,
    revision: u64,
    items: impl IntoIterator<Item = T>,
) -> Result<List<Value>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::malformed(format!("limit is 1 to {MAX_LIMIT}, not {limit}")));
    }
    let path = scope::current().map(|scope| scope.path).unwrap_or_default();
    let of = pages::Of { path, query: ListQuery { cursor: None, limit: None, ..query.clone() } };
    if let Some(cursor) = &query.cursor {
        return state.kept.pages.next(&of, cursor, limit);
    }
    let items: Result<Vec<Value>, _> = items.into_iter().map(serde_json::to_value).collect();
    let items = filter::choose(items.map_err(Problem::internal)?, query, conditions)?;
    Ok(state.kept.pages.first(of, items, limit, revision))
}
