//! Questions to Consul with a deadline, and answers with the index to ask on from.
//!
//! The HTTP client is made here and not by the client library, whose own way to a client certificate fails; every
//! other call goes through it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use consulrs::api::features::{Blocking, ConsistencyMode, FeaturedEndpoint};
use consulrs::api::{ApiResponse, Features};
use consulrs::client::{ConsulClient, ConsulClientSettings};
use consulrs::error::ClientError;
use rustify::Endpoint;
use rustify::errors::ClientError as RestError;

use super::endpoints::{InState, Instances, Nodes, OnNode, Services};
use super::entry::{Check, Entry, Named, Occupied};
use super::options::{ConsulError, ConsulOptions, Token};

/// How long an answer may take beyond the time that the query blocks for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A host that is gone without a word is noticed by probes of TCP.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Long queries that one HTTP/2 connection carries; Consul allows 250.
pub(super) const PER_CONNECTION: usize = 100;
/// The servers' own service, which is for agents only.
const OWN: &str = "consul";
/// HTTP/2 connections at most.
const SHARDS: usize = 16;

/// Connections to one Consul.
pub(super) struct Client {
    /// With HTTP/1.1 one that opens a connection for each query at a time, with HTTP/2 several that share one each.
    shards: Vec<ConsulClient>,
    next: AtomicUsize,
    options: ConsulOptions,
}

/// Why a question found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer {
    pub reason: String,
    /// The server said nothing, or that it cannot say anything now: another question would have found as little.
    pub lost: bool,
}

impl NoAnswer {
    fn lost(reason: String) -> Self {
        Self { reason, lost: true }
    }

    /// Whether the server will go on answering so, as to a token that may not ask this.
    pub fn is_refusal(&self) -> bool {
        ["403 ", "404 ", "405 "].iter().any(|code| self.reason.starts_with(code))
    }
}

impl From<&str> for NoAnswer {
    fn from(reason: &str) -> Self {
        Self { reason: reason.to_owned(), lost: false }
    }
}

impl From<NoAnswer> for String {
    fn from(why: NoAnswer) -> Self {
        why.reason
    }
}

/// What a question found.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub index: u64,
    pub value: T,
}

impl<T> Answer<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { index: self.index, value: change(self.value) }
    }
}

/// The names of all services that the token may see.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub names: BTreeSet<String>,
    /// Whether not even the servers' own service was among them, which every datacenter has: the token may see little.
    pub hidden: bool,
}

/// How a question is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ask {
    /// The state now, as the leader confirms it.
    Confirmed,
    /// The state now.
    Now,
    /// The state once it is newer than this index, or after that long.
    Newer(u64, Duration),
}

impl Client {
    pub fn open(options: &ConsulOptions) -> Result<Self, ConsulError> {
        let token = token(options.token.as_ref())?;
        let shards = if options.is_https() { SHARDS.min(options.max_connections) } else { 1 };
        let made = (0..shards).map(|_| {
            let http = rustify::clients::reqwest::Client::new(&options.address, http_client(options)?);
            Ok(ConsulClient { http, settings: settings(options, token.clone()) })
        });
        Ok(Self {
            shards: made.collect::<Result<_, ConsulError>>()?,
            next: AtomicUsize::new(0),
            options: options.clone(),
        })
    }

    /// Opens the connections; how many long queries may be asked at a time over them.
    pub async fn connect(&self) -> Result<usize, String> {
        let versions = futures_util::future::try_join_all(self.shards.iter().map(knock)).await?;
        let shared = versions.iter().all(|version| *version == reqwest::Version::HTTP_2);
        let most = self.options.max_connections;
        Ok(if shared { self.shards.len() * PER_CONNECTION } else { most })
    }

    pub async fn services(&self, ask: Ask) -> Result<Answer<Names>, NoAnswer> {
        let (dc, ns, partition) = self.place();
        // The servers' own service is in the default namespace only.
        let default = [&ns, &partition].iter().all(|name| name.as_deref().is_none_or(|name| name == "default"));
        let asked = Services { features: self.features(ask), dc, ns, partition };
        let answer: Answer<BTreeMap<String, _>> = self.exec(asked, ask).await?;
        let mut names: BTreeSet<String> = answer.value.into_keys().collect();
        let hidden = !names.remove(OWN) && default;
        Ok(Answer { index: answer.index, value: Names { names, hidden } })
    }

    /// The index of a service's last change, without its instances: no instance has this ID.
    pub async fn moved(&self, service: &str) -> Result<u64, NoAnswer> {
        let (dc, ns, partition) = self.place();
        let nothing =
            Features { filter: Some("Service.ID == \"\"".into()), ..self.features(Ask::Now).unwrap_or_default() };
        let asked = Instances { service: service.to_owned(), features: Some(nothing), dc, ns, partition };
        let answer: Answer<Vec<Entry>> = self.exec(asked, Ask::Now).await?;
        Ok(answer.index)
    }

    pub async fn nodes(&self, ask: Ask) -> Result<Answer<BTreeSet<String>>, NoAnswer> {
        let (dc, ns, partition) = self.place();
        let answer: Answer<Vec<Named>> =
            self.exec(Nodes { features: self.features(ask), dc, ns, partition }, ask).await?;
        Ok(answer.map(|all| all.into_iter().map(|named| named.node).collect()))
    }

    pub async fn on_node(&self, node: &str, ask: Ask) -> Result<Answer<Occupied>, NoAnswer> {
        let (dc, ns, partition) = self.place();
        let asked = OnNode { node: node.to_owned(), features: self.features(ask), dc, ns, partition };
        let answer: Answer<Option<Occupied>> = self.exec(asked, ask).await?;
        Ok(answer.map(Option::unwrap_or_default))
    }

    pub async fn in_state(&self, status: &str, ask: Ask) -> Result<Answer<Vec<Check>>, NoAnswer> {
        let (dc, ns, partition) = self.place();
        let asked = InState { status: status.to_owned(), features: self.features(ask), dc, ns, partition };
        self.exec(asked, ask).await
    }

    pub async fn instances(&self, service: &str, ask: Ask) -> Result<Answer<Vec<Entry>>, NoAnswer> {
        let (dc, ns, partition) = self.place();
        let asked = Instances { service: service.to_owned(), features: self.features(ask), dc, ns, partition };
        let answer: Answer<Vec<Entry>> = self.exec(asked, ask).await?;
        // A server that knows no partitions does not refuse to be asked for one.
        let wanted = &self.options.partition;
        match answer.value.iter().any(|entry| wanted.is_some() && entry.node.partition != *wanted) {
            true => Err("the server answers without regard to the partition; it is no Consul Enterprise".into()),
            false => Ok(answer),
        }
    }

    /// Whether any server may answer, also one that is behind another.
    pub fn is_stale(&self) -> bool {
        self.options.stale
    }

    fn place(&self) -> (Option<String>, Option<String>, Option<String>) {
        let options = &self.options;
        (options.datacenter.clone(), options.namespace.clone(), options.partition.clone())
    }

    fn features(&self, ask: Ask) -> Option<Features> {
        let blocking = match ask {
            Ask::Newer(index, wait) => Some(Blocking { index, wait: Some(format!("{}ms", wait.as_millis())) }),
            _ => None,
        };
        let mode = match ask {
            Ask::Confirmed => Some(ConsistencyMode::CONSISTENT),
            _ => self.options.stale.then_some(ConsistencyMode::STALE),
        };
        Some(Features { blocking, mode, ..Features::default() })
    }

    async fn exec<E: Endpoint + FeaturedEndpoint>(&self, asked: E, ask: Ask) -> Result<Answer<E::Response>, NoAnswer> {
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let limit = match ask {
            // Consul adds up to a sixteenth, so that not all come back at once.
            Ask::Newer(_, wait) => wait + wait / 16 + PATIENCE,
            _ => PATIENCE,
        };
        let executed = consulrs::api::exec_with_result(&self.shards[shard], asked);
        let answer = tokio::time::timeout(limit, executed).await.map_err(|_| NoAnswer::lost(late(limit)))?;
        checked(answer.map_err(|error| explain(&error))?)
    }
}

/// Whether the server is there, and by which version of HTTP.
async fn knock(shard: &ConsulClient) -> Result<reqwest::Version, String> {
    let sent = shard.http.http.get(format!("{}/v1/status/leader", shard.http.base)).send();
    let answer = tokio::time::timeout(PATIENCE, sent).await.map_err(|_| late(PATIENCE))?;
    Ok(answer.map_err(|error| root_cause(&error))?.version())
}

fn checked<T>(answer: ApiResponse<T>) -> Result<Answer<T>, NoAnswer> {
    let index = answer.index.as_deref().and_then(|index| index.parse().ok());
    let index = index.ok_or("the answer has no X-Consul-Index; is that a Consul server?")?;
    Ok(Answer { index, value: answer.response })
}

fn http_client(options: &ConsulOptions) -> Result<reqwest::Client, ConsulError> {
    let mut builder = reqwest::Client::builder().use_rustls_tls().tcp_keepalive(KEEPALIVE).no_proxy();
    if let Some(path) = &options.ca_file {
        let certificates = pem_certificates(&read(path, "ca-file")?);
        if certificates.is_empty() {
            return Err(unusable(path, "ca-file", "it holds no certificate in PEM form"));
        }
        // Who names an authority trusts no other.
        builder = builder.tls_built_in_root_certs(false);
        for pem in certificates {
            let certificate = reqwest::Certificate::from_pem(&pem);
            builder = builder
                .add_root_certificate(certificate.map_err(|error| unusable(path, "ca-file", &root_cause(&error)))?);
        }
    }
    if let (Some(certificate), Some(key)) = (&options.cert_file, &options.key_file) {
        let pem = [read(certificate, "cert-file")?, b"\n".to_vec(), read(key, "key-file")?].concat();
        let identity = reqwest::Identity::from_pem(&pem);
        builder = builder.identity(identity.map_err(|error| unusable(certificate, "cert-file", &root_cause(&error)))?);
    }
    builder.build().map_err(|error| ConsulError::Client(root_cause(&error)))
}

/// The blocks of a file of certificates, one each.
fn pem_certificates(text: &[u8]) -> Vec<Vec<u8>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(text);
    let begun = text.split_inclusive(END).filter_map(|part| part.split_once("-----BEGIN CERTIFICATE-----"));
    begun
        .filter(|(_, rest)| rest.ends_with(END))
        .map(|(_, rest)| format!("-----BEGIN CERTIFICATE-----{rest}\n").into_bytes())
        .collect()
}

fn token(source: Option<&Token>) -> Result<Option<String>, ConsulError> {
    let text = match source {
        None => return Ok(None),
        Some(Token::Text(text)) => text.clone(),
        Some(Token::File(path)) => String::from_utf8_lossy(&read(path, "token-file")?).into_owned(),
    };
    let text = text.trim().to_owned();
    // The client library panics on what is no header.
    let legal = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !legal { Err(ConsulError::Token) } else { Ok(Some(text).filter(|text| !text.is_empty())) }
}

/// The library's own settings, of which only the token is used.
fn settings(options: &ConsulOptions, token: Option<String>) -> ConsulClientSettings {
    ConsulClientSettings {
        address: options.address.clone(),
        ca_certs: Vec::new(),
        client_cert: None,
        client_key: None,
        token,
        verify: true,
        version: 1,
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, ConsulError> {
    std::fs::read(path).map_err(|error| unusable(path, what, &error.to_string()))
}

fn unusable(path: &Path, what: &'static str, reason: &str) -> ConsulError {
    ConsulError::File { path: path.to_owned(), what, reason: reason.to_owned() }
}

fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

fn explain(error: &ClientError) -> NoAnswer {
    let (code, message) = match error {
        ClientError::APIError { code, message } => (code, message),
        ClientError::RestClientError { source: RestError::RequestError { .. } | RestError::ResponseError { .. } } => {
            return NoAnswer::lost(root_cause(error));
        }
        _ => return NoAnswer { reason: root_cause(error), lost: false },
    };
    let words = message.as_deref().unwrap_or_default().trim();
    let advice = if *code == 403 { GIVE_TOKEN } else { "" };
    NoAnswer { reason: format!("{code} {words}{advice}"), lost: *code >= 500 }
}

const GIVE_TOKEN: &str = "; give a token that may read services and nodes (token-file, CONSUL_HTTP_TOKEN)";

/// The innermost error: the libraries around it only repeat that something failed.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
