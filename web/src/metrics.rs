//! The control plane's own metrics in Prometheus' text form.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::feed::Topic;
use crate::identities;
use crate::state::State;

pub fn router(state: State) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(state)
}

async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    let mut text = String::new();
    state.discovery.metrics().write_prometheus(&mut text);
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(text, "# TYPE istio_build gauge\nistio_build{{component=\"pilot\",tag=\"{version}\"}} 1");
    let catalog = state.catalog();
    let _ = writeln!(text, "# TYPE weft_registry_services gauge\n# TYPE weft_registry_endpoints gauge");
    for registry in &catalog.registries {
        let _ = writeln!(text, "weft_registry_services{{registry=\"{}\"}} {}", registry.name, registry.services);
        let _ = writeln!(text, "weft_registry_endpoints{{registry=\"{}\"}} {}", registry.name, registry.endpoints);
    }
    let problems = state.galley.problems().len();
    let _ = writeln!(text, "# TYPE weft_galley_problems gauge\nweft_galley_problems {problems}");
    write_configuration(&state, &mut text);
    write_events(&state, &mut text);
    write_authority(&state, &mut text);
    let name = "weft_connections_turned_away_total";
    let _ = writeln!(text, "# TYPE {name} counter");
    for (of, away) in state.rooms.turned_away() {
        for (outcome, count) in [("refused", away.refused), ("replaced", away.replaced)] {
            let _ = writeln!(text, "{name}{{state=\"{of}\",outcome=\"{outcome}\"}} {count}");
        }
    }
    write_exports(&state, &mut text);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// What Istio's dashboards ask of services and rules.
fn write_configuration(state: &State, text: &mut String) {
    let services = state.catalog().entries().count();
    let rules = state.galley.snapshots().borrow().virtual_services.len();
    let _ = writeln!(text, "# TYPE pilot_services gauge\npilot_services {services}");
    let _ = writeln!(text, "# TYPE pilot_virt_services gauge\npilot_virt_services {rules}");
    let names = ["galley_validation_passed", "galley_validation_failed"];
    for (name, count) in names.into_iter().zip(state.galley.validations()) {
        let _ = writeln!(text, "# TYPE {name} counter\n{name} {count}");
    }
}

/// What Istio's dashboards ask of the control plane's sources: events of configuration and of registries, and errors of
/// its own. A configuration that is in force can always be compiled, so that there are none of those.
fn write_events(state: &State, text: &mut String) {
    const EVENTS: [(&str, &str); 3] = [("added", "add"), ("modified", "update"), ("deleted", "delete")];
    let kinds = galley::Kind::ALL.map(galley::Kind::as_str);
    let topics = [Topic::Services, Topic::Endpoints].map(Topic::as_str);
    for (name, types) in [("pilot_k8s_cfg_events", &kinds[..]), ("pilot_k8s_reg_events", &topics)] {
        let _ = writeln!(text, "# TYPE {name} counter");
        for (kind, (event, called)) in types.iter().flat_map(|kind| EVENTS.map(|event| (*kind, event))) {
            let count = state.kept.feed.count(kind, event);
            let _ = writeln!(text, "{name}{{type=\"{kind}\",event=\"{called}\"}} {count}");
        }
    }
    for name in ["pilot_total_xds_internal_errors", "pilot_xds_push_context_errors"] {
        let _ = writeln!(text, "# TYPE {name} counter\n{name} 0");
    }
}

/// What Istio's dashboards ask of the certificate authority.
fn write_authority(state: &State, text: &mut String) {
    for (name, count) in state.issuances.counters() {
        let _ = writeln!(text, "# TYPE {name} counter\n{name} {count}");
    }
    if let Some(root) = identities::roots(state).into_iter().find(|root| root.signs) {
        let name = "citadel_server_root_cert_expiry_timestamp";
        let _ = writeln!(text, "# TYPE {name} gauge\n{name} {}", root.not_after);
    }
}

/// How those fare that metrics of the whole mesh are sent to.
fn write_exports(state: &State, text: &mut String) {
    let (sent, failed) = ("weft_mixer_exports_total", "weft_mixer_export_failures_total");
    let _ = writeln!(text, "# TYPE {sent} counter\n# TYPE {failed} counter");
    for sink in state.mixer.sinks() {
        let labels = format!("sink=\"{}\",kind=\"{}\"", sink.name.replace(['"', '\\', '\n'], "_"), sink.kind);
        let _ = writeln!(text, "{sent}{{{labels}}} {}\n{failed}{{{labels}}} {}", sink.sent, sink.failed);
    }
    let name = "weft_mixer_series_not_exported_total";
    let _ = writeln!(text, "# TYPE {name} counter\n{name} {}", state.mixer.series_not_exported());
}
