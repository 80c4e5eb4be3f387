//! Bootstraps and scripts, as they stand in their files.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::accepted::matches;
use crate::answer::Answer;
use crate::proxies::repository;

/// A bootstrap file. Its first lines, comments, say how it is used: `# tags: http tls`, `# tls: sni=a.test alpn=h2`,
/// `# sort` (upstream requests come in no order), `# alias` (which of several upstreams comes first is chance), `# opaque: b` (what comes to that upstream as a body is a
/// message for a machine, whose times and numbers differ).
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    pub name: String,
    pub text: String,
    pub tags: Vec<String>,
    pub tls: Option<Tls>,
    pub sort: bool,
    pub alias: bool,
    pub logs: bool,
    pub opaque: Option<String>,
}

/// How a client begins TLS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub sni: String,
    #[serde(default)]
    pub alpn: Vec<String>,
    /// Whether it shows a certificate.
    #[serde(default)]
    pub certificate: bool,
}

/// What a client does on a connection, and what the upstreams answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub name: String,
    /// Tags or names of bootstraps.
    #[serde(default = "everywhere")]
    pub on: Vec<String>,
    #[serde(default)]
    pub not: Vec<String>,
    #[serde(default = "http1")]
    pub over: Vec<Over>,
    pub tls: Option<Tls>,
    /// The client's address.
    pub from: Option<std::net::Ipv4Addr>,
    /// The head of a request, a line for each of its lines.
    pub request: Option<String>,
    /// Follows the head as it is.
    pub body: Option<String>,
    /// Of a request over HTTP/2.
    pub trailers: Option<String>,
    /// More than a request and its answer.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Of the upstreams, in the order in which requests come; more get an answer that names the upstream.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// How many requests reach upstreams, where more come than the client waits for.
    #[serde(default)]
    pub upstream_requests: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    Http1,
    Http2,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A head, as in [`Script::request`].
    Request(String),
    /// These bytes.
    Raw(String),
    /// Waits for an answer (and what comes before it: 1xx).
    Response,
    /// Waits for the head of an answer only.
    Head,
    /// Waits for these bytes, no more.
    Bytes(usize),
    /// Reads until the proxy closes.
    End,
    /// Waits for a request to reach an upstream.
    Upstream,
    HalfClose,
    Reset,
}

/// A script over one of its protocols.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub script: &'a Script,
    pub over: Over,
}

impl Run<'_> {
    pub fn name(&self) -> String {
        match self.over {
            Over::Http1 => self.script.name.clone(),
            Over::Http2 => format!("{}@h2", self.script.name),
        }
    }
}

pub struct Corpus {
    pub bootstraps: Vec<Bootstrap>,
    pub scripts: Vec<Script>,
    /// Whether nothing was left out.
    pub is_whole: bool,
}

fn everywhere() -> Vec<String> {
    vec!["http".to_owned()]
}

fn http1() -> Vec<Over> {
    vec![Over::Http1]
}

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = repository("tests/differential").join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (stem(path), fs::read_to_string(path).unwrap())).collect()
}

impl Corpus {
    pub fn read() -> Self {
        let part = std::env::var("DIFFERENTIAL").ok();
        let (bootstrap, script) =
            part.as_deref().map_or(("*", "*"), |part| part.split_once('/').unwrap_or((part, "*")));
        let mut bootstraps: Vec<_> = files("bootstraps").into_iter().map(Bootstrap::parse).collect();
        let mut scripts: Vec<Script> = Vec::new();
        for (file, text) in files("scripts") {
            let read: Vec<Script> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
            scripts.extend(read);
        }
        for (at, one) in scripts.iter().enumerate() {
            assert!(scripts[..at].iter().all(|other| other.name != one.name), "two scripts are called {}", one.name);
            for name in one.on.iter().chain(&one.not) {
                let known = bootstraps.iter().any(|bootstrap| bootstrap.is(name));
                assert!(known, "script {}: no bootstrap is or has {name}", one.name);
            }
        }
        bootstraps.retain(|one| matches(bootstrap, &one.name));
        scripts.retain(|one| matches(script, &one.name));
        Self { bootstraps, scripts, is_whole: part.is_none() }
    }

    pub fn scripts_for<'a>(&'a self, bootstrap: &'a Bootstrap) -> impl Iterator<Item = Run<'a>> {
        let fits = |script: &&Script| {
            script.on.iter().any(|name| bootstrap.is(name)) && !script.not.iter().any(|name| bootstrap.is(name))
        };
        let runs = |script: &'a Script| script.over.iter().map(move |&over| Run { script, over });
        let speaks = |run: &Run<'_>| run.over == Over::Http1 || bootstrap.is("http2");
        self.scripts.iter().filter(fits).flat_map(runs).filter(speaks)
    }
}

impl Bootstrap {
    fn parse((name, text): (String, String)) -> Self {
        let mut this = Self { name, ..Self::default() };
        for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
            let (key, value) = line.split_once(": ").unwrap_or((line, ""));
            let words = || value.split(' ').map(str::to_owned).collect::<Vec<_>>();
            match key {
                "tags" => this.tags = words(),
                "tls" => this.tls = Some(tls(&words())),
                "sort" => this.sort = true,
                "alias" => this.alias = true,
                "logs" => this.logs = true,
                "opaque" => this.opaque = Some(value.to_owned()),
                _ => {}
            }
        }
        this.text = text;
        this
    }

    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.tags.iter().any(|tag| tag == name)
    }
}

fn tls(words: &[String]) -> Tls {
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    Tls {
        sni: value("sni=").unwrap_or_default().to_owned(),
        alpn: value("alpn=").map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        certificate: words.iter().any(|word| word == "certificate"),
    }
}
