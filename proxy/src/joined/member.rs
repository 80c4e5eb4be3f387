//! Follows what the control plane says of the workload, at the address of the day. The last word is kept on disk, and
//! holds while the control plane is away.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use api::prost::Message as _;
use api::weft::v1 as wire;
use runtime::{Backoff, files};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;

use super::{FIRST_PAUSE, Joined, LAST_PAUSE, Present};
use crate::identity::Identity;
use crate::membership::Membership;

const FILE: &str = "member.pb";
/// How long the last description is not taken for granted.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps a description for the next start.
pub fn keep(state_dir: &Path, member: &wire::Member) -> std::io::Result<()> {
    files::write_atomic(&state_dir.join(FILE), &member.encode_to_vec(), files::PRIVATE)
}

pub(super) fn follow(
    joined: &Joined,
    identity: &Identity,
    addresses: watch::Receiver<Option<IpAddr>>,
) -> watch::Receiver<Option<Present>> {
    let (sender, presents) = watch::channel(None);
    let kept = std::fs::read(joined.state_dir.join(FILE)).ok();
    let member = kept.and_then(|bytes| wire::Member::decode(bytes.as_slice()).ok());
    let following = Following { joined: joined.clone(), identity: identity.clone(), sender, member };
    tokio::spawn(following.run(addresses));
    presents
}

struct Following {
    joined: Joined,
    identity: Identity,
    sender: watch::Sender<Option<Present>>,
    member: Option<wire::Member>,
}

impl Following {
    async fn run(mut self, mut addresses: watch::Receiver<Option<IpAddr>>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        let sender = self.sender.clone();
        loop {
            let address = *addresses.borrow_and_update();
            let attempt = async {
                match address {
                    Some(address) => {
                        complain(&self.follow(address, &mut backoff).await);
                        tokio::time::sleep(backoff.failed()).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = attempt => {}
                // The machine is somewhere else: at once, and on a connection from there.
                changed = addresses.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    }

    /// Takes every description until the answer ends. Without an answer the last one holds at this address too.
    async fn follow(&mut self, address: IpAddr, backoff: &mut Backoff) -> Result<(), Status> {
        let joined = &self.joined;
        let membership = Membership::new(&joined.control_plane, &self.identity, &joined.trust_domain);
        let mut membership = membership.map_err(|error| Status::internal(error.to_string()))?;
        let workload = joined.workload.clone().unwrap_or_default();
        let answer = timeout(PATIENCE, membership.follow(address, &workload)).await;
        let mut answer = match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))) {
            Ok(answer) => answer,
            Err(status) => {
                self.tell(address);
                return Err(status);
            }
        };
        while let Some(member) = answer.message().await? {
            backoff.reset();
            if self.member.as_ref() != Some(&member) {
                if let Err(error) = keep(&self.joined.state_dir, &member) {
                    tracing::warn!(%error, "what the group says cannot be kept for the next start");
                }
                self.member = Some(member);
            }
            self.tell(address);
        }
        Ok(())
    }

    fn tell(&self, address: IpAddr) {
        let Some(member) = self.member.clone() else { return };
        let present = Present { address, member };
        self.sender.send_if_modified(|known| known.replace(present.clone()).as_ref() != Some(&present));
    }
}

fn complain(ended: &Result<(), Status>) {
    use tonic::Code::{FailedPrecondition, PermissionDenied, Unauthenticated};
    let Err(status) = ended else { return };
    let reason = status.message();
    match status.code() {
        FailedPrecondition | PermissionDenied | Unauthenticated => {
            tracing::error!(reason, "the control plane does not take this workload as it is");
        }
        code => tracing::warn!(?code, reason, "the control plane is out of reach; going on as before"),
    }
}
