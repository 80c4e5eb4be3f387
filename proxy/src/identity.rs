//! The agent: obtains this workload's identity from the control plane, keeps it on disk, renews it, and hands it to
//! the data plane as a value that changes under open connections without touching them.
//!
//! What must hold: the private key never leaves its directory; the control plane is believed only after it proved to
//! be the one that the join token or the stored bundle names; whatever happens to the control plane, the last
//! certificate is served as long as it is valid.

mod control_plane;
mod error;
mod files;
pub mod live;
mod renewal;
mod svid;
pub mod tls;
pub(crate) mod token;
mod trust;

#[cfg(test)]
pub(crate) mod test_kit;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{DenyList, SpiffeError, SpiffeId, TrustDomain};
use runtime::Clock;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tonic::transport::Channel;

use self::control_plane::{ControlPlane, Signer};
pub use self::error::IdentityError;
use self::files::Files;
use self::renewal::Agent;
pub use self::svid::Svid;
use self::token::JoinToken;
pub use self::token::TokenFile;

/// The service account that the control plane runs as.
const CONTROL_PLANE: (&str, &str) = ("istio-system", "control-plane");

/// What the agent needs to know.
#[derive(Clone)]
pub struct IdentityOptions {
    /// Holds `key.pem`, `cert-chain.pem` and `root-cert.pem`; made if absent, closed to others.
    pub dir: PathBuf,
    /// `host:port`, with or without `https://` before it.
    pub control_plane: String,
    /// The SPIFFE ID that the control plane must prove.
    pub control_plane_id: SpiffeId,
    /// Needed for the first join only.
    pub token: Option<String>,
    /// In place of a join token: the platform's.
    pub token_file: Option<TokenFile>,
    /// For how long a first join is tried while the control plane cannot be reached.
    pub patience: Duration,
    pub clock: Clock,
    pub jitter: Jitter,
}

/// Draws numbers between -1 and 1, to spread renewals of many agents.
pub type Jitter = Arc<dyn Fn() -> f64 + Send + Sync>;

impl IdentityOptions {
    pub fn new(
        dir: impl Into<PathBuf>,
        control_plane: impl Into<String>,
        trust_domain: &TrustDomain,
    ) -> Result<Self, SpiffeError> {
        Ok(Self {
            dir: dir.into(),
            control_plane: control_plane.into(),
            control_plane_id: trust_domain.workload(CONTROL_PLANE.0, CONTROL_PLANE.1)?,
            token: None,
            token_file: None,
            patience: Duration::from_secs(60),
            clock: Clock::system(),
            jitter: Arc::new(|| rand::random_range(-1.0..=1.0)),
        })
    }
}

/// A live identity. Renewal goes on while this or a receiver of it is held, unless it was tied to a [`Renewal`].
#[derive(Clone, Debug)]
pub struct Identity {
    svids: watch::Receiver<Arc<Svid>>,
    /// To whoever renews it.
    told: watch::Sender<Option<Told>>,
    /// Who renews it.
    renewing: Option<AbortHandle>,
}

/// Ends the renewal of an identity when it is dropped. Whoever follows the identity then learns that there will be no
/// other.
#[derive(Debug)]
#[must_use = "the renewal ends when it is dropped"]
pub struct Renewal(Option<AbortHandle>);

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(renewing) = &self.0 {
            renewing.abort();
        }
    }
}

/// Root certificates; the first is above all that are issued now.
pub type Roots = Vec<CertificateDer<'static>>;

/// What the control plane told last: whom to trust, and whom not to trust all the same.
#[derive(Clone, Debug)]
struct Told {
    roots: Roots,
    denied: Arc<DenyList>,
}

impl Identity {
    /// Takes up the identity kept in the directory, or joins with the token, and starts renewing. A stored identity
    /// that is still valid needs neither token nor control plane.
    pub async fn load_or_join(options: IdentityOptions) -> Result<Self, IdentityError> {
        let control_plane = ControlPlane::new(&options)?;
        let files = Files::open(&options.dir)?;
        let token = match &options.token_file {
            Some(files) => Some(JoinToken::of_file(files)?),
            None => options.token.as_deref().map(JoinToken::parse).transpose()?,
        };
        let agent = Agent { files, signer: control_plane, token, clock: options.clock, jitter: options.jitter };
        let trust_domain = options.control_plane_id.trust_domain();
        let svid = match agent.load(trust_domain) {
            Ok(svid) => svid,
            Err(reason) => agent.regain(trust_domain, reason, options.patience).await?,
        };
        live::follow();
        live::enforce(svid.denied());
        tracing::info!(identity = %svid.id(), not_after = ?svid.not_after(), "identity ready");
        Ok(Self::renewed(agent, svid))
    }

    /// An identity that an agent renews from now on.
    fn renewed<S: Signer>(agent: Agent<S>, svid: Svid) -> Self {
        let (sender, svids) = watch::channel(Arc::new(svid));
        let (told, roots) = watch::channel(None);
        let renewing = tokio::spawn(renewal::run(agent, sender, roots)).abort_handle();
        Self { svids, told, renewing: Some(renewing) }
    }

    /// Ties the renewal to what is returned, whoever else holds the identity.
    pub fn renewal(&self) -> Renewal {
        Renewal(self.renewing.clone())
    }

    /// An identity that is given and not renewed: certificates from files, tests.
    pub fn fixed(svid: Svid) -> Self {
        let (_, svids) = watch::channel(Arc::new(svid));
        Self { svids, told: watch::Sender::new(None), renewing: None }
    }

    pub fn current(&self) -> Arc<Svid> {
        self.svids.borrow().clone()
    }

    /// Follows the mesh's trust bundle over a channel to the control plane, for as long as the identity is renewed.
    pub async fn follow_trust(self, control_plane: Channel) {
        trust::follow(self, control_plane).await;
    }

    /// Returns once the identity is not renewed any more.
    pub async fn ended(&self) {
        let mut svids = self.svids.clone();
        while svids.changed().await.is_ok() {}
    }

    /// The identity now and after each renewal.
    pub fn watch(&self) -> watch::Receiver<Arc<Svid>> {
        self.svids.clone()
    }
}

impl fmt::Debug for IdentityOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityOptions")
            .field("dir", &self.dir)
            .field("control_plane", &self.control_plane)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}
