//! WorkloadGroup: what the workloads of one kind outside any platform have in common, and how their health is told
//! (Istio `workload_group.proto`).

use std::time::Duration;

use super::check;
use super::shared::Labels;
use super::workload_entry::{self, WorkloadEntry};
use crate::diagnostic::code;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadGroup {
    /// What each workload begins with; its address is its own.
    pub template: WorkloadEntry,
    /// Labels of `metadata`, which stand above those of the template.
    pub labels: Labels,
    pub probe: Option<Probe>,
}

/// How an agent finds out whether its program serves (Istio `ReadinessProbe`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub initial_delay: Duration,
    pub timeout: Duration,
    pub period: Duration,
    /// Successes in a row after which it is healthy again.
    pub success_threshold: u32,
    /// Failures in a row after which it is unhealthy.
    pub failure_threshold: u32,
    pub method: ProbeMethod,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeMethod {
    HttpGet {
        path: String,
        port: u16,
        /// Empty: this machine.
        host: String,
        https: bool,
        headers: Vec<(String, String)>,
    },
    TcpSocket {
        /// Empty: this machine.
        host: String,
        port: u16,
    },
    Exec {
        command: Vec<String>,
    },
}

impl WorkloadGroup {
    /// The labels of a workload of the group.
    pub fn all_labels(&self) -> Labels {
        let mut labels = self.template.labels.clone();
        labels.extend(self.labels.clone());
        labels
    }

    /// Istio's default is `default`.
    pub fn service_account(&self) -> &str {
        if self.template.service_account.is_empty() { "default" } else { &self.template.service_account }
    }

    /// The service that its workloads serve: their canonical name (Istio, canonical service), else the group's name.
    pub fn service(&self, name: &str) -> String {
        const NAMES: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
        let labels = self.all_labels();
        let named = NAMES.iter().find_map(|label| labels.get(*label)).filter(|name| api::is_dns_label(name));
        named.cloned().unwrap_or_else(|| name.split('.').next().unwrap_or(name).to_owned())
    }
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>) -> WorkloadGroup {
    WorkloadGroup {
        template: o.required("template").and_then(|place| template(&place)).unwrap_or_default(),
        labels: o.read("metadata", metadata).unwrap_or_default(),
        probe: o.read("probe", probe).flatten(),
    }
}

fn template(place: &Place<'_>) -> Option<WorkloadEntry> {
    place.object(|o| {
        o.refuse("address", "each workload of the group has its own address; leave it out");
        workload_entry::read_rest(o)
    })
}

fn metadata(place: &Place<'_>) -> Option<Labels> {
    place.object(|o| {
        if o.field("annotations").is_some_and(|place| !place.entries().is_empty()) {
            o.warn_at(code::SCHEMA_WARNING, "annotations", "nothing reads the annotations of a group's workloads");
        }
        o.field("labels").map(|place| check::labels(&place)).unwrap_or_default()
    })
}

fn probe(place: &Place<'_>) -> Option<Option<Probe>> {
    place.object(|o| {
        let seconds = |name: &'static str, default: u64| {
            let written = o.count(name).map(u64::from);
            Duration::from_secs(written.filter(|seconds| *seconds > 0).unwrap_or(default))
        };
        o.at_most_one(&METHODS);
        o.at_least_one(&METHODS);
        let probe = (
            seconds("initialDelaySeconds", 0),
            seconds("timeoutSeconds", 1),
            seconds("periodSeconds", 10),
            o.positive("successThreshold").unwrap_or(1),
            o.positive("failureThreshold").unwrap_or(3),
        );
        let method = method(o)?;
        let (initial_delay, timeout, period, success_threshold, failure_threshold) = probe;
        Some(Probe { initial_delay, timeout, period, success_threshold, failure_threshold, method })
    })
}

const METHODS: [&str; 4] = ["httpGet", "tcpSocket", "exec", "grpc"];

fn method(o: &Object<'_>) -> Option<ProbeMethod> {
    o.refuse(
        "grpc",
        "gRPC probes are not supported (Istio's validation refuses them too); use httpGet, tcpSocket or exec",
    );
    let http = o.read("httpGet", |place| place.object(http_get));
    let tcp = o.read("tcpSocket", |place| {
        place.object(|o| ProbeMethod::TcpSocket { host: o.text("host"), port: required_port(o) })
    });
    http.or(tcp).or_else(|| o.read("exec", |place| place.object(exec)))
}

fn http_get(o: &Object<'_>) -> ProbeMethod {
    const SCHEMES: [(&str, bool); 2] = [("HTTP", false), ("HTTPS", true)];
    let path = o.text("path");
    if !path.is_empty() && !path.starts_with('/') {
        o.error_at("path", "a path begins with /");
    }
    ProbeMethod::HttpGet {
        path: if path.is_empty() { "/".to_owned() } else { path },
        port: required_port(o),
        host: o.text("host"),
        https: o.choice("scheme", &SCHEMES).unwrap_or_default(),
        headers: o.each("httpHeaders", |place| place.object(header)),
    }
}

fn header(o: &Object<'_>) -> (String, String) {
    let (name, value) = (o.required_text("name"), o.text("value"));
    if !name.is_empty() && !check::is_token(&name) {
        o.error_at("name", format!("{name:?} is no name of a header"));
    }
    if !check::is_header_value(&value) {
        o.error_at("value", "the value of a header is printable ASCII");
    }
    (name, value)
}

fn exec(o: &Object<'_>) -> ProbeMethod {
    let command = o.texts("command");
    if command.first().is_none_or(String::is_empty) {
        o.error_at("command", "a command is required");
    }
    ProbeMethod::Exec { command }
}

fn required_port(o: &Object<'_>) -> u16 {
    o.required("port").and_then(|place| place.port()).unwrap_or_default()
}
