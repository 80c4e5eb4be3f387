//! Where the control plane sends the metrics of the whole mesh. Istio has no such providers; these are ours.

use std::time::Duration;

use super::provider::headers;
use crate::reader::Object;

#[derive(Clone, Debug, PartialEq)]
pub enum Exporter {
    /// OTLP over HTTP, to this URL.
    Otlp {
        url: String,
        headers: Vec<(String, String)>,
        interval: Duration,
    },
    StatsD {
        address: String,
        port: u16,
        prefix: String,
        tags: StatsdTags,
        interval: Duration,
    },
    /// Line protocol, to the endpoint `/write` of version 1 or `/api/v2/write` of version 2.
    InfluxDb {
        url: String,
        auth: InfluxAuth,
        interval: Duration,
    },
}

/// Where labels stand in a metric's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatsdTags {
    /// `name:1|c|#label:value`, as Datadog's agent and others read it.
    #[default]
    DogStatsd,
    /// `name.source.destination.code:1|c`.
    Name,
}

/// Whose measurements they are. Secrets stand in files of the control plane's machine, and in no object; no file, no
/// secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InfluxAuth {
    Database { name: String, user: String, password_file: String },
    Bucket { organization: String, bucket: String, token_file: String },
}

impl Exporter {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Otlp { .. } => "otlpMetrics",
            Self::StatsD { .. } => "statsd",
            Self::InfluxDb { .. } => "influxdb",
        }
    }
}

/// What is usual among exporters of OTLP and agents of StatsD.
const INTERVAL: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) fn otlp(o: &Object<'_>) -> Exporter {
    Exporter::Otlp { url: url(o), headers: headers(o, "headers"), interval: interval(o) }
}

pub(super) fn statsd(o: &Object<'_>) -> Exporter {
    const TAGS: [(&str, StatsdTags); 2] = [("DOGSTATSD", StatsdTags::DogStatsd), ("NAME", StatsdTags::Name)];
    let prefix = o.text("prefix");
    if !prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        o.error_at("prefix", "a prefix is of a-z A-Z 0-9 . _ -");
    }
    Exporter::StatsD {
        address: o.required_text("address"),
        port: o.port("port").unwrap_or(8125),
        prefix: if prefix.is_empty() { "istio".to_owned() } else { prefix },
        tags: o.choice("tags", &TAGS).unwrap_or_default(),
        interval: interval(o),
    }
}

pub(super) fn influxdb(o: &Object<'_>) -> Exporter {
    o.at_most_one(&["database", "bucket"]);
    o.at_least_one(&["database", "bucket"]);
    let (database, bucket) = (o.text("database"), o.text("bucket"));
    let (organization, token_file) = (o.text("organization"), o.text("tokenFile"));
    let (user, password_file) = (o.text("user"), o.text("passwordFile"));
    o.refuse(
        "token",
        "an object holds no secrets; write it to a file of the control plane's, and name that as tokenFile",
    );
    o.refuse("password", "an object holds no secrets; write it to a file, and name that as passwordFile");
    let auth = if bucket.is_empty() {
        for (field, value) in [("organization", &organization), ("tokenFile", &token_file)] {
            if !value.is_empty() {
                o.error_at(field, "goes with a bucket; a database has user and passwordFile");
            }
        }
        InfluxAuth::Database { name: database, user, password_file }
    } else {
        if organization.is_empty() {
            o.error_at("organization", "organization is required with a bucket");
        }
        InfluxAuth::Bucket { organization, bucket, token_file }
    };
    Exporter::InfluxDb { url: url(o), auth, interval: interval(o) }
}

fn url(o: &Object<'_>) -> String {
    let url = o.required_text("url");
    if url.starts_with("https://") {
        o.error_at(
            "url",
            "the control plane sends in plaintext: give an http:// URL, such as an agent's on this machine",
        );
    } else if !url.is_empty() && !url.starts_with("http://") {
        o.error_at("url", format!("{url:?} is no URL such as http://127.0.0.1:4318/v1/metrics"));
    }
    url
}

fn interval(o: &Object<'_>) -> Duration {
    match o.duration("interval") {
        Some(short) if short < SHORTEST => {
            o.error_at("interval", "must be at least 1s");
            SHORTEST
        }
        given => given.unwrap_or(INTERVAL),
    }
}
