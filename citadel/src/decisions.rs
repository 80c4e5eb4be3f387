//! What became of every request for an identity, for whoever writes it down. Each certificate and token that is issued is
//! told before its holder has it; so is each refusal, as long as there is room, and how many there was none for.

mod sums;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::X509Svid;
use tokio::sync::mpsc;
use tonic::Code;

pub use self::sums::{Sums, Told};
use crate::PeerCertificates;

/// So many wait to be written down.
const WAITING: usize = 4096;
/// So much of a reason is told: some of it may be the client's own words.
const LONGEST_REASON: usize = 400;

/// For what somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    #[default]
    Certificate,
    JwtSvid,
}

/// One request and its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub wanted: Wanted,
    /// The SPIFFE ID, as far as it is known who asked.
    pub identity: String,
    pub member: Option<String>,
    pub from: Option<IpAddr>,
    /// How it is known; empty where it is not.
    pub attested_by: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `serial` of a certificate; the audiences of a token. Unix seconds.
    Issued {
        what: String,
        until: u64,
    },
    Refused {
        code: Code,
        reason: String,
    },
}

impl Decision {
    /// A request of somebody, by the certificate of the connection as far as there is one: refused until it is not.
    pub(crate) fn of(wanted: Wanted, peer: Option<&PeerCertificates>) -> Self {
        let svid = peer.and_then(|peer| X509Svid::parse(peer.chain.first()?).ok());
        let (identity, member) = svid.map_or_else(Default::default, |svid| (svid.id.to_string(), svid.common_name));
        let from = peer.and_then(|peer| peer.address).map(|address| address.ip());
        Self { wanted, identity, member, from, ..Self::default() }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Refused { code: Code::Unknown, reason: String::new() }
    }
}

/// Where decisions are told. Cloning shares; the default tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Option<(mpsc::Sender<Decision>, Arc<AtomicU64>)>);

/// What was issued must not be handed out: nobody would learn of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this control plane is ending, so it was not handed out; ask again, or another one")]
pub struct Unseen;

/// What is told.
#[derive(Debug)]
pub struct Decided {
    decisions: mpsc::Receiver<Decision>,
    missed: Arc<AtomicU64>,
}

impl Decisions {
    pub fn channel() -> (Self, Decided) {
        let (sender, decisions) = mpsc::channel(WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        (Self(Some((sender, missed.clone()))), Decided { decisions, missed })
    }

    /// Tells of what was issued; waits until there is room, so that nothing is issued unseen.
    pub(crate) async fn issued(&self, decision: Decision) -> Result<(), Unseen> {
        let Some((sender, _)) = &self.0 else { return Ok(()) };
        sender.send(decision).await.map_err(|_| Unseen)
    }

    /// Tells of a refusal. Whoever floods is not waited for: what finds no room is counted.
    pub(crate) fn refused(&self, decision: Decision, code: Code, reason: &str) {
        let Some((sender, missed)) = &self.0 else { return };
        let reason = reason.chars().take(LONGEST_REASON).collect();
        let decision = Decision { outcome: Outcome::Refused { code, reason }, ..decision };
        if sender.try_send(decision).is_err() {
            missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Decided {
    /// What was told, at most as many as `buffer` has room for; false once nothing more will be.
    pub async fn next(&mut self, buffer: &mut Vec<Decision>, most: usize) -> bool {
        self.decisions.recv_many(buffer, most).await > 0
    }

    /// What was told until now. From then on nothing is, and so nothing is issued.
    pub async fn rest(&mut self, buffer: &mut Vec<Decision>) {
        self.decisions.close();
        while let Some(decision) = self.decisions.recv().await {
            buffer.push(decision);
        }
    }

    /// How many refusals found no room since this was asked last.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}
