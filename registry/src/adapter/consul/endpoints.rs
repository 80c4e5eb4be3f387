//! The questions asked of Consul.

use std::collections::BTreeMap;

use consulrs::api::Features;
use consulrs::api::features::FeaturedEndpoint;
use rustify_derive::Endpoint;

use super::entry::{Check, Entry, Named, Occupied};

/// The names of all services, with the tags that instances of each have.
#[derive(Debug, Endpoint)]
#[endpoint(path = "catalog/services", response = "BTreeMap<String, Option<Vec<String>>>")]
pub(super) struct Services {
    #[endpoint(skip)]
    pub features: Option<Features>,
    #[endpoint(query)]
    pub dc: Option<String>,
    #[endpoint(query)]
    pub ns: Option<String>,
    #[endpoint(query)]
    pub partition: Option<String>,
}

/// The instances of one service with their checks.
#[derive(Debug, Endpoint)]
#[endpoint(path = "health/service/{self.service}", response = "Vec<Entry>")]
pub(super) struct Instances {
    #[endpoint(skip)]
    pub service: String,
    #[endpoint(skip)]
    pub features: Option<Features>,
    #[endpoint(query)]
    pub dc: Option<String>,
    #[endpoint(query)]
    pub ns: Option<String>,
    #[endpoint(query)]
    pub partition: Option<String>,
}

/// The nodes of the catalog.
#[derive(Debug, Endpoint)]
#[endpoint(path = "catalog/nodes", response = "Vec<Named>")]
pub(super) struct Nodes {
    #[endpoint(skip)]
    pub features: Option<Features>,
    #[endpoint(query)]
    pub dc: Option<String>,
    #[endpoint(query)]
    pub ns: Option<String>,
    #[endpoint(query)]
    pub partition: Option<String>,
}

/// A node and the instances on it; nothing once it is gone.
#[derive(Debug, Endpoint)]
#[endpoint(path = "catalog/node/{self.node}", response = "Option<Occupied>")]
pub(super) struct OnNode {
    #[endpoint(skip)]
    pub node: String,
    #[endpoint(skip)]
    pub features: Option<Features>,
    #[endpoint(query)]
    pub dc: Option<String>,
    #[endpoint(query)]
    pub ns: Option<String>,
    #[endpoint(query)]
    pub partition: Option<String>,
}

/// The checks of this status, of all nodes and services.
#[derive(Debug, Endpoint)]
#[endpoint(path = "health/state/{self.status}", response = "Vec<Check>")]
pub(super) struct InState {
    #[endpoint(skip)]
    pub status: String,
    #[endpoint(skip)]
    pub features: Option<Features>,
    #[endpoint(query)]
    pub dc: Option<String>,
    #[endpoint(query)]
    pub ns: Option<String>,
    #[endpoint(query)]
    pub partition: Option<String>,
}

macro_rules! featured {
    ($($endpoint:ty),*) => {
        $(impl FeaturedEndpoint for $endpoint {
            fn features(&self) -> Option<Features> {
                self.features.clone()
            }
        })*
    };
}

featured!(Services, Instances, Nodes, OnNode, InState);
