//! Joining and renewing: when, with which key, and what to do when the control plane does not answer.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::TrustDomain;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use runtime::Clock;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::control_plane::{Credential, Signer};
use super::files::Files;
use super::svid::fingerprint;
use super::token::JoinToken;
use super::{IdentityError, Jitter, Roots, Svid, Told, live};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// The wall clock may be set while we sleep; it is looked at this often.
const LOOK: Duration = Duration::from_secs(60);

/// Obtains certificates, whoever signs them.
pub struct Agent<S> {
    pub files: Files,
    pub signer: S,
    pub token: Option<JoinToken>,
    pub clock: Clock,
    pub jitter: Jitter,
}

/// When to renew a certificate obtained, or first valid, at `from`: at half its life, 10 % of it sooner or later.
pub fn due(from: SystemTime, not_after: SystemTime, jitter: f64) -> SystemTime {
    let life = not_after.duration_since(from).unwrap_or_default();
    from + life.mul_f64(0.5 + 0.05 * jitter.clamp(-1.0, 1.0))
}

/// How long to wait after the nth failure (from 0): doubling from 1 s to 60 s, and all of it shorter for certificates
/// of a short life, so that many attempts fit into what is left.
pub fn pause(failures: u32, life: Duration) -> Duration {
    let first = FIRST_PAUSE.min(life / 40);
    first.saturating_mul(1 << failures.min(6)).min(LAST_PAUSE).min(life / 10).max(Duration::from_millis(10))
}

/// A certificate below a root that signs no more is replaced within this time, each holder's at another moment.
const SPREAD: Duration = Duration::from_secs(10);

/// Renews until nobody holds a receiver any more, and takes up the trust bundles and deny lists that are told, also while
/// a renewal is under way.
pub async fn run<S: Signer>(agent: Agent<S>, svids: watch::Sender<Arc<Svid>>, mut told: watch::Receiver<Option<Told>>) {
    let mut from = svids.borrow().not_before();
    'next: loop {
        let current = svids.borrow().clone();
        let at = match current.is_of_first_root() {
            true => due(from, current.not_after(), (agent.jitter)()),
            false => agent.clock.now() + soon(&current, (agent.jitter)()),
        };
        let mut waiting = pin!(sleep_until(&agent.clock, at));
        loop {
            tokio::select! {
                () = svids.closed() => return,
                // Another root may be above the certificates that are issued now.
                Ok(()) = told.changed() => if agent.hear(&svids, &mut told) { continue 'next },
                () = &mut waiting => break,
            }
        }
        let mut renewing = pin!(agent.renew_until_done(&svids));
        let (renewed, with) = loop {
            tokio::select! {
                () = svids.closed() => return,
                Ok(()) = told.changed() => { agent.hear(&svids, &mut told); }
                renewed = &mut renewing => break renewed,
            }
        };
        let heard = svids.borrow().clone();
        let renewed = agent.with_what_was_heard(renewed, &with, &heard);
        tracing::info!(identity = %renewed.id(), not_after = ?renewed.not_after(), "identity renewed");
        from = agent.clock.now();
        svids.send_replace(Arc::new(renewed));
    }
}

fn soon(current: &Svid, jitter: f64) -> Duration {
    let life = current.not_after().duration_since(current.not_before()).unwrap_or_default();
    SPREAD.min(life / 20).mul_f64((1.0 + jitter.clamp(-1.0, 1.0)) / 2.0)
}

/// Closes the connections of those who are denied now. New ones were refused before that.
fn enforce(before: Arc<Svid>, svids: &watch::Sender<Arc<Svid>>) {
    let now = svids.borrow().clone();
    if now.denied() == before.denied() {
        return;
    }
    let closed = live::enforce(now.denied());
    tracing::warn!(denied = now.denied().len(), closed, "the mesh's deny list changed");
    if let Some(denied) = now.is_denied() {
        tracing::error!(identity = %now.id(), reason = %denied, "THIS WORKLOAD IS DENIED: peers turn it away");
    }
}

impl<S: Signer> Agent<S> {
    /// Puts in force what the control plane told last; whether there was anything new in it.
    fn hear(&self, svids: &watch::Sender<Arc<Svid>>, told: &mut watch::Receiver<Option<Told>>) -> bool {
        let Some(told) = told.borrow_and_update().clone() else { return false };
        let current = svids.borrow().clone();
        let Some(svid) = self.take_up(&current, told) else { return false };
        enforce(svids.send_replace(Arc::new(svid)), svids);
        true
    }

    /// A renewed identity knows what was known when it was asked for; more may have been heard since.
    fn with_what_was_heard(&self, renewed: Svid, with: &Svid, heard: &Svid) -> Svid {
        let renewed = renewed.with_denied(heard.denied().clone());
        if heard.roots() == with.roots() {
            return renewed;
        }
        // Which root comes first was heard as well, unless this one is newer than all that was heard.
        let newest = renewed.roots().first().filter(|root| !heard.roots().contains(root)).cloned();
        let renewed = renewed.with_roots(newest.into_iter().chain(heard.roots().iter().cloned()).collect());
        if let Err(error) = self.files.store_roots(renewed.roots()) {
            tracing::error!(%error, "the trust bundle is in force and cannot be kept for the next start");
        }
        renewed
    }

    /// The same identity with what the control plane tells; `None` where there is nothing new in it. A deny list holds
    /// from now on, even if it could not be kept for later.
    fn take_up(&self, current: &Svid, told: Told) -> Option<Svid> {
        let denied = told.denied != *current.denied();
        if denied && let Err(error) = self.files.store_denied(&told.denied) {
            tracing::error!(%error, "the deny list is in force and cannot be kept for the next start");
        }
        let svid = current.with_denied(told.denied);
        match (told.roots != svid.roots()).then(|| self.take_up_roots(&svid, told.roots)) {
            Some(Ok(svid)) => return Some(svid),
            Some(Err(error)) => tracing::error!(%error, "a trust bundle is not taken up; the last one holds"),
            None => {}
        }
        denied.then_some(svid)
    }

    /// The same identity with the roots that the control plane names. Roots that do not vouch for it are not taken:
    /// whoever has them would refuse it, and the control plane could not be told from another any more.
    fn take_up_roots(&self, current: &Svid, roots: Roots) -> Result<Svid, IdentityError> {
        let svid = current.with_roots(roots);
        let in_life = self.clock.now().clamp(current.not_before(), current.not_after());
        let judged = svid.verify(current.trust_domain(), in_life);
        judged
            .map_err(|failure| IdentityError::BadAnswer(format!("its roots are not above this identity: {failure}")))?;
        self.files.store_roots(svid.roots())?;
        tracing::info!(roots = svid.roots().len(), "trust bundle taken up");
        Ok(svid)
    }

    /// The stored identity, if peers would accept it now and it is of the mesh that the token is for.
    pub fn load(&self, trust_domain: &TrustDomain) -> Result<Svid, String> {
        let svid = self.files.load()?;
        svid.verify(trust_domain, self.clock.now()).map_err(|failure| format!("the stored certificate: {failure}"))?;
        if let Some(token) = &self.token
            && token.is_foreign_to(&svid)
        {
            return Err("the stored certificate is of another mesh than the join token".to_owned());
        }
        Ok(svid)
    }

    /// Joins with the token. The key is kept until an answer arrived, so that a lost answer can be asked for again.
    pub async fn join(&self, reason: String, patience: Duration) -> Result<Svid, IdentityError> {
        let token = self.token.clone().ok_or(IdentityError::NoToken { reason })?;
        let key = self.files.pending_key()?;
        let deadline = Instant::now() + patience;
        for failures in 0.. {
            match self.obtain(&key, Credential::Token(token.clone())).await {
                Err(error) if error.retryable() && Instant::now() < deadline => {
                    tracing::warn!(%error, "cannot join yet; trying again");
                    sleep(self.pause(failures, LAST_PAUSE, &error)).await;
                }
                done => return done,
            }
        }
        Err(IdentityError::Busy("the number of attempts is exhausted".to_owned()))
    }

    /// Takes up a kept identity that expired, by its own key; with the token if that is refused and there is one, or if
    /// nothing is kept.
    pub async fn regain(
        &self,
        trust_domain: &TrustDomain,
        reason: String,
        patience: Duration,
    ) -> Result<Svid, IdentityError> {
        let Some(expired) = self.expired(trust_domain) else { return self.join(reason, patience).await };
        let deadline = Instant::now() + patience;
        for failures in 0.. {
            match self.rejoin(&expired).await {
                Err(error) if error.retryable() && Instant::now() < deadline => {
                    tracing::warn!(%error, "the certificate expired and cannot be renewed yet; trying again");
                    sleep(self.pause(failures, LAST_PAUSE, &error)).await;
                }
                done => return done,
            }
        }
        Err(IdentityError::Busy("the number of attempts is exhausted".to_owned()))
    }

    /// The kept identity, if nothing is wrong with it but its age.
    fn expired(&self, trust_domain: &TrustDomain) -> Option<Arc<Svid>> {
        let svid = self.files.load().ok()?;
        let of_this_mesh = self.token.as_ref().is_none_or(|token| !token.is_foreign_to(&svid));
        let usable = of_this_mesh && svid.trust_domain() == trust_domain && svid.not_after() <= self.clock.now();
        usable.then(|| Arc::new(svid))
    }

    async fn rejoin(&self, expired: &Arc<Svid>) -> Result<Svid, IdentityError> {
        let answer = self.obtain(&self.files.key_in_use()?, Credential::Expired(expired.clone())).await;
        match (answer, &self.token) {
            (Err(IdentityError::Refused(reason)), Some(token)) => {
                tracing::warn!(reason, "the expired certificate is not taken; joining with the token");
                self.obtain(&self.files.pending_key()?, Credential::Token(token.clone())).await
            }
            (answer, _) => answer,
        }
    }

    /// The next identity, and the one that it was asked for with: that of the moment, whose roots the control plane may
    /// have to be known by since the first attempt.
    async fn renew_until_done(&self, svids: &watch::Sender<Arc<Svid>>) -> (Svid, Arc<Svid>) {
        let mut alarmed = false;
        let mut failures = 0;
        loop {
            let current = svids.borrow().clone();
            let life = current.not_after().duration_since(current.not_before()).unwrap_or_default();
            match self.renew(&current).await {
                Ok(svid) => return (svid, current),
                Err(error) => {
                    self.complain(&error, &current, life, &mut alarmed);
                    sleep(self.pause(failures, life, &error)).await;
                }
            }
            failures += 1;
        }
    }

    /// A fresh key each time, but for a certificate that expired: that is taken for its own key only.
    async fn renew(&self, current: &Arc<Svid>) -> Result<Svid, IdentityError> {
        if self.clock.now() < current.not_after() {
            return self.obtain(&KeyPair::generate()?, Credential::Svid(current.clone())).await;
        }
        self.rejoin(current).await
    }

    /// As long as after any failure, or as the control plane asks for, so spread that not all come again at once.
    fn pause(&self, failures: u32, life: Duration, error: &IdentityError) -> Duration {
        let spread = 1.25 + 0.25 * (self.jitter)().clamp(-1.0, 1.0);
        pause(failures, life).max(error.after().mul_f64(spread))
    }

    fn complain(&self, error: &IdentityError, current: &Svid, life: Duration, alarmed: &mut bool) {
        let left = current.not_after().duration_since(self.clock.now()).unwrap_or_default();
        if left > life / 3 {
            tracing::warn!(%error, left_s = left.as_secs(), "the identity is not renewed yet; trying again");
        } else if !std::mem::replace(alarmed, true) || left.is_zero() {
            tracing::error!(
                %error, left_s = left.as_secs(), identity = %current.id(),
                "THE IDENTITY IS ABOUT TO EXPIRE, or has: peers will refuse this workload; mend the cause"
            );
        }
    }

    async fn obtain(&self, key: &KeyPair, credential: Credential) -> Result<Svid, IdentityError> {
        let chain = self.signer.sign(csr(key)?, credential.clone()).await?;
        let roots = roots(&chain, &credential)?;
        let svid = Svid::new(chain, &Zeroizing::new(key.serialize_der()), roots)?;
        let trust_domain = match &credential {
            Credential::Svid(current) | Credential::Expired(current) => current.trust_domain().clone(),
            Credential::Token(_) => svid.trust_domain().clone(),
        };
        let verified = svid.verify(&trust_domain, self.clock.now());
        verified.map_err(|failure| IdentityError::BadAnswer(format!("{failure}; are the clocks set?")))?;
        self.files.store(&svid, key)?;
        Ok(match credential {
            Credential::Svid(current) | Credential::Expired(current) => svid.with_denied(current.denied().clone()),
            Credential::Token(_) => svid,
        })
    }
}

/// A request without names: the control plane would not look at them.
fn csr(key: &KeyPair) -> Result<String, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.pem()?)
}

/// The trust bundle after an answer: at a join the pinned root alone; at a renewal the known roots, in the order in which
/// they were told, behind a new one, so that peers which have not renewed yet stay trusted.
fn roots(
    chain: &[CertificateDer<'static>],
    credential: &Credential,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let newest = chain.last().ok_or_else(|| IdentityError::BadAnswer("the chain is empty".to_owned()))?;
    match credential {
        Credential::Token(token) if token.pins.contains(&fingerprint(newest)) => Ok(vec![newest.clone()]),
        Credential::Token(_) => {
            Err(IdentityError::BadAnswer("its root certificate is not the one that the join token names".to_owned()))
        }
        Credential::Svid(current) | Credential::Expired(current) => {
            let unknown = Some(newest).filter(|root| !current.roots().contains(root));
            Ok(unknown.into_iter().chain(current.roots()).cloned().collect())
        }
    }
}

async fn sleep_until(clock: &Clock, at: SystemTime) {
    while let Ok(left) = at.duration_since(clock.now())
        && !left.is_zero()
    {
        sleep(left.min(LOOK)).await;
    }
}
