//! Telemetry: what proxies tell of the traffic, and to whom (Istio `telemetry.proto`).

mod access_logging;
mod metrics;
mod tracing;

pub use access_logging::AccessLogging;
pub use metrics::{IstioMetric, Metrics, MetricsOverride, TagOverride};
pub use tracing::{TagSource, Tracing};

use super::check;
use super::shared::Labels;
use crate::diagnostic::code;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// `None`: every workload of the namespace (of the mesh, in the root namespace).
    pub selector: Option<Labels>,
    pub tracing: Vec<Tracing>,
    pub metrics: Vec<Metrics>,
    pub access_logging: Vec<AccessLogging>,
}

/// Which side of a call something is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkloadMode {
    #[default]
    ClientAndServer,
    Client,
    Server,
}

impl WorkloadMode {
    pub fn covers(self, server: bool) -> bool {
        match self {
            Self::ClientAndServer => true,
            Self::Client => !server,
            Self::Server => server,
        }
    }
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>) -> Telemetry {
    check::no_target_refs(o);
    let telemetry = Telemetry {
        selector: o.read("selector", |place| check::selector(place, "matchLabels", 4096)),
        tracing: o.each("tracing", tracing::read),
        metrics: o.each("metrics", metrics::read),
        access_logging: o.each("accessLogging", access_logging::read),
    };
    if telemetry.tracing.len() > 1 {
        o.warn_at(code::SCHEMA_WARNING, "tracing", "of several entries each later one adds to those before it");
    }
    telemetry
}

/// `providers: [{name: …}]`.
fn providers(o: &Object<'_>) -> Vec<String> {
    o.each("providers", |place| place.object(|o| o.required_text("name")))
}

fn mode(o: &Object<'_>) -> WorkloadMode {
    const MODES: [(&str, WorkloadMode); 3] = [
        ("CLIENT_AND_SERVER", WorkloadMode::ClientAndServer),
        ("CLIENT", WorkloadMode::Client),
        ("SERVER", WorkloadMode::Server),
    ];
    o.choice("mode", &MODES).unwrap_or_default()
}

fn expression(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    parsed(place, &text);
    Some(text)
}

/// An expression that is true or false: no line would ever be written for one that is neither.
fn condition(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if parsed(place, &text).is_some_and(|expression| !expression.is_condition()) {
        place.error(format!("{text:?} is neither true nor false; write a condition, such as response.code >= 400"));
    }
    Some(text)
}

fn parsed(place: &Place<'_>, text: &str) -> Option<api::cel::Expression> {
    let wrong = |error| place.error(format!("no expression (CEL): {error}"));
    api::cel::Expression::parse(text).map_err(wrong).ok()
}
