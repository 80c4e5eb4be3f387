//! The service `weft.v1.Trust`: tells every holder of a certificate which roots vouch for the mesh, and hears which of
//! them it trusts.

use std::pin::Pin;

use api::X509Svid;
use api::weft::v1 as wire;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::trust_server::{Trust as TrustService, TrustServer};

use crate::{Holder, PeerCertificates, Rotation, TrustBundle};

/// A caller trusts fewer roots than this.
const MOST_ROOTS: usize = 16;

/// The service.
pub struct Trust(Rotation);

impl Trust {
    /// Requests find their peer's certificates in the extension `PeerCertificates`, which `incoming` provides.
    pub fn server(rotation: Rotation) -> TrustServer<Self> {
        TrustServer::new(Self(rotation)).max_decoding_message_size(4096)
    }
}

type Bundles = Pin<Box<dyn Stream<Item = Result<wire::Bundle, Status>> + Send>>;

#[tonic::async_trait]
impl TrustService for Trust {
    type FollowStream = Bundles;

    async fn follow(&self, request: Request<Streaming<wire::Held>>) -> Result<Response<Bundles>, Status> {
        let leaf = request.extensions().get::<PeerCertificates>().and_then(|peer| peer.chain.first().cloned());
        let leaf = leaf.ok_or_else(|| Status::unauthenticated("present the certificate of a workload of this mesh"))?;
        let svid = X509Svid::parse(&leaf).map_err(|error| Status::unauthenticated(error.to_string()))?;
        let holder = Holder { identity: svid.id.to_string(), member: svid.common_name };
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(serve(self.0.clone(), holder, request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn serve(
    rotation: Rotation,
    holder: Holder,
    mut told: Streaming<wire::Held>,
    answers: mpsc::Sender<Result<wire::Bundle, Status>>,
) {
    let mut bundles = rotation.bundles();
    bundles.mark_changed();
    loop {
        tokio::select! {
            held = told.message() => {
                let Ok(Some(held)) = held else { return };
                rotation.told(holder.clone(), held.roots.iter().take(MOST_ROOTS).map(hex::encode).collect());
            }
            Ok(()) = bundles.changed() => {
                let bundle = wire_of(&bundles.borrow_and_update());
                if answers.send(Ok(bundle)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn wire_of(bundle: &TrustBundle) -> wire::Bundle {
    wire::Bundle { roots: bundle.roots.iter().map(|root: &CertificateDer<'_>| root.to_vec()).collect() }
}
