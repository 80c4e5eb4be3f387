//! The resources received so far, as they came and as the model holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::envoy::service::discovery::v3::Resource;
use api::prost::Message as _;
use api::type_url;

use crate::config::{
    self, CertificateSource, CommonTls, Discovery, NetworkFilter, RouteSource, Snapshot, ValidationSource,
};

/// The kinds of resource the proxy subscribes to, in the order in which a change of several must take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Cluster,
    Endpoint,
    Listener,
    Route,
    Secret,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::Secret];

    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
            Self::Secret => type_url::SECRET,
        }
    }

    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// Whether everything of this kind is wanted without naming it.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

/// The secrets that the agent in this process keeps; they are never asked of the control plane.
const OWN_SECRETS: [&str; 2] = ["default", "ROOTCA"];

#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// As received, by kind and name; what is written to disk.
    pub raw: BTreeMap<Kind, BTreeMap<String, Resource>>,
    /// Names the control plane said do not exist.
    absent: BTreeSet<(Kind, String)>,
    model: Snapshot,
}

impl Resources {
    /// Takes a resource into the model; an error leaves the previous one in force.
    pub fn insert(&mut self, kind: Kind, resource: Resource) -> Result<(), String> {
        let name = resource.name.clone();
        if let Err(error) = self.convert(kind, &name, &resource) {
            if !self.holds(kind, &name) {
                // Nothing waits for what was refused.
                self.absent.insert((kind, name.clone()));
            }
            return Err(format!("{name}: {error}"));
        }
        self.absent.remove(&(kind, name.clone()));
        self.raw.entry(kind).or_default().insert(name, resource);
        Ok(())
    }

    fn convert(&mut self, kind: Kind, name: &str, resource: &Resource) -> Result<(), String> {
        let bytes = resource.resource.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
        let text = |error: config::ConfigError| error.to_string();
        let broken = |error: api::prost::DecodeError| error.to_string();
        let (name, model) = (name.to_owned(), &mut self.model);
        match kind {
            Kind::Cluster => {
                let wire = api::envoy::config::cluster::v3::Cluster::decode(bytes).map_err(broken)?;
                model.clusters.insert(name, Arc::new(config::convert::cluster(&wire, &read_file).map_err(text)?));
            }
            Kind::Endpoint => {
                let wire = api::envoy::config::endpoint::v3::ClusterLoadAssignment::decode(bytes).map_err(broken)?;
                model.endpoints.insert(name, Arc::new(config::convert::load_assignment(&wire).map_err(text)?));
            }
            Kind::Listener => {
                let wire = api::envoy::config::listener::v3::Listener::decode(bytes).map_err(broken)?;
                model.listeners.insert(name, Arc::new(config::convert::listener(&wire, &read_file).map_err(text)?));
            }
            Kind::Route => {
                let wire = api::envoy::config::route::v3::RouteConfiguration::decode(bytes).map_err(broken)?;
                model.routes.insert(name, Arc::new(config::convert::route_table(&wire).map_err(text)?));
            }
            Kind::Secret => {
                let wire = api::envoy::extensions::transport_sockets::tls::v3::Secret::decode(bytes).map_err(broken)?;
                model.secrets.insert(name, Arc::new(config::convert::secret(&wire, &read_file).map_err(text)?));
            }
        }
        Ok(())
    }

    /// The control plane says that there is no such resource.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        self.forget(kind, name);
        self.absent.insert((kind, name.to_owned()));
    }

    /// Nothing refers to the resource any more; should something do so again, it has to come anew.
    pub fn forget(&mut self, kind: Kind, name: &str) {
        self.raw.entry(kind).or_default().remove(name);
        self.absent.remove(&(kind, name.to_owned()));
        match kind {
            Kind::Cluster => drop(self.model.clusters.remove(name)),
            Kind::Endpoint => drop(self.model.endpoints.remove(name)),
            Kind::Listener => drop(self.model.listeners.remove(name)),
            Kind::Route => drop(self.model.routes.remove(name)),
            Kind::Secret => drop(self.model.secrets.remove(name)),
        }
    }

    /// Versions of what is held, so that a new stream brings the difference only.
    pub fn versions(&self, kind: Kind) -> BTreeMap<String, String> {
        let held = self.raw.get(&kind).into_iter().flatten();
        held.map(|(name, resource)| (name.clone(), resource.version.clone())).collect()
    }

    /// The names of that kind to which clusters and listeners refer.
    pub fn wanted(&self, kind: Kind) -> BTreeSet<String> {
        match kind {
            Kind::Cluster | Kind::Listener => BTreeSet::new(),
            Kind::Endpoint => self.wanted_endpoints(),
            Kind::Route => self.wanted_routes(),
            Kind::Secret => self.wanted_secrets(),
        }
    }

    fn wanted_endpoints(&self) -> BTreeSet<String> {
        let names = self.model.clusters.values().filter_map(|cluster| match &cluster.discovery {
            Discovery::Eds { service_name } => Some(service_name.clone()),
            _ => None,
        });
        names.collect()
    }

    fn filters(&self) -> impl Iterator<Item = &config::FilterChain> {
        self.model
            .listeners
            .values()
            .flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain))
            .map(|chain| &**chain)
    }

    fn wanted_routes(&self) -> BTreeSet<String> {
        let names = self.filters().filter_map(|chain| match &chain.filter {
            NetworkFilter::Http(manager) => match &manager.routes {
                RouteSource::Rds(name) => Some(name.clone()),
                RouteSource::Inline(_) => None,
            },
            NetworkFilter::Tcp(_) => None,
        });
        names.collect()
    }

    fn wanted_secrets(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let downstream = self.filters().filter_map(|chain| chain.tls.as_deref()).map(|tls| &tls.common);
        let upstream = self.model.clusters.values().flat_map(|cluster| {
            let matched = cluster.transport_socket_matches.iter().filter_map(|matched| matched.tls.as_deref());
            cluster.tls.as_deref().into_iter().chain(matched).map(|tls| &tls.common)
        });
        for tls in downstream.chain(upstream) {
            names.extend(secret_names(tls).filter(|name| !OWN_SECRETS.contains(&name.as_str())).cloned());
        }
        names
    }

    fn holds(&self, kind: Kind, name: &str) -> bool {
        self.raw.get(&kind).is_some_and(|held| held.contains_key(name))
    }

    /// What is referred to and has neither come nor is known not to exist.
    fn missing(&self) -> impl Iterator<Item = (Kind, String)> {
        [Kind::Endpoint, Kind::Route, Kind::Secret].into_iter().flat_map(|kind| {
            let wanted = self.wanted(kind).into_iter().map(move |name| (kind, name));
            wanted.filter(|key| !self.holds(key.0, &key.1) && !self.absent.contains(key))
        })
    }

    /// Whether everything referred to has come, or is known not to exist.
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Waits no longer for what has not come.
    pub fn give_up_on_missing(&mut self) {
        let missing: Vec<_> = self.missing().collect();
        self.absent.extend(missing);
    }

    /// The model as it stands; sharing what it holds.
    pub fn snapshot(&self) -> Snapshot {
        self.model.clone()
    }
}

fn secret_names(tls: &CommonTls) -> impl Iterator<Item = &String> {
    let certificate = match &tls.certificate {
        Some(CertificateSource::Sds(name)) => Some(name),
        _ => None,
    };
    let validation = match &tls.validation {
        Some(ValidationSource::Sds(name)) => Some(name),
        _ => None,
    };
    certificate.into_iter().chain(validation)
}

fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    use api::envoy::config::core::v3::{ApiVersion, ConfigSource, config_source::ConfigSourceSpecifier};
    use api::prost_types::Any;

    use super::*;

    fn resource(name: &str, value: Vec<u8>) -> Resource {
        Resource { name: name.into(), resource: Some(Any { type_url: String::new(), value }), ..Default::default() }
    }

    fn eds_cluster(name: &str) -> Resource {
        let source = ConfigSource {
            config_source_specifier: Some(ConfigSourceSpecifier::Ads(Default::default())),
            resource_api_version: ApiVersion::V3 as i32,
            ..Default::default()
        };
        let cluster = api::envoy::config::cluster::v3::Cluster {
            name: name.into(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
            eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(source), ..Default::default() }),
            ..Default::default()
        };
        resource(name, cluster.encode_to_vec())
    }

    #[test]
    fn what_was_refused_or_never_comes_is_not_waited_for() {
        let mut resources = Resources::default();
        resources.insert(Kind::Cluster, eds_cluster("a")).unwrap();
        assert!(!resources.is_complete());
        assert!(resources.insert(Kind::Endpoint, resource("a", vec![0xff, 0xff])).is_err());
        assert!(resources.is_complete());
        resources.insert(Kind::Cluster, eds_cluster("b")).unwrap();
        assert!(!resources.is_complete());
        resources.give_up_on_missing();
        assert!(resources.is_complete());
        // What nothing refers to any more is asked for anew when something does.
        resources.forget(Kind::Endpoint, "b");
        assert!(!resources.is_complete());
    }
}
