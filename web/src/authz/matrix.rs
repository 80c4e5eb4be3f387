//! `GET /_authz/matrix`: every identity that runs, against every service.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State as Shared;
use pilot::judge::{Decision, Known};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::places::{self, PLAINTEXT, Place};
use super::{judged, word};
use crate::extract::Asked;
use crate::problem::Problem;
use crate::state::State;

/// More cells are not worked out at once: name namespaces.
const MOST_CELLS: usize = 100_000;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(matrix))
}

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Only services of these namespaces, with commas between
    namespace: Option<String>,
}

/// Who may call whom, by the policies alone: whether anybody does is another matter.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Matrix {
    pub callers: Vec<Row>,
    pub services: Vec<Service>,
}

/// A caller, and what becomes of its calls: one cell for each of `services`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Row {
    /// `cluster.local/ns/default/sa/web`, or `plaintext`
    pub identity: String,
    /// Those that have the identity.
    pub workloads: Vec<String>,
    pub cells: Vec<Cell>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MatrixService)]
pub struct Service {
    pub host: String,
    pub namespace: String,
    pub port: u16,
    /// Whether rules can look at requests.
    pub http: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cell {
    /// `allowed`, `denied` or `depends`: on the request, or on the workload that it comes to
    pub decision: &'static str,
    pub because: String,
}

/// Every identity that runs against every service.
#[utoipa::path(get, path = "/_authz/matrix", params(Query),
    responses((status = 200, description = "Who may call whom", body = Matrix)))]
async fn matrix(Shared(state): Shared<State>, Asked(query): Asked<Query>) -> Result<Json<Matrix>, Problem> {
    let wanted: Vec<&str> = query.namespace.iter().flat_map(|names| names.split(',')).collect();
    let mut services: BTreeMap<(String, u16), Vec<Place>> = BTreeMap::new();
    for place in places::all(&state).into_iter().filter(|place| !place.service.is_empty()) {
        if wanted.is_empty() || wanted.contains(&place.namespace.as_str()) {
            let own = services.entry((place.service.clone(), place.service_port)).or_default();
            // Workloads that policies cannot tell apart are judged once.
            let alike = |other: &Place| (&other.labels, other.port) == (&place.labels, place.port);
            if !own.iter().any(alike) {
                own.push(place);
            }
        }
    }
    let callers = callers(&state);
    let cells = callers.len() * services.values().map(Vec::len).sum::<usize>();
    if cells > MOST_CELLS {
        let words = format!("{cells} cells are more than {MOST_CELLS}: name some namespaces with ?namespace=a,b");
        return Err(Problem::unprocessable(words));
    }
    let inputs = state.inputs.borrow().in_force();
    let row = |(identity, workloads): (String, BTreeSet<String>)| Row {
        cells: services.values().map(|places| cell(&inputs, &identity, places)).collect(),
        identity,
        workloads: workloads.into_iter().collect(),
    };
    Ok(Json(Matrix {
        callers: callers.into_iter().map(row).collect(),
        services: services.values().filter_map(|places| places.first()).map(Service::from).collect(),
    }))
}

/// Those who run, and one who shows no certificate.
fn callers(state: &State) -> BTreeMap<String, BTreeSet<String>> {
    let mut callers: BTreeMap<String, BTreeSet<String>> = [(PLAINTEXT.to_owned(), BTreeSet::new())].into();
    for workload in crate::workloads::all(state) {
        let Some(id) = &workload.identity else { continue };
        let id = id.strip_prefix("spiffe://").unwrap_or(id);
        callers.entry(id.to_owned()).or_default().insert(workload.id);
    }
    callers
}

fn cell(inputs: &pilot::Inputs, identity: &str, places: &[Place]) -> Cell {
    let mut cells = places.iter().map(|place| {
        let principal = if identity == PLAINTEXT { Known::Absent } else { Known::Is(identity.to_owned()) };
        let (decision, because) = judged(inputs, place, &principal);
        Cell { decision: word(decision), because }
    });
    let first = cells.next();
    let first = first.unwrap_or_else(|| Cell { decision: word(Decision::Depends), because: String::new() });
    if cells.all(|cell| cell.decision == first.decision) {
        return first;
    }
    Cell { decision: word(Decision::Depends), because: "it depends on the workload that the call comes to".into() }
}

impl From<&Place> for Service {
    fn from(place: &Place) -> Self {
        Self {
            host: place.service.clone(),
            namespace: place.namespace.clone(),
            port: place.service_port,
            http: place.http,
        }
    }
}
