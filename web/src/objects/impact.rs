//! Which proxies a change reaches: the configuration of each is compiled before and after it, in memory, and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use galley::Snapshot;
use pilot::{Compiled, Inputs, Kind, ResourceSet};
use serde::Serialize;
use utoipa::ToSchema;

use super::denied::{self, DeniedEdge};
use crate::state::State;

/// How many proxies are named.
const SAMPLE: usize = 20;

/// What a change does to the proxies that are connected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Impact {
    /// How many proxies get another configuration.
    pub proxies: usize,
    /// How many are connected.
    pub connected: usize,
    /// Some of those that get another.
    pub sample: Vec<String>,
    /// How many resources are added, changed or removed, by type: `cds`, `eds`, `lds`, `rds`, `nds`.
    pub xds: BTreeMap<String, usize>,
    /// What the compile has to say that it did not say before.
    pub diagnostics: Vec<String>,
    /// Calls of the last hour that the change would deny, and did not come to be denied before it.
    #[serde(rename = "deniedObservedEdges")]
    pub denied_observed_edges: Vec<DeniedEdge>,
}

/// Compares; `None` while the control plane does not know yet what to compile.
pub async fn of(state: &State, after: Snapshot) -> Option<Impact> {
    let inputs = state.inputs.borrow().clone();
    if !inputs.ready {
        return None;
    }
    let galley = state.galley.clone();
    let nodes = state.discovery.nodes();
    let seen = state.clone();
    let compare = move || {
        let with = |config: Arc<Snapshot>| Inputs {
            catalog: Arc::new(galley.catalog_with(&inputs.catalog, &config)),
            config,
            mesh: inputs.mesh.clone(),
            credentials: inputs.credentials.clone(),
            ready: true,
        };
        let (was, becomes) = (with(inputs.config.clone()), with(Arc::new(after)));
        let (before, after) = (Compiled::new(&was), Compiled::new(&becomes));
        let denied_observed_edges = denied::edges(&seen, &was, &becomes);
        let mut impact = Impact { connected: nodes.len(), denied_observed_edges, ..Impact::default() };
        let (mut changed, mut said) = (BTreeMap::<Kind, BTreeSet<Arc<str>>>::new(), BTreeSet::new());
        for (node, _) in &nodes {
            let ((old, told), (new, tells)) = (before.snapshot(node), after.snapshot(node));
            said.extend(tells.into_iter().filter(|found| !told.contains(found)).map(|found| found.to_string()));
            let mut differs = false;
            for kind in Kind::ALL {
                let names = differences(old.of(kind), new.of(kind));
                differs |= !names.is_empty();
                changed.entry(kind).or_default().extend(names);
            }
            if differs {
                impact.proxies += 1;
                if impact.sample.len() < SAMPLE {
                    impact.sample.push(node.name.clone());
                }
            }
        }
        let shown = changed.into_iter().filter(|(kind, _)| *kind != Kind::Secret);
        impact.xds = shown.map(|(kind, names)| (kind.short_name().to_lowercase(), names.len())).collect();
        impact.diagnostics = said.into_iter().collect();
        impact
    };
    tokio::task::spawn_blocking(compare).await.ok()
}

/// The names of the resources that are not the same in both.
fn differences(before: &ResourceSet, after: &ResourceSet) -> Vec<Arc<str>> {
    let gone = before.iter().filter(|resource| after.get(&resource.name).is_none());
    let other = after.iter().filter(|resource| before.get(&resource.name) != Some(*resource));
    gone.chain(other).map(|resource| resource.name.clone()).collect()
}
