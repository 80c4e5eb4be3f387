//! The last configuration, kept on disk, so that a proxy that starts while the control plane is away serves at once.
//! Secrets are not in it: who takes the file takes no private key.

use std::io;
use std::path::{Path, PathBuf};

use api::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use api::prost::Message as _;

use super::resources::{Origin, Resources};
use crate::config::ResourceKind as Kind;

/// A file of length-delimited discovery responses, one for each kind but secrets.
#[derive(Clone, Debug)]
pub struct Copy {
    path: PathBuf,
}

impl Copy {
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join("xds.pb") }
    }

    /// Writes the resources in place of the previous copy, which stays whole until the new one is.
    pub fn write(&self, resources: &Resources) -> io::Result<()> {
        let mut bytes = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret) {
            let of_server = resources.of(kind).filter(|(_, held)| held.origin == Origin::Ads);
            let response = DeltaDiscoveryResponse {
                type_url: kind.type_url().to_owned(),
                resources: of_server.map(|(_, held)| held.resource()).collect(),
                ..Default::default()
            };
            bytes.extend(response.encode_length_delimited_to_vec());
        }
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        runtime::files::write_atomic(&self.path, &bytes, runtime::files::PRIVATE)
    }

    /// Reads the copy back among the resources; false if there is none. What this version does not understand is left
    /// out and named in the log.
    pub fn read(&self, resources: &mut Resources) -> io::Result<bool> {
        let bytes = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            bytes => bytes?,
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let response = DeltaDiscoveryResponse::decode_length_delimited(&mut rest).map_err(io::Error::other)?;
            let Some(kind) = Kind::of(&response.type_url) else { continue };
            for resource in response.resources {
                if let Err(error) = resources.insert(kind, resource, Origin::Ads) {
                    tracing::warn!(path = %self.path.display(), %error, "a resource of the kept configuration is left out");
                }
            }
        }
        Ok(true)
    }
}
