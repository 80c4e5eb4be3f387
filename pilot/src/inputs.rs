//! What the compile works from.

use std::sync::Arc;

use registry::Catalog;

use crate::mesh::MeshConfig;

/// One consistent reading of services, configuration and mesh settings. Cloning shares.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub catalog: Arc<Catalog>,
    pub config: Arc<galley::Snapshot>,
    pub mesh: Arc<MeshConfig>,
    /// Whether registries and configuration have told all they know once. Nothing is pushed before.
    pub ready: bool,
}

impl Inputs {
    /// Whether nothing but endpoints changed since `old`.
    pub fn only_endpoints_differ(&self, old: &Self) -> bool {
        let same_config = Arc::ptr_eq(&self.config, &old.config) || self.config.version == old.config.version;
        let same_mesh = Arc::ptr_eq(&self.mesh, &old.mesh) || self.mesh == old.mesh;
        same_config && same_mesh && !self.catalog.services_differ(&old.catalog)
    }
}
