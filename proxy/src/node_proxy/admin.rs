//! The node proxy's admin interface: all workloads together, and below `/workloads/NAMESPACE/NAME` that of each.

use std::fmt::Write as _;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Shared, series};
use crate::admin::{Answer, Answers, json as answer_json, of_kind, readiness, text};

const HELP: &str = "\
/workloads: the workloads of this machine, and whether they are ready
/workloads/NAMESPACE/NAME/…: the admin interface of one, as of a sidecar
/metrics, /stats/prometheus, /admin/metrics/prometheus: the metrics of all, in Prometheus' format
/admin/metrics.json: the same as one JSON object
/admin/ping: pong
/ready, /healthz/ready: 200 if every workload is ready, else 503
";
const PROMETHEUS: &str = "text/plain; version=0.0.4";

pub struct NodeAdmin(pub Arc<Shared>);

/// The metrics, for those elsewhere who collect them.
pub struct NodeMetrics(pub Arc<Shared>);

/// What may be asked for on the port that may be reached from elsewhere.
pub struct NodeReadiness(pub Arc<Shared>);

impl Answers for NodeAdmin {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if let Some(below) = path.strip_prefix("/workloads/") {
            return self.0.of_one(below, request).await;
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return text(StatusCode::METHOD_NOT_ALLOWED, format!("Method {} not allowed.", request.method()));
        }
        match path {
            "/" | "/help" => text(StatusCode::OK, HELP),
            "/ready" | "/healthz/ready" => self.0.ready(),
            "/admin/ping" => text(StatusCode::OK, "pong"),
            "/workloads" => self.0.workloads(),
            "/metrics" | "/stats/prometheus" | "/admin/metrics/prometheus" => self.0.prometheus(),
            "/admin/metrics.json" => answer_json(&series::as_json(&series::together(&self.0.metrics()))),
            _ => text(StatusCode::NOT_FOUND, format!("invalid path. {HELP}")),
        }
    }
}

impl Answers for NodeMetrics {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/metrics" | "/stats/prometheus" => self.0.prometheus(),
            path => match path.strip_prefix("/workloads/").filter(|below| below.ends_with("/stats/prometheus")) {
                Some(below) => self.0.of_one(below, request).await,
                None => text(StatusCode::NOT_FOUND, "only /stats/prometheus is served here\n"),
            },
        }
    }
}

impl Answers for NodeReadiness {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        readiness(request.uri().path(), || self.0.ready())
    }
}

impl Shared {
    async fn of_one(&self, below: &str, request: &Request<Incoming>) -> Answer {
        let mut parts = below.splitn(3, '/');
        let (namespace, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let path = format!("/{}", parts.next().unwrap_or_default());
        let of_name = |settings: &crate::Settings| settings.namespace == namespace && settings.workload == name;
        let Some(member) = self.members.iter().find(|member| of_name(&member.settings)) else {
            return text(
                StatusCode::NOT_FOUND,
                format!("no workload {name} in namespace {namespace}; see /workloads\n"),
            );
        };
        match member.admin() {
            Some(admin) => admin.answer_at(&path, request).await,
            None => text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", member.why_not())),
        }
    }

    fn prometheus(&self) -> Answer {
        of_kind(StatusCode::OK, PROMETHEUS, series::together(&self.metrics()))
    }

    fn ready(&self) -> Answer {
        let waiting = self.members.iter().filter(|member| member.ready().is_none());
        let mut out = String::new();
        for member in waiting {
            let _ = writeln!(out, "{}: {}", member.name(), member.why_not());
        }
        if out.is_empty() { text(StatusCode::OK, "LIVE\n") } else { text(StatusCode::SERVICE_UNAVAILABLE, out) }
    }

    fn workloads(&self) -> Answer {
        let one = |member: &Arc<super::Member>| {
            let (settings, ready) = (&member.settings, member.ready().is_some());
            let identity =
                member.admin().and_then(|admin| admin.identity.as_ref().map(|id| id.current().id().to_string()));
            let services = settings.services.iter().map(|served| format!("{}:{}", served.service, served.port));
            json!({
                "name": settings.workload,
                "namespace": settings.namespace,
                "uid": member.uid,
                "identity": identity,
                "services": services.collect::<Vec<_>>(),
                "ready": ready,
                "why": (!ready).then(|| member.why_not()),
            })
        };
        answer_json(&Value::Array(self.members.iter().map(one).collect()))
    }

    /// The metrics of each that runs, and the node proxy's own.
    fn metrics(&self) -> Vec<(Option<String>, String)> {
        let of_one = |member: &Arc<super::Member>| Some((Some(member.name()), member.admin()?.data_plane.metrics()));
        let mut all: Vec<_> = self.members.iter().filter_map(of_one).collect();
        all.push((None, self.counters.exposition()));
        all
    }
}
