//! What the compile works from.

use std::sync::{Arc, Weak};

use galley::kinds::Outbound;
use registry::{Catalog, Credentials};

use crate::mesh::{MeshConfig, OutboundPolicy};

/// One consistent reading of services, configuration and mesh settings. Cloning shares.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub catalog: Arc<Catalog>,
    pub config: Arc<galley::Snapshot>,
    pub mesh: Arc<MeshConfig>,
    /// The certificates of gateways.
    pub credentials: Arc<Credentials>,
    /// Whether registries and configuration have told all they know once. Nothing is pushed before.
    pub ready: bool,
}

/// Tells one reading from another, and holds none of what was read.
#[derive(Clone, Debug)]
pub struct Mark {
    catalog: Weak<Catalog>,
    config: Weak<galley::Snapshot>,
    mesh: Weak<MeshConfig>,
    credentials: Weak<Credentials>,
}

impl Mark {
    pub fn is_of(&self, inputs: &Inputs) -> bool {
        // The places in memory are nobody else's as long as there is a mark of them.
        std::ptr::eq(self.catalog.as_ptr(), &*inputs.catalog)
            && std::ptr::eq(self.config.as_ptr(), &*inputs.config)
            && std::ptr::eq(self.mesh.as_ptr(), &*inputs.mesh)
            && std::ptr::eq(self.credentials.as_ptr(), &*inputs.credentials)
    }
}

impl Inputs {
    /// With what the configuration says of the whole mesh in place of what the control plane was started with.
    pub fn in_force(&self) -> Self {
        let said = self.config.mesh_config().map(|mesh| &mesh.spec);
        let paths = said.and_then(|mesh| mesh.paths).or(self.mesh.paths);
        let outbound_policy = match said.and_then(|mesh| mesh.outbound) {
            Some(Outbound::AllowAny) => OutboundPolicy::AllowAny,
            Some(Outbound::RegistryOnly) => OutboundPolicy::RegistryOnly,
            None => self.mesh.outbound_policy,
        };
        let topology = said.map_or(&self.mesh.topology, |mesh| &mesh.topology);
        let mut inputs = self.clone();
        let started_with = (self.mesh.paths, self.mesh.outbound_policy, &self.mesh.topology);
        if (paths, outbound_policy, topology) != started_with {
            let topology = topology.clone();
            inputs.mesh = Arc::new(MeshConfig { paths, outbound_policy, topology, ..MeshConfig::clone(&self.mesh) });
        }
        inputs
    }

    /// By which this very reading is known again.
    pub fn mark(&self) -> Mark {
        Mark {
            catalog: Arc::downgrade(&self.catalog),
            config: Arc::downgrade(&self.config),
            mesh: Arc::downgrade(&self.mesh),
            credentials: Arc::downgrade(&self.credentials),
        }
    }

    /// Whether nothing but endpoints changed since `old`.
    pub fn only_endpoints_differ(&self, old: &Self) -> bool {
        let same_config = Arc::ptr_eq(&self.config, &old.config) || self.config.version == old.config.version;
        let same_mesh = Arc::ptr_eq(&self.mesh, &old.mesh) || self.mesh == old.mesh;
        let same_credentials = Arc::ptr_eq(&self.credentials, &old.credentials) || self.credentials == old.credentials;
        same_config && same_mesh && same_credentials && !self.catalog.services_differ(&old.catalog)
    }
}
