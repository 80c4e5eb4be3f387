//! InfluxDB's line protocol over HTTP: totals that only grow, and the latency of what came since the last time.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ledger::{Batch, Labels, Totals};
use super::{Told, http};

#[derive(Clone, Debug, PartialEq)]
pub struct InfluxDb {
    pub url: String,
    pub auth: InfluxAuth,
}

/// Whose measurements they are. Secrets are read from files when they are needed, so that new ones are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InfluxAuth {
    /// Version 1.
    Database { name: String, user: String, password_file: String },
    /// Version 2.
    Bucket { organization: String, bucket: String, token_file: String },
}

/// Lines of one request, as InfluxDB advises.
const MOST_AT_ONCE: usize = 5000;

impl InfluxDb {
    pub async fn send(&self, batch: &Batch, told: &mut Told) -> Result<(), String> {
        let (url, headers) = self.request().await?;
        for series in batch.series.chunks(MOST_AT_ONCE) {
            let mut lines = String::new();
            for (labels, totals) in series {
                line(&mut lines, labels, totals, &totals.since(told.get(labels)), batch.now);
            }
            http::post(&url, &headers, lines.into_bytes()).await?;
            told.extend(series.iter().cloned());
        }
        Ok(())
    }

    async fn request(&self) -> Result<(String, Vec<(String, String)>), String> {
        let base = self.url.trim_end_matches('/');
        let mut headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        let url = match &self.auth {
            InfluxAuth::Database { name, user, password_file } => {
                if !user.is_empty() {
                    let pair = format!("{user}:{}", secret(password_file).await?);
                    headers.push(("authorization".to_owned(), format!("Basic {}", STANDARD.encode(pair))));
                }
                format!("{base}/write?db={}&precision=ms", encoded(name))
            }
            InfluxAuth::Bucket { organization, bucket, token_file } => {
                if !token_file.is_empty() {
                    headers.push(("authorization".to_owned(), format!("Token {}", secret(token_file).await?)));
                }
                format!("{base}/api/v2/write?org={}&bucket={}&precision=ms", encoded(organization), encoded(bucket))
            }
        };
        Ok((url, headers))
    }
}

async fn secret(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| format!("{path}: {error}"))?;
    Ok(text.trim().to_owned())
}

/// For a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn line(out: &mut String, labels: &Labels, totals: &Totals, new: &Totals, now: u64) {
    out.push_str(if labels.is_tcp() { "istio_tcp" } else { "istio_requests" });
    for (name, value) in labels.pairs() {
        let _ = write!(out, ",{name}=");
        for c in value.chars() {
            match c {
                ',' | ' ' | '=' => out.extend(['\\', c]),
                '\\' | '\n' | '\r' => out.push('_'),
                c => out.push(c),
            }
        }
    }
    let Totals { requests, denied, received, sent, .. } = totals;
    let _ = match labels.is_tcp() {
        true => write!(out, " connections={requests}i,received_bytes={received}i,sent_bytes={sent}i"),
        false => write!(out, " total={requests}i,denied={denied}i,request_bytes={received}i,response_bytes={sent}i"),
    };
    for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        if let Some(milliseconds) = new.quantile(share) {
            let _ = write!(out, ",duration_milliseconds_{name}={milliseconds}");
        }
    }
    let _ = writeln!(out, " {now}");
}
