//! Who takes telemetry, and who is asked about access (Istio, `MeshConfig.ExtensionProvider`).

use std::time::Duration;

use super::authorizer::{self, AskedBy, Authorizer};
use super::exporter::{self, Exporter};
use crate::kinds::check;
use crate::reader::{Object, Place, closest};

#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub name: String,
    pub kind: ProviderKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ProviderKind {
    Zipkin {
        service: ServicePort,
        path: String,
        max_tag_length: Option<u32>,
        short_ids: bool,
        /// Whether contexts are written and read in the form of W3C too.
        w3c: bool,
        timeout: Option<Duration>,
        headers: Vec<(String, String)>,
    },
    OpenTelemetry {
        service: ServicePort,
        max_tag_length: Option<u32>,
        transport: OtlpTransport,
    },
    FileLog {
        path: String,
        format: Option<LogFormat>,
        omit_empty: bool,
    },
    OtlpLog {
        service: ServicePort,
        transport: OtlpTransport,
        log_name: String,
        body: Option<String>,
        attributes: serde_json::Map<String, serde_json::Value>,
    },
    Prometheus,
    /// Told by the control plane, of the whole mesh.
    Exporter(Exporter),
    /// Asked by proxies, about access.
    Authorizer(Authorizer),
}

/// A service of the mesh, or of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The only namespace in which it is looked for.
    pub namespace: Option<String>,
    pub host: String,
    pub port: u16,
}

/// How OTLP travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtlpTransport {
    Grpc { timeout: Option<Duration>, metadata: Vec<(String, String)> },
    Http { path: String, timeout: Option<Duration>, headers: Vec<(String, String)> },
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    Text(String),
    /// JSON, with these fields; none are Istio's.
    Labels(serde_json::Map<String, serde_json::Value>),
}

impl ProviderKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Zipkin { .. } => "zipkin",
            Self::OpenTelemetry { .. } => "opentelemetry",
            Self::FileLog { .. } => "envoyFileAccessLog",
            Self::OtlpLog { .. } => "envoyOtelAls",
            Self::Prometheus => "prometheus",
            Self::Exporter(exporter) => exporter.as_str(),
            Self::Authorizer(Authorizer { by: AskedBy::Http { .. }, .. }) => "envoyExtAuthzHttp",
            Self::Authorizer(Authorizer { by: AskedBy::Grpc, .. }) => "envoyExtAuthzGrpc",
        }
    }

    pub fn takes_spans(&self) -> bool {
        matches!(self, Self::Zipkin { .. } | Self::OpenTelemetry { .. })
    }

    pub fn takes_logs(&self) -> bool {
        matches!(self, Self::FileLog { .. } | Self::OtlpLog { .. })
    }

    pub fn takes_metrics(&self) -> bool {
        matches!(self, Self::Prometheus | Self::Exporter(_))
    }
}

const KINDS: [&str; 10] = [
    "zipkin",
    "opentelemetry",
    "envoyFileAccessLog",
    "envoyOtelAls",
    "prometheus",
    "otlpMetrics",
    "statsd",
    "influxdb",
    "envoyExtAuthzHttp",
    "envoyExtAuthzGrpc",
];

/// Of Istio's, and not of use here.
const OTHERS: [&str; 8] =
    ["lightstep", "datadog", "stackdriver", "opencensus", "skywalking", "envoyHttpAls", "envoyTcpAls", "sds"];

pub(super) fn read(place: &Place<'_>) -> Option<Provider> {
    place.object(|o| {
        let name = o.required_text("name");
        for other in OTHERS {
            o.refuse(other, &format!("this provider is not supported; there are {}", KINDS.join(", ")));
        }
        o.at_most_one(&KINDS);
        if !OTHERS.iter().any(|other| o.has(other)) {
            o.at_least_one(&KINDS);
        }
        let read = |name: &'static str, read: fn(&Object<'_>) -> ProviderKind| o.read(name, |p| p.object(read));
        let kind = read("zipkin", zipkin)
            .or_else(|| read("opentelemetry", opentelemetry))
            .or_else(|| read("envoyFileAccessLog", file_log))
            .or_else(|| read("envoyOtelAls", otlp_log))
            .or_else(|| read("prometheus", |_| ProviderKind::Prometheus))
            .or_else(|| read("otlpMetrics", |o| ProviderKind::Exporter(exporter::otlp(o))))
            .or_else(|| read("statsd", |o| ProviderKind::Exporter(exporter::statsd(o))))
            .or_else(|| read("influxdb", |o| ProviderKind::Exporter(exporter::influxdb(o))))
            .or_else(|| read("envoyExtAuthzHttp", |o| ProviderKind::Authorizer(authorizer::http(o))))
            .or_else(|| read("envoyExtAuthzGrpc", |o| ProviderKind::Authorizer(authorizer::grpc(o))));
        for kind in KINDS {
            o.field(kind);
        }
        Some(Provider { name, kind: kind? })
    })?
}

fn zipkin(o: &Object<'_>) -> ProviderKind {
    const CONTEXTS: [(&str, bool); 2] = [("USE_B3", false), ("USE_B3_WITH_W3C_PROPAGATION", true)];
    let path = o.text("path");
    if !path.is_empty() && !path.starts_with('/') {
        o.error_at("path", "a path begins with /");
    }
    ProviderKind::Zipkin {
        service: service(o),
        path: if path.is_empty() { "/api/v2/spans".to_owned() } else { path },
        max_tag_length: o.positive("maxTagLength"),
        short_ids: o.flag("enable64bitTraceId"),
        w3c: o.choice("traceContextOption", &CONTEXTS).unwrap_or_default(),
        timeout: o.duration("timeout"),
        headers: headers(o, "headers"),
    }
}

fn opentelemetry(o: &Object<'_>) -> ProviderKind {
    for (sampler, instead) in [("dynatraceSampler", "randomSamplingPercentage"), ("resourceDetectors", "customTags")] {
        o.refuse(sampler, &format!("is not supported; use {instead} of a Telemetry"));
    }
    ProviderKind::OpenTelemetry {
        service: service(o),
        max_tag_length: o.positive("maxTagLength"),
        transport: transport(o, "/v1/traces"),
    }
}

fn transport(o: &Object<'_>, default_path: &str) -> OtlpTransport {
    o.at_most_one(&["http", "grpc"]);
    let http = o.read("http", |place| {
        place.object(|o| {
            let path = o.text("path");
            if !path.is_empty() && !path.starts_with('/') {
                o.error_at("path", "a path begins with /");
            }
            let path = if path.is_empty() { default_path.to_owned() } else { path };
            OtlpTransport::Http { path, timeout: o.duration("timeout"), headers: headers(o, "headers") }
        })
    });
    let grpc = o.read("grpc", |place| {
        place
            .object(|o| OtlpTransport::Grpc { timeout: o.duration("timeout"), metadata: headers(o, "initialMetadata") })
    });
    http.or(grpc).unwrap_or(OtlpTransport::Grpc { timeout: None, metadata: Vec::new() })
}

fn file_log(o: &Object<'_>) -> ProviderKind {
    let path = o.text("path");
    let format = o.read("logFormat", |place| {
        place.object(|o| {
            o.at_most_one(&["text", "labels"]);
            let labels = o.field("labels").map(|place| LogFormat::Labels(fields(&place)));
            o.field("text").and_then(|place| place.text()).map(LogFormat::Text).or(labels)
        })?
    });
    ProviderKind::FileLog {
        path: if path.is_empty() { "/dev/stdout".to_owned() } else { path },
        format,
        omit_empty: o.flag("omitEmptyValues"),
    }
}

fn otlp_log(o: &Object<'_>) -> ProviderKind {
    let format = o.read("logFormat", |place| {
        place.object(|o| {
            let labels = o.field("labels").map(|place| fields(&place)).unwrap_or_default();
            (o.field("text").and_then(|place| place.text()), labels)
        })
    });
    let (body, attributes) = format.unwrap_or_default();
    for (name, value) in &attributes {
        if !value.is_string() {
            o.error_at("logFormat", format!("the label {name:?} is a text"));
        }
    }
    o.refuse("filterStateObjectsToLog", "there is no filter state here");
    let log_name = o.text("logName");
    ProviderKind::OtlpLog {
        service: service(o),
        transport: transport(o, "/v1/logs"),
        log_name: if log_name.is_empty() { "otel_envoy_accesslog".to_owned() } else { log_name },
        body,
        attributes,
    }
}

fn fields(place: &Place<'_>) -> serde_json::Map<String, serde_json::Value> {
    place.entries();
    match place.node.to_json() {
        serde_json::Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    }
}

/// `service` and `port`; `namespace/host` says where it is looked for.
pub(super) fn service(o: &Object<'_>) -> ServicePort {
    let service = o.required_text("service");
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(namespace.to_owned()), host.to_owned()),
        None => (None, service),
    };
    if !host.is_empty() && api::Hostname::new(&host).is_err() {
        o.error_at(
            "service",
            format!("{host:?} is no name of a service, such as zipkin.istio-system.svc.cluster.local"),
        );
    }
    ServicePort { namespace, host, port: o.required("port").and_then(|place| place.port()).unwrap_or_default() }
}

pub(super) fn headers(o: &Object<'_>, name: &'static str) -> Vec<(String, String)> {
    o.each(name, |place| {
        place.object(|o| {
            o.refuse("envName", "write the value; variables are not looked up");
            let name = o.required_text("name");
            if !name.is_empty() && !check::is_token(&name) {
                let known = ["authorization", "content-type"].into_iter();
                let message = format!("{name:?} is no name of a header");
                o.place().suggest(message, closest(&name, known));
            }
            let value = o.text("value");
            if !check::is_header_value(&value) {
                o.error_at("value", "the value of a header is printable ASCII");
            }
            (name, value)
        })
    })
}
