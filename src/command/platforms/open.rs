//! From the platforms of a command line to registries, and to the cluster that configuration is taken from.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use galley::Galley;
use galley::kubernetes::{GRACE, Source};
use registry::kubernetes::{Cluster, Kubernetes, Pace};
use registry::{Catalog, Credentials, Registry, Remembered};
use store::Store;
use tokio::sync::watch;

use super::reviews::Reviews;
use super::{Kind, Named};
use crate::command::failure::{Exit, Failure};

/// Names that registries of our own have.
const TAKEN: [&str; 3] = ["static", "agents", "discovery"];

/// Platforms that can be followed; none is reached for yet.
pub struct Opened {
    registries: Vec<Arc<dyn Registry>>,
    /// The first cluster that was named.
    cluster: Option<Cluster>,
    write_status: bool,
}

impl Opened {
    pub(super) async fn of(all: Vec<Named>, domain: &str, write_status: bool) -> anyhow::Result<Self> {
        let mut taken: BTreeSet<String> = TAKEN.map(str::to_owned).into();
        let mut opened = Self { registries: Vec::new(), cluster: None, write_status };
        for named in all {
            let wrong = |words: String| Failure::new(Exit::Usage, words);
            let shown = named.name.clone().unwrap_or_else(|| named.place.0.clone());
            let registry = opened.open(&named, &taken, domain).await;
            let registry = registry.with_context(|| wrong(format!("registry {shown}")))?;
            let name = registry.name().to_owned();
            let twice = || format!("a registry {name:?} exists already; name this one: --registry NAME=KIND:PLACE");
            anyhow::ensure!(taken.insert(name.clone()), wrong(twice()));
            opened.registries.push(registry);
        }
        Ok(opened)
    }

    async fn open(
        &mut self,
        named: &Named,
        taken: &BTreeSet<String>,
        domain: &str,
    ) -> anyhow::Result<Arc<dyn Registry>> {
        match named.kind {
            Kind::Consul => consul(named, domain),
            Kind::Kubernetes => {
                let mut cluster = Cluster::open(Path::new(&named.place.0)).await?;
                if let Some(name) = named.name.clone().or_else(|| another(cluster.name(), taken)) {
                    cluster = cluster.named(&name);
                }
                self.cluster.get_or_insert_with(|| cluster.clone());
                Ok(Arc::new(Kubernetes::new(cluster, domain)))
            }
        }
    }

    /// The cluster that configuration and the certificates of gateways are taken from.
    pub fn cluster(&self) -> Option<Cluster> {
        self.cluster.clone()
    }

    pub(super) fn has_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        self.registries.iter().map(|registry| registry.name().to_owned()).collect()
    }

    /// The registries, each with what it told before this process began.
    pub fn remembered(&self, store: &Arc<dyn Store>) -> impl Iterator<Item = Arc<dyn Registry>> {
        let remembered = |registry: &Arc<dyn Registry>| Remembered::new(registry.clone(), store.clone());
        self.registries.iter().map(move |registry| Arc::new(remembered(registry)) as Arc<dyn Registry>)
    }

    /// The certificates of gateways that the first cluster holds; none ever without a cluster.
    pub fn credentials(&self) -> watch::Receiver<Arc<Credentials>> {
        match &self.cluster {
            Some(cluster) => registry::kubernetes::credentials(cluster.clone(), Pace::default()),
            None => watch::channel(Arc::default()).1,
        }
    }

    /// How the first cluster is asked whose token something is.
    pub fn reviews(&self) -> Option<Arc<dyn citadel::TokenReviews>> {
        let cluster = self.cluster.clone()?;
        Some(Arc::new(Reviews(cluster)))
    }

    /// Follows the configuration that the first cluster holds.
    pub fn attach(&self, galley: &Galley, catalog: &watch::Receiver<Arc<Catalog>>) {
        let Some(cluster) = self.cluster.clone() else { return };
        let write_status = self.write_status.then(|| catalog.clone());
        tokio::spawn(galley.attach(Source { cluster, pace: Pace::default(), grace: GRACE, write_status }));
    }
}

/// A name for a cluster whose own is taken: several files may call their context alike.
fn another(name: &str, taken: &BTreeSet<String>) -> Option<String> {
    let free = |name: &String| !taken.contains(name);
    if taken.contains(name) { (2..).map(|number| format!("{name}-{number}")).find(free) } else { None }
}

#[cfg(feature = "consul")]
fn consul(named: &Named, domain: &str) -> anyhow::Result<Arc<dyn Registry>> {
    let environment = registry::ConsulEnvironment::of_process();
    let options = registry::ConsulOptions::parse(&named.place.0, &environment)?;
    let name = named.name.as_deref().unwrap_or("consul");
    Ok(Arc::new(registry::Consul::open(name, domain, options)?))
}

#[cfg(not(feature = "consul"))]
fn consul(_: &Named, _: &str) -> anyhow::Result<Arc<dyn Registry>> {
    anyhow::bail!("this weft is built without the feature \"consul\"")
}
