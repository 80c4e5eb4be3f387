//! The service `weft.v1.Trust`: tells every holder of a certificate which roots vouch for the mesh and who is turned
//! away all the same, and hears which roots it trusts.

use std::pin::Pin;
use std::sync::Arc;

use api::weft::v1 as wire;
use api::{DenyList, X509Svid};
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::trust_server::{Trust as TrustService, TrustServer};

use crate::{Holder, PeerCertificates, Rotation, TrustBundle};

/// A caller trusts fewer roots than this.
const MOST_ROOTS: usize = 16;

/// The service.
pub struct Trust {
    rotation: Rotation,
    denied: watch::Receiver<Arc<DenyList>>,
}

impl Trust {
    /// Requests find their peer's certificates in the extension `PeerCertificates`, which `incoming` provides.
    pub fn server(rotation: Rotation, denied: watch::Receiver<Arc<DenyList>>) -> TrustServer<Self> {
        TrustServer::new(Self { rotation, denied }).max_decoding_message_size(4096)
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
        let (answers, stream) = mpsc::channel(1);
        let follower = Follower { svid, rotation: self.rotation.clone(), denied: self.denied.clone(), answers };
        tokio::spawn(follower.serve(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// A caller, and what it needs to be told.
struct Follower {
    svid: X509Svid,
    rotation: Rotation,
    denied: watch::Receiver<Arc<DenyList>>,
    answers: mpsc::Sender<Result<wire::Bundle, Status>>,
}

impl Follower {
    async fn serve(mut self, mut told: Streaming<wire::Held>) {
        let holder = Holder { identity: self.svid.id.to_string(), member: self.svid.common_name.clone() };
        let mut bundles = self.rotation.bundles();
        bundles.mark_changed();
        loop {
            tokio::select! {
                held = told.message() => {
                    let Ok(Some(held)) = held else { return };
                    let roots = held.roots.iter().take(MOST_ROOTS).map(hex::encode).collect();
                    self.rotation.told(holder.clone(), roots).await;
                    continue;
                }
                Ok(()) = bundles.changed() => {}
                Ok(()) = self.denied.changed() => {}
            }
            let roots = bundles.borrow_and_update().clone();
            let denied = self.denied.borrow_and_update().clone();
            if let Some(denied) = denied.denies(&self.svid) {
                let _ = self.answers.send(Err(Status::permission_denied(denied.to_string()))).await;
                return;
            }
            if self.answers.send(Ok(wire_of(&roots, &denied))).await.is_err() {
                return;
            }
        }
    }
}

fn wire_of(bundle: &TrustBundle, denied: &DenyList) -> wire::Bundle {
    wire::Bundle {
        roots: bundle.roots.iter().map(|root: &CertificateDer<'_>| root.to_vec()).collect(),
        denied: denied.to_wire(),
    }
}
