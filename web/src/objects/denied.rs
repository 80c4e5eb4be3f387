//! Which calls that were seen in the last hour a change of policies would deny: each edge of the graph, judged by the
//! policies before and after, with nothing known of the request but who makes it and whom it is for.

use std::collections::BTreeSet;

use galley::Snapshot;
use mixer::{EdgeView, GraphQuery};
use pilot::Inputs;
use pilot::judge::{Decision, Known};
use serde::Serialize;
use utoipa::ToSchema;

use crate::authz::{Place, judged, places};
use crate::state::State;

const HOUR: u64 = 3600;

/// An edge of the graph that a change would cut, wholly or in part.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DeniedEdge {
    /// Nodes of the graph.
    pub source: String,
    pub destination: String,
    pub protocol: &'static str,
    /// Over the last hour; connections where there are no requests.
    pub requests_per_second: f64,
    /// The caller's identity, or `plaintext`.
    pub principal: String,
    /// `denied`, or `depends`: on the request, or on the workload that it comes to
    pub decision: &'static str,
    pub because: String,
}

/// None where policies stay as they are.
pub fn edges(state: &State, before: &Inputs, after: &Inputs) -> Vec<DeniedEdge> {
    if same(&before.config, &after.config) {
        return Vec::new();
    }
    let (before, after) = (&before.in_force(), &after.in_force());
    let graph = state.mixer.graph(&GraphQuery { window_seconds: HOUR, ..GraphQuery::default() });
    let (places, none) = (places::by_node(state), BTreeSet::new());
    let seen = graph.edges.iter().filter(|edge| rate(edge) > 0.0);
    seen.flat_map(|edge| {
        let called = places.get(&edge.destination).unwrap_or(&none);
        let of = |(name, principal)| denied(edge, name, &principal, called, before, after);
        callers(edge).into_iter().filter_map(of).collect::<Vec<_>>()
    })
    .collect()
}

fn same(before: &Snapshot, after: &Snapshot) -> bool {
    before.authorization_policies == after.authorization_policies
        && before.peer_authentications == after.peer_authentications
        // Which providers there are.
        && before.mesh_configs == after.mesh_configs
}

fn rate(edge: &EdgeView) -> f64 {
    edge.requests_per_second + edge.connections_per_second.unwrap_or_default()
}

/// Who calls over an edge: whoever proved to be somebody, and who proved nothing.
fn callers(edge: &EdgeView) -> Vec<(String, Known<String>)> {
    let proven = edge.principals.source.as_deref().filter(|_| edge.mtls_ratio.is_none_or(|ratio| ratio > 0.0));
    let proven = proven.map(|id| id.strip_prefix("spiffe://").unwrap_or(id).to_owned());
    let plain = edge.mtls_ratio.is_some_and(|ratio| ratio < 1.0);
    let mut callers: Vec<_> = proven.into_iter().map(|id| (id.clone(), Known::Is(id))).collect();
    if plain {
        callers.push((places::PLAINTEXT.to_owned(), Known::Absent));
    }
    callers
}

fn denied(
    edge: &EdgeView,
    name: String,
    principal: &Known<String>,
    called: &BTreeSet<Place>,
    before: &Inputs,
    after: &Inputs,
) -> Option<DeniedEdge> {
    let [was, becomes] =
        [before, after].map(|inputs| called.iter().map(|place| judged(inputs, place, principal)).collect::<Vec<_>>());
    let worse = was.iter().zip(&becomes).filter(|((was, _), (is, _))| severity(*is) > severity(*was));
    let (_, (_, because)) = worse.max_by_key(|(_, (is, _))| severity(*is))?;
    let all_denied = becomes.iter().all(|(is, _)| *is == Decision::Denied);
    Some(DeniedEdge {
        source: edge.source.clone(),
        destination: edge.destination.clone(),
        protocol: edge.protocol,
        requests_per_second: rate(edge),
        principal: name,
        decision: if all_denied { "denied" } else { "depends" },
        because: because.clone(),
    })
}

fn severity(decision: Decision) -> u8 {
    match decision {
        Decision::Allowed => 0,
        Decision::Depends => 1,
        Decision::Denied => 2,
    }
}
