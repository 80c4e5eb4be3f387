//! Where the keys of issuers of tokens are read: a file, or a URL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use citadel::{IssuerConfig, KeySource};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncReadExt as _;

use crate::command::api::{Connector, Trust, chain};

/// How long an issuer may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// More than any set of keys has.
const MOST: usize = 256 * 1024;
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
            None if url.starts_with("https:") => {
                let roots = runtime::files::system_roots();
                Trust::System(roots.ok_or("caFile: this system has no bundle of roots; name one")?)
            }
            None => Trust::Nothing,
        };
        let connector = Connector::new(trust).map_err(|error| format!("caFile: {error:#}"))?;
        Ok(Self::Url(url.clone(), Client::builder(TokioExecutor::new()).build(connector)))
    }
}

#[tonic::async_trait]
impl KeySource for Keys {
    async fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(file) => read(file).await.map_err(|error| format!("{}: {error}", file.display())),
            Self::Url(url, client) => {
                let read = tokio::time::timeout(DEADLINE, fetch(url, client)).await;
                read.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())))
                    .map_err(|why| format!("{url}: {why}"))
            }
        }
    }
}

async fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut set = Vec::new();
    let most = MOST as u64;
    tokio::fs::File::open(file).await?.take(most + 1).read_to_end(&mut set).await?;
    match set.len() > MOST {
        true => Err(std::io::Error::other(format!("it is larger than {most} bytes, the most that a set of keys has"))),
        false => Ok(set),
    }
}

async fn fetch(url: &str, client: &Client<Connector, Empty<Bytes>>) -> Result<Vec<u8>, String> {
    let request = Request::get(url).header("accept", "application/json").body(Empty::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = client.request(request).await.map_err(|error| chain(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answered {}; redirects are not followed", answer.status()));
    }
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    Ok(body.map_err(|error| error.to_string())?.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_no_set_of_keys_is_not_read_without_end() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("jwks.json");
        let keys = Keys::File(file.clone());
        std::fs::write(&file, vec![b' '; MOST]).unwrap();
        assert_eq!(keys.read().await.map(|set| set.len()), Ok(MOST));
        std::fs::write(&file, vec![b' '; MOST + 1]).unwrap();
        assert!(keys.read().await.unwrap_err().contains("larger than 262144 bytes"));
        let endless = Keys::File("/dev/zero".into());
        assert!(endless.read().await.unwrap_err().contains("/dev/zero: it is larger"));
    }
}
