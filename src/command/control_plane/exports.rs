//! Where the mesh's metrics are sent: the exporters that the MeshConfig names, whenever it changes.

use galley::kinds::{self, Exporter};
use galley::{Galley, Snapshot};
use mixer::{InfluxAuth, InfluxDb, Mixer, Otlp, Sink, SinkKind, StatsD, TagStyle};

/// For as long as there is configuration.
pub async fn follow(galley: Galley, mixer: Mixer) {
    let mut snapshots = galley.snapshots();
    loop {
        let sinks = sinks(&snapshots.borrow_and_update().clone());
        mixer.export(sinks);
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

fn sinks(config: &Snapshot) -> Vec<Sink> {
    let mesh = config.mesh_config();
    mesh.iter().flat_map(|mesh| mesh.spec.exporters()).map(|(name, exporter)| sink(name, exporter.clone())).collect()
}

fn sink(name: &str, exporter: Exporter) -> Sink {
    let (interval, to) = match exporter {
        Exporter::Otlp { url, headers, interval } => (interval, SinkKind::Otlp(Otlp { url, headers })),
        Exporter::StatsD { address, port, prefix, tags, interval } => {
            let tags = match tags {
                kinds::StatsdTags::DogStatsd => TagStyle::DogStatsd,
                kinds::StatsdTags::Name => TagStyle::Name,
            };
            (interval, SinkKind::StatsD(StatsD { address, port, prefix, tags }))
        }
        Exporter::InfluxDb { url, auth, interval } => {
            let auth = match auth {
                kinds::InfluxAuth::Database { name, user, password_file } => {
                    InfluxAuth::Database { name, user, password_file }
                }
                kinds::InfluxAuth::Bucket { organization, bucket, token_file } => {
                    InfluxAuth::Bucket { organization, bucket, token_file }
                }
            };
            (interval, SinkKind::InfluxDb(InfluxDb { url, auth }))
        }
    };
    Sink { name: name.to_owned(), interval, to }
}
