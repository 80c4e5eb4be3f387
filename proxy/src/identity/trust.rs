//! Follows the mesh's trust bundle and deny list, and tells which roots are trusted here (`weft.v1.Trust`): the change from one root
//! to the next waits for that.

use std::sync::Arc;
use std::time::Duration;

use api::DenyList;
use api::weft::v1 as wire;
use runtime::Backoff;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::trust_client::TrustClient;

use super::svid::fingerprint;
use super::{Identity, Told};

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(15);
/// A control plane that knows nothing of this is asked again after this time.
const UNKNOWN: Duration = Duration::from_secs(300);

pub async fn follow(identity: Identity, channel: Channel) {
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    loop {
        let ended = stream(&identity, channel.clone(), &mut backoff).await;
        if ended.code() == Code::PermissionDenied {
            let id = identity.current().id().to_string();
            tracing::error!(identity = id, reason = ended.message(), "the control plane turns this workload away");
        } else {
            tracing::debug!(status = %ended, "the trust bundle is not followed now");
        }
        let pause = if ended.code() == Code::Unimplemented { UNKNOWN } else { backoff.failed() };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = identity.ended() => return,
        }
    }
}

/// One stream, to its end.
async fn stream(identity: &Identity, channel: Channel, backoff: &mut Backoff) -> Status {
    let mut svids = identity.watch();
    let (tell, told) = mpsc::channel(1);
    // The channel has room.
    let mut last = held(identity);
    let _ = tell.try_send(last.clone());
    let mut bundles = match TrustClient::new(channel).follow(ReceiverStream::new(told)).await {
        Ok(bundles) => bundles.into_inner(),
        Err(status) => return status,
    };
    loop {
        tokio::select! {
            bundle = bundles.message() => match bundle {
                Ok(Some(bundle)) => {
                    backoff.reset();
                    let denied = Arc::new(DenyList::of_wire(&bundle.denied));
                    let roots: Vec<_> = bundle.roots.into_iter().map(CertificateDer::from).collect();
                    // Whether it is new is for whoever takes it up to say: what was told before may not be in force yet.
                    if !roots.is_empty() {
                        identity.told.send_replace(Some(Told { roots, denied }));
                    }
                }
                Ok(None) => return Status::unavailable("the stream ended"),
                Err(status) => return status,
            },
            changed = svids.changed() => {
                let now = held(identity);
                if changed.is_err() {
                    return Status::cancelled("the identity is not renewed any more");
                }
                if now != last {
                    last = now;
                    if tell.send(last.clone()).await.is_err() {
                        return Status::unavailable("the stream ended");
                    }
                }
            }
        }
    }
}

fn held(identity: &Identity) -> wire::Held {
    let current = identity.current();
    let roots = current.roots().iter().map(|root| fingerprint(root).to_vec()).collect();
    wire::Held { roots, serial: current.serial().to_owned() }
}
