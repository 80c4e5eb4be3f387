//! Where the keys of issuers of tokens are read: a file, or a URL.

use std::path::PathBuf;
use std::time::Duration;

use citadel::{IssuerConfig, KeySource};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::command::api::{Connector, Trust};

/// How long an issuer may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// More than any set of keys has.
const MOST: usize = 256 * 1024;
/// Where operating systems keep the roots they trust.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub enum Keys {
    File(PathBuf),
    Url(String, Client<Connector, Empty<Bytes>>),
}

impl Keys {
    /// The error names the field and what is wrong.
    pub fn of(issuer: &IssuerConfig) -> Result<Self, String> {
        let Some(url) = &issuer.jwks_uri else {
            let file = issuer.jwks_file.clone().unwrap_or_default();
            std::fs::metadata(&file)
                .map_err(|error| format!("jwksFile: {} cannot be read: {error}", file.display()))?;
            return Ok(Self::File(file));
        };
        url.parse::<hyper::Uri>().map_err(|error| format!("jwksUri: {url:?}: {error}"))?;
        let trust = match &issuer.ca_file {
            Some(file) => {
                let read = std::fs::read(file);
                Trust::Authorities(read.map_err(|error| format!("caFile: {} cannot be read: {error}", file.display()))?)
            }
            None if url.starts_with("https:") => Trust::System(system_roots()?),
            None => Trust::Nothing,
        };
        let connector = Connector::new(trust).map_err(|error| format!("caFile: {error:#}"))?;
        Ok(Self::Url(url.clone(), Client::builder(TokioExecutor::new()).build(connector)))
    }
}

fn system_roots() -> Result<Vec<u8>, String> {
    let told = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let found = told.into_iter().chain(SYSTEM_ROOTS.map(PathBuf::from)).find_map(|place| std::fs::read(place).ok());
    found.ok_or_else(|| "caFile: this system has no bundle of roots; name one".to_owned())
}

#[tonic::async_trait]
impl KeySource for Keys {
    async fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(file) => std::fs::read(file).map_err(|error| format!("{}: {error}", file.display())),
            Self::Url(url, client) => {
                let read = tokio::time::timeout(DEADLINE, fetch(url, client)).await;
                read.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())))
                    .map_err(|why| format!("{url}: {why}"))
            }
        }
    }
}

async fn fetch(url: &str, client: &Client<Connector, Empty<Bytes>>) -> Result<Vec<u8>, String> {
    let request = Request::get(url).header("accept", "application/json").body(Empty::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = client.request(request).await.map_err(|error| words(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answered {}; redirects are not followed", answer.status()));
    }
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    Ok(body.map_err(|error| error.to_string())?.to_bytes().to_vec())
}

/// An error with what it comes from, of which the last says most.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut from = error.source();
    while let Some(cause) = from {
        words = format!("{words}: {cause}");
        from = cause.source();
    }
    words
}
