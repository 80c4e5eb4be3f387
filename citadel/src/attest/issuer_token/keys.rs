//! The keys of an issuer (RFC 7517): read when they are needed, kept for a while, and read again when a token names one
//! that is not among them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::Document;
use async_trait::async_trait;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self as sign, ParsedPublicKey, RsaParameters};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::Clock;
use serde_json::Value;

use super::token::Token;
use crate::Refusal;

/// For so long keys are taken as they were read.
const FRESH: Duration = Duration::from_secs(300);
/// So often they are read at most, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(10);
/// For so long they do while they cannot be read again: what an issuer withdraws must end some day.
const STALE: Duration = Duration::from_secs(24 * 3600);
const MOST_KEYS: usize = 64;

/// Where keys are read: a file, or a URL.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// A JWKS. The error names the place and what is wrong.
    async fn read(&self) -> Result<Vec<u8>, String>;
}

/// The keys of one issuer, as far as they are known.
pub struct Keys(Arc<Issuer>);

struct Issuer {
    source: Arc<dyn KeySource>,
    clock: Clock,
    known: Mutex<Known>,
    /// Held by whoever reads.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Option<Arc<Jwks>>,
    /// When they were read, and when that was tried last; Unix seconds.
    read: u64,
    tried: u64,
    /// Why the last try failed, if it did.
    failure: Option<String>,
}

impl Keys {
    pub fn new(source: Arc<dyn KeySource>, clock: Clock) -> Self {
        Self(Arc::new(Issuer { source, clock, known: Mutex::default(), reading: Arc::default() }))
    }

    /// Whether one of the keys signed the token.
    pub async fn verify(&self, token: &Token) -> Result<(), Refusal> {
        let known = self.0.known();
        if let Some(keys) = known.keys.filter(|_| !self.0.older(known.read, FRESH)) {
            match keys.verify(token) {
                Err(NotSigned::NoKey) => {}
                done => return done.map_err(|why| why.refusal(token)),
            }
        }
        let known = self.0.read_again().await;
        match known.keys.filter(|_| !self.0.older(known.read, STALE)) {
            Some(keys) => keys.verify(token).map_err(|why| why.refusal(token)),
            None => {
                let why = known.failure.unwrap_or_default();
                Err(Refusal::unavailable(format!("the issuer's keys cannot be read now: {why}")))
            }
        }
    }
}

impl Issuer {
    /// Reads the keys, unless somebody has just done so. While somebody does, others wait for that; but not where it
    /// failed the last time, for it may again be long in failing. What was begun goes on when whoever asked has gone, or
    /// nobody would learn that it fails.
    async fn read_again(self: &Arc<Self>) -> Known {
        let turn = match Arc::clone(&self.reading).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) if self.known().failure.is_some() => return self.known(),
            Err(_) => Arc::clone(&self.reading).lock_owned().await,
        };
        let known = self.known();
        let first = known.keys.is_none() && known.tried == 0;
        if first || self.older(known.tried, PAUSE) {
            let issuer = Arc::clone(self);
            let reading = tokio::spawn(async move {
                issuer.read().await;
                drop(turn);
            });
            if let Err(error) = reading.await {
                tracing::error!(%error, "reading the keys of an issuer of tokens broke off");
            }
        }
        self.known()
    }

    async fn read(&self) {
        let read = self.source.read().await.and_then(|text| Jwks::parse(&text));
        let tried = self.clock.unix_seconds();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.tried = tried;
        match read {
            Ok(keys) => *known = Known { keys: Some(Arc::new(keys)), read: tried, tried, failure: None },
            Err(error) => {
                tracing::warn!(error, "the keys of an issuer of tokens cannot be read; the last ones do for a day");
                known.failure = Some(error);
            }
        }
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn older(&self, than: u64, time: Duration) -> bool {
        self.clock.unix_seconds().saturating_sub(than) >= time.as_secs()
    }
}

/// A set of public keys. What cannot be read in it is passed over.
pub struct Jwks(Vec<Key>);

struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    Rsa(PublicKeyComponents<Vec<u8>>),
    /// The curve decides on the algorithm.
    Point(&'static str, ParsedPublicKey),
}

pub enum NotSigned {
    NoKey,
    Wrong,
}

impl NotSigned {
    fn refusal(&self, token: &Token) -> Refusal {
        let issuer = token.issuer().unwrap_or_default();
        Refusal::unauthenticated(match self {
            Self::NoKey => format!(
                "none of the keys of {issuer} is {:?} for {}; keys are public ones: RS, PS, ES or EdDSA",
                token.key_id.as_deref().unwrap_or_default(),
                token.algorithm
            ),
            Self::Wrong => format!("the token is not signed by {issuer}"),
        })
    }
}

impl Jwks {
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let Document(set) =
            serde_json::from_slice(text).map_err(|error| format!("it is no JSON that can be taken: {error}"))?;
        let all = set["keys"].as_array().ok_or("it is no JWKS, which has a list `keys`")?;
        let keys: Vec<Key> = all.iter().take(MOST_KEYS).filter_map(Key::parse).collect();
        if keys.is_empty() {
            return Err(
                "there is no public key in it that verifies signatures (RSA from 2048 bits, P-256, P-384, Ed25519)"
                    .to_owned(),
            );
        }
        Ok(Self(keys))
    }

    /// A token that names no key may be any one's.
    pub fn verify(&self, token: &Token) -> Result<(), NotSigned> {
        let mut why = NotSigned::NoKey;
        for key in &self.0 {
            let named = token.key_id.is_none() || token.key_id == key.id;
            let meant = key.algorithm.as_ref().is_none_or(|algorithm| *algorithm == token.algorithm);
            if !named || !meant || !key.is_for(&token.algorithm) {
                continue;
            }
            if key.signed(token) {
                return Ok(());
            }
            why = NotSigned::Wrong;
        }
        Err(why)
    }
}

impl Key {
    fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str();
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let key = PublicKeyComponents { n: bytes("n")?, e: bytes("e")? };
                key.to_parsed_public_key(&sign::RSA_PKCS1_2048_8192_SHA256).ok()?;
                Material::Rsa(key)
            }
            ("EC", Some("P-256")) => Material::Point("ES256", point(&sign::ECDSA_P256_SHA256_FIXED, 32, &bytes)?),
            ("EC", Some("P-384")) => Material::Point("ES384", point(&sign::ECDSA_P384_SHA384_FIXED, 48, &bytes)?),
            ("OKP", Some("Ed25519")) => {
                Material::Point("EdDSA", ParsedPublicKey::new(&sign::ED25519, bytes("x")?).ok()?)
            }
            _ => return None,
        };
        let own = |name: &str| text(name).map(str::to_owned);
        Some(Self { id: own("kid"), algorithm: own("alg"), material })
    }

    /// Whether it verifies signatures of an algorithm at all: none is a secret, and `none` is no algorithm.
    fn is_for(&self, algorithm: &str) -> bool {
        match &self.material {
            Material::Rsa(_) => rsa(algorithm).is_some(),
            Material::Point(own, _) => *own == algorithm,
        }
    }

    fn signed(&self, token: &Token) -> bool {
        let (message, signature) = (token.signed.as_bytes(), token.signature.as_slice());
        match &self.material {
            Material::Rsa(key) => {
                rsa(&token.algorithm).is_some_and(|parameters| key.verify(parameters, message, signature).is_ok())
            }
            Material::Point(_, key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// An uncompressed point (SEC 1 section 2.3.3).
fn point(
    algorithm: &'static dyn sign::VerificationAlgorithm,
    size: usize,
    bytes: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Option<ParsedPublicKey> {
    let (x, y) = (bytes("x")?, bytes("y")?);
    let fits = x.len() == size && y.len() == size;
    if fits { ParsedPublicKey::new(algorithm, [&[4][..], &x, &y].concat()).ok() } else { None }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &sign::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &sign::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &sign::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &sign::RSA_PSS_2048_8192_SHA256,
        "PS384" => &sign::RSA_PSS_2048_8192_SHA384,
        "PS512" => &sign::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
