//! The connected proxies and how far each is.

mod asked;
pub(crate) mod dump;
pub(crate) mod inside;

use std::collections::{BTreeMap, HashMap};

use axum::extract::State as Shared;
use axum::response::Response;
use axum::{Extension, Json};
use citadel::LedgerEntry;
use pilot::{ProxyStatus, Snapshot, SyncState};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::certificates::CertificateView;
use crate::extract::{Asked, At};
use crate::feed::Topic;
use crate::kept::{millis, now_seconds};
use crate::list::{self, List, LiveQuery};
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(proxies)).routes(routes!(proxy)).merge(inside::routes()).merge(asked::routes())
}

/// A proxy that is connected.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Proxy {
    /// `reviews-v1.default`
    pub id: String,
    /// The whole node id.
    pub node: String,
    /// `sidecar` or `router` (a gateway)
    pub kind: &'static str,
    pub namespace: String,
    pub workload: String,
    /// `weft/0.1.0`
    pub version: String,
    /// Where its connection comes from.
    pub address: Option<String>,
    /// Unix seconds.
    pub connected_at: u64,
    pub identity: Option<String>,
    /// `synced`, `stale` (something is on its way) or `nack` (it refused something)
    pub sync: &'static str,
    /// Whether something changed in the mesh since its configuration was compiled, so that more may follow.
    pub behind: bool,
    /// The latest certificate of its identity; none that another authority vouches for.
    pub certificate: Option<CertificateView>,
    /// The size of its configuration, encoded.
    pub config_bytes: usize,
    /// By short name: CDS, EDS, LDS, RDS.
    pub types: BTreeMap<&'static str, TypeView>,
    pub diagnostics: Vec<DiagnosticView>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TypeView {
    /// `SYNCED`, `STALE`, `NACKED` or `NOT SENT`
    pub state: &'static str,
    /// The proxy's words, when it refused.
    pub error: Option<String>,
    pub resources: usize,
}

/// What the compile had to say of its configuration.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DiagnosticView {
    pub code: &'static str,
    pub object: String,
    pub message: String,
}

/// The connected proxies.
#[utoipa::path(get, path = "/proxies", params(LiveQuery),
    responses((status = 200, description = "A page of proxies", body = List<Proxy>)))]
async fn proxies(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(query): Asked<LiveQuery>,
) -> Result<Response, Problem> {
    let seen = || all(&state, &known);
    list::live(&state, &query, |news| news.topic == Topic::Proxies, seen).await
}

/// One proxy.
#[utoipa::path(get, path = "/proxies/{id}", params(("id" = String, Path, description = "Its id or node id")),
    responses((status = 200, description = "The proxy", body = Proxy)))]
async fn proxy(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At(id): At<String>,
) -> Result<Json<Proxy>, Problem> {
    one(&state, &known, &id).map(Json)
}

pub fn one(state: &State, known: &Known, id: &str) -> Result<Proxy, Problem> {
    let status = find(state, id)?;
    let hidden = || Problem::forbidden(format!("the token is not for namespace {}, where it is", status.namespace));
    let size = state.discovery.snapshot(&status.node).map_or(0, |snapshot| dump::size(&snapshot));
    Proxy::of(&status, size, &state.kept.certificates.all()).seen_by(known).ok_or_else(hidden)
}

fn all(state: &State, known: &Known) -> Vec<Proxy> {
    let nodes = state.discovery.nodes();
    let snapshots: HashMap<&str, &Snapshot> =
        nodes.iter().map(|(node, snapshot)| (node.id.as_str(), &**snapshot)).collect();
    let issued = state.kept.certificates.all();
    let mut all = state.discovery.proxies();
    all.retain(|status| known.sees(&status.namespace));
    let shown = all.iter().filter_map(|status| {
        let size = snapshots.get(status.node.as_str()).map_or(0, |snapshot| dump::size(snapshot));
        Proxy::of(status, size, &issued).seen_by(known)
    });
    shown.collect()
}

/// The newest connection of that proxy.
pub fn find(state: &State, id: &str) -> Result<ProxyStatus, Problem> {
    let mut newest_first = state.discovery.proxies().into_iter().rev();
    let missing = || Problem::not_found(format!("no proxy {id:?} is connected; /api/v1/proxies lists those that are"));
    newest_first.find(|proxy| proxy.id == id || proxy.node == id).ok_or_else(missing)
}

/// How far a proxy is with all of its types together.
pub fn sync(status: &ProxyStatus) -> &'static str {
    let any = |state| status.types.values().any(|of_type| of_type.state == state);
    match () {
        () if any(SyncState::Nacked) => "nack",
        () if any(SyncState::Stale) || !any(SyncState::Synced) => "stale",
        () => "synced",
    }
}

impl Proxy {
    /// As much of it as the caller may see: nothing of other namespaces, and no words about objects there.
    fn seen_by(mut self, known: &Known) -> Option<Self> {
        let in_sight = |object: &str| {
            let (_, place) = object.split_once(' ').unwrap_or(("", object));
            known.sees(place.split_once('/').map_or("", |(namespace, _)| namespace))
        };
        self.diagnostics.retain(|found| in_sight(&found.object));
        known.sees(&self.namespace).then_some(self)
    }

    /// `issued`: the latest certificate of each identity.
    fn of(status: &ProxyStatus, config_bytes: usize, issued: &BTreeMap<String, LedgerEntry>) -> Self {
        let identity = status.identity.as_ref().map(ToString::to_string);
        let certificate = identity.as_ref().and_then(|identity| issued.get(identity));
        let types = status.types.iter().map(|(name, of_type)| {
            let (state, error) = (of_type.state.as_str(), of_type.error.clone());
            (*name, TypeView { state, error, resources: of_type.resources })
        });
        let diagnostics = status.diagnostics.iter().map(|found| DiagnosticView {
            code: found.code.as_str(),
            object: found.object.clone(),
            message: found.message.clone(),
        });
        Self {
            id: status.id.clone(),
            node: status.node.clone(),
            kind: status.kind.as_str(),
            namespace: status.namespace.clone(),
            workload: status.workload.clone(),
            version: status.version.clone(),
            address: status.address.map(|address| address.to_string()),
            connected_at: millis(status.connected_at) / 1000,
            identity,
            sync: sync(status),
            behind: status.behind,
            certificate: certificate.map(|entry| CertificateView::of(entry, now_seconds())),
            config_bytes,
            types: types.collect(),
            diagnostics: diagnostics.collect(),
        }
    }
}
