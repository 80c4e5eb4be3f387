//! A client of the REST API.

mod connector;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
pub use connector::{Connector, Trust};

const DEADLINE: Duration = Duration::from_secs(30);

/// Which control plane to talk to, when it is not the data directory's.
#[derive(Clone, Debug, Default, Args)]
pub struct ApiOptions {
    /// The URL of the control plane's API [default: that of the data directory's mesh]
    #[arg(long, value_name = "URL", env = "WEFT_API")]
    pub api: Option<String>,
    /// A file that holds the API token [default: that of the data directory's mesh]
    #[arg(long, value_name = "FILE", env = "WEFT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The authorities in PEM that the certificate of an https:// API must come from
    #[arg(long, value_name = "FILE", env = "WEFT_API_CA")]
    pub api_ca: Option<PathBuf>,
}

pub struct Client {
    base: String,
    token: String,
    http: Http<Connector, Full<Bytes>>,
}

impl Client {
    pub fn open(data: &DataDir, options: &ApiOptions) -> anyhow::Result<Self> {
        let local = if options.api.is_some() { data.address().ok().flatten() } else { data.address()? };
        let known = match &options.api {
            Some(url) => Some(url.clone()),
            None => local.as_ref().map(|address| address.api.clone()),
        };
        let base = known.ok_or_else(|| {
            let place = data.path().display();
            let words = format!(
                "no mesh is there in {place}: none has run, or it is still starting; start one with `weft up`, or give \
                 --data-dir or --api"
            );
            Failure::new(Exit::Unreachable, words)
        })?;
        let file = options.token_file.clone().unwrap_or_else(|| data.token_file());
        let token = std::fs::read_to_string(&file)
            .with_context(|| format!("the API token cannot be read from {}; give --token-file", file.display()))?;
        let pin = local.filter(|address| address.api == base).and_then(|address| address.api_pin);
        let trust = match (&options.api_ca, pin) {
            (Some(file), _) => {
                Trust::Authorities(std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?)
            }
            (None, Some(pin)) => Trust::Pin(pin),
            (None, None) => Trust::Nothing,
        };
        let http = Http::builder(TokioExecutor::new()).build(Connector::new(trust)?);
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token: token.trim().to_owned(), http })
    }

    /// The control plane's URL, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, String::new()).await
    }

    /// All pages of a list as one.
    pub async fn list(&self, path: &str) -> anyhow::Result<Value> {
        let joined = if path.contains('?') { '&' } else { '?' };
        let mut all = self.get(&format!("{path}{joined}limit=1000")).await?;
        let bare = path.split('?').next().unwrap_or(path);
        while let Some(cursor) = all["next"].as_str().map(encode) {
            let mut page = self.get(&format!("{bare}?limit=1000&cursor={cursor}")).await?;
            all["next"] = page["next"].take();
            if let (Some(items), Some(more)) = (all["items"].as_array_mut(), page["items"].as_array_mut()) {
                items.append(more);
            }
        }
        Ok(all)
    }

    pub async fn post(&self, path: &str, body: String) -> anyhow::Result<Value> {
        self.send(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: String) -> anyhow::Result<Value> {
        self.send(Method::PUT, path, body).await
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::DELETE, path, String::new()).await
    }

    /// Deletes an object as it is now: not what somebody made of it meanwhile.
    pub async fn delete_read(&self, path: &str, query: &str) -> anyhow::Result<Value> {
        let (headers, _) = self.exchange(Method::GET, path, String::new(), None).await?;
        let tag = headers.get(header::ETAG).cloned();
        Ok(self.exchange(Method::DELETE, &format!("{path}{query}"), String::new(), tag).await?.1)
    }

    /// What time the control plane has.
    pub async fn date(&self) -> anyhow::Result<Option<SystemTime>> {
        let (headers, _) = self.exchange(Method::GET, "version", String::new(), None).await?;
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| httpdate::parse_http_date(date).ok()))
    }

    /// Shows the events of a stream (server-sent events), until there are no more or `show` has seen enough.
    pub async fn events(
        &self,
        path: &str,
        name: &str,
        show: &mut dyn FnMut(Value) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let request = self.request(Method::GET, path, String::new())?;
        let answer = tokio::time::timeout(DEADLINE, self.http.request(request)).await;
        let answer = answer.map_err(|_| self.unreachable(&"no answer in 30 s"))?;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let problem = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
            return Err(refusal(status, &serde_json::from_slice(&problem).unwrap_or(Value::Null)));
        }
        let (mut text, mut event) = (Vec::new(), String::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.unreachable(&error))?;
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&text.drain(..=end).collect::<Vec<_>>()).trim_end().to_owned();
                match line.split_once(':') {
                    Some(("event", value)) => value.trim().clone_into(&mut event),
                    Some(("data", value)) if event == name && !show(serde_json::from_str(value.trim())?)? => {
                        return Ok(());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn request(&self, method: Method, path: &str, body: String) -> anyhow::Result<Request<Full<Bytes>>> {
        Request::builder()
            .method(method)
            .uri(format!("{}/api/v1/{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header("weft-author", author())
            .body(Full::from(body))
            .with_context(|| format!("{} is no http:// URL, or the token holds no token", self.base))
    }

    async fn send(&self, method: Method, path: &str, body: String) -> anyhow::Result<Value> {
        Ok(self.exchange(method, path, body, None).await?.1)
    }

    /// The answer's headers and body, or its refusal. A write may be for one revision only, by its entity tag.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
        only_if: Option<HeaderValue>,
    ) -> anyhow::Result<(HeaderMap, Value)> {
        let mut request = self.request(method, path, body)?;
        request.headers_mut().extend(only_if.map(|tag| (header::IF_MATCH, tag)));
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| self.unreachable(&chain(&error)))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.into_body().collect().await.map_err(|error| self.unreachable(&error))?;
            anyhow::Ok((status, headers, body.to_bytes()))
        };
        let (status, headers, body) =
            tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| self.unreachable(&"no answer in 30 s"))??;
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() { Ok((headers, value)) } else { Err(refusal(status, &value)) }
    }

    fn unreachable(&self, cause: &dyn std::fmt::Display) -> Failure {
        let words = format!(
            "the control plane at {} cannot be reached ({cause}); is it running? `weft up` or `weft control-plane` \
             starts one",
            self.base
        );
        Failure::new(Exit::Unreachable, words)
    }
}

/// An error with what caused it, of which the last says most.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

/// Who changes configuration: the user at this machine.
fn author() -> String {
    let name = std::env::var("USER").unwrap_or_default();
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    if plain { name } else { "cli".into() }
}

fn refusal(status: StatusCode, problem: &Value) -> anyhow::Error {
    let text = |key: &str| problem[key].as_str().unwrap_or_default();
    let detail = if text("detail").is_empty() { status.to_string() } else { text("detail").to_owned() };
    match status {
        StatusCode::NOT_FOUND => Failure::new(Exit::NotFound, detail).into(),
        StatusCode::CONFLICT if text("code") == "held" => Failure::new(Exit::Rejected, detail).into(),
        StatusCode::UNPROCESSABLE_ENTITY => {
            let findings = problem["errors"].as_array().into_iter().flatten().map(finding);
            let lines: Vec<String> = findings.chain([detail]).collect();
            Failure::new(Exit::Rejected, lines.join("\n")).into()
        }
        _ => anyhow::anyhow!("{detail} ({status})"),
    }
}

/// `file:line:column: path: message; did you mean …?`
pub fn finding(found: &Value) -> String {
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    let mut line = text("file").to_owned();
    if found["line"].as_u64().unwrap_or(0) > 0 {
        line += &format!(":{}:{}", found["line"], found["column"]);
    }
    if text("severity") == "warning" {
        line += ": warning";
    }
    if !text("path").is_empty() {
        line += &format!(": {}", text("path"));
    }
    line += &format!(": {}", text("detail"));
    match found["suggestion"].as_str() {
        Some(suggestion) => line + &format!("; did you mean {suggestion:?}?"),
        None => line,
    }
}

/// Percent-encodes a part of a path or a query.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rejection_names_file_line_column_and_path_and_exits_with_4() {
        let problem = json!({ "detail": "nothing was changed", "errors": [{
            "file": "a.yaml", "line": 3, "column": 7, "path": "spec.hots", "detail": "unknown field \"hots\"",
            "suggestion": "hosts", "severity": "error",
        }]});
        let error = refusal(StatusCode::UNPROCESSABLE_ENTITY, &problem);
        assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, Exit::Rejected);
        let first = error.to_string().lines().next().unwrap().to_owned();
        assert_eq!(first, "a.yaml:3:7: spec.hots: unknown field \"hots\"; did you mean \"hosts\"?");
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(encode("<stdin> a&b=ü"), "%3Cstdin%3E%20a%26b%3D%C3%BC");
    }
}
