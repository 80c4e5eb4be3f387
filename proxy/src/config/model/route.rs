//! What routes are made of; the table and its matching are in `route/`.

use std::sync::Arc;

use super::LbMetadata;
use crate::filter::Overrides;

/// Which cluster takes a request or connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterChoice {
    One(String),
    Weighted(Vec<WeightedCluster>),
    /// The cluster that this request header names.
    Header(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCluster {
    pub name: String,
    pub weight: u32,
    pub mutation: HeaderMutation,
    pub overrides: Overrides,
    /// The subset of the cluster, with what the route asks for.
    pub metadata_match: Option<Arc<LbMetadata>>,
}

/// Changes to request and response headers, in Envoy's order: removed, then added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderMutation {
    pub request_add: Vec<HeaderAdd>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderAdd>,
    pub response_remove: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HeaderAdd {
    /// Lower case; `:path` and `host`/`:authority` are honoured.
    pub name: String,
    pub value: crate::access_log::Format,
    pub action: AppendAction,
    pub keep_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    AppendIfExistsOrAdd,
    AddIfAbsent,
    OverwriteIfExistsOrAdd,
    OverwriteIfExists,
}
