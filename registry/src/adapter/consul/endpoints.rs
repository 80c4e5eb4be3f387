//! The two questions asked of Consul.

use std::collections::BTreeMap;

use consulrs::api::Features;
use consulrs::api::features::FeaturedEndpoint;
use rustify_derive::Endpoint;

use super::entry::Entry;

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

impl FeaturedEndpoint for Services {
    fn features(&self) -> Option<Features> {
        self.features.clone()
    }
}

impl FeaturedEndpoint for Instances {
    fn features(&self) -> Option<Features> {
        self.features.clone()
    }
}
