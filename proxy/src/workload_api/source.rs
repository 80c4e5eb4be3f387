//! A workload's identity as the socket hands it out: its certificate, and tokens that the control plane signs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use api::SpiffeError;
use api::weft::v1::jwt_client::JwtClient;
use api::weft::v1::{FollowKeysRequest, MintRequest};
use parking_lot::Mutex;
use runtime::Backoff;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::control_plane::{channel, control_plane_id};
use crate::identity::{Identity, Svid};

/// How long the control plane may take.
const DEADLINE: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(15);
/// Tokens that are kept for who asks again.
const MOST_TOKENS: usize = 256;

/// See the module's description.
pub struct Source {
    identity: Identity,
    control_plane: Channel,
    /// Begun when somebody asks for them first.
    keys: OnceLock<watch::Receiver<Option<Arc<str>>>>,
    tokens: Mutex<BTreeMap<Vec<String>, Token>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    issued: SystemTime,
    expires: SystemTime,
}

impl Source {
    /// `control_plane` is its address.
    pub fn of(identity: &Identity, control_plane: &str) -> Result<Self, SpiffeError> {
        let server = control_plane_id(identity.current().trust_domain())?;
        let control_plane = channel(control_plane, identity, server);
        Ok(Self { identity: identity.clone(), control_plane, keys: OnceLock::new(), tokens: Mutex::default() })
    }

    pub fn current(&self) -> Arc<Svid> {
        self.identity.current()
    }

    pub fn svids(&self) -> watch::Receiver<Arc<Svid>> {
        self.identity.watch()
    }

    /// Returns once the identity is not renewed any more.
    pub async fn ended(&self) {
        self.identity.ended().await;
    }

    /// The keys that verify the mesh's tokens: a set in JSON, once it is known.
    pub fn keys(&self) -> watch::Receiver<Option<Arc<str>>> {
        let begin = || {
            let (keys, told) = watch::channel(None);
            tokio::spawn(follow(self.control_plane.clone(), keys));
            told
        };
        self.keys.get_or_init(begin).clone()
    }

    /// A token for this audience, with at least half of its life before it.
    pub async fn token(&self, mut audience: Vec<String>) -> Result<String, Status> {
        audience.sort();
        audience.dedup();
        let now = SystemTime::now();
        if let Some(token) = self.tokens.lock().get(&audience).filter(|token| token.is_fresh(now)) {
            return Ok(token.text.clone());
        }
        let mut request = Request::new(MintRequest { audience: audience.clone() });
        request.set_timeout(DEADLINE);
        let minted = JwtClient::new(self.control_plane.clone()).mint(request).await.map_err(told)?.into_inner();
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(minted.expires.try_into().unwrap_or(0));
        let token = Token { text: minted.token, issued: now, expires };
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MOST_TOKENS {
            tokens.retain(|_, token| token.is_fresh(now));
        }
        if tokens.len() < MOST_TOKENS {
            tokens.insert(audience, token.clone());
        }
        Ok(token.text)
    }
}

impl Token {
    fn is_fresh(&self, now: SystemTime) -> bool {
        let life = self.expires.duration_since(self.issued).unwrap_or_default();
        now >= self.issued && now < self.issued + life / 2
    }
}

/// What the control plane refuses, it refuses in words for the caller; else it is away.
fn told(status: Status) -> Status {
    match status.code() {
        Code::InvalidArgument | Code::PermissionDenied | Code::ResourceExhausted => {
            Status::new(status.code(), status.message())
        }
        Code::Unauthenticated => Status::permission_denied(status.message()),
        _ => Status::unavailable(format!("the control plane signs no token now: {}", status.message())),
    }
}

/// Follows the keys until nobody asks for them any more; what was told last holds while the control plane is away.
async fn follow(channel: Channel, keys: watch::Sender<Option<Arc<str>>>) {
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    loop {
        tokio::select! {
            () = keys.closed() => return,
            ended = stream(channel.clone(), &keys, &mut backoff) => {
                tracing::debug!(status = %ended, "the keys of tokens are not followed now");
            }
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

async fn stream(channel: Channel, keys: &watch::Sender<Option<Arc<str>>>, backoff: &mut Backoff) -> Status {
    let mut told = match JwtClient::new(channel).follow_keys(FollowKeysRequest {}).await {
        Ok(told) => told.into_inner(),
        Err(status) => return status,
    };
    loop {
        match told.message().await {
            Ok(Some(told)) => {
                backoff.reset();
                keys.send_replace(Some(told.jwks.into()));
            }
            Ok(None) => return Status::unavailable("the stream ended"),
            Err(status) => return status,
        }
    }
}
