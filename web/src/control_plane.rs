//! The control plane about itself: what it sent, how long that took, what it refused, and where its state is.

use axum::Json;
use axum::extract::State as Shared;
use pilot::PushDurations;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(control_plane))
}

/// The control plane that answers. Counts are since it started.
#[derive(Serialize, ToSchema)]
struct ControlPlane {
    version: &'static str,
    /// Unix milliseconds.
    started_at: u64,
    store: StoreView,
    configuration: ConfigurationView,
    pushes: Pushes,
    issuance: Issuance,
}

#[derive(Serialize, ToSchema)]
struct StoreView {
    /// `embedded`: of this control plane alone; `shared`: others may serve on the same.
    kind: &'static str,
}

#[derive(Serialize, ToSchema)]
struct ConfigurationView {
    objects: usize,
    /// Texts that were given to be applied and taken; dry runs do not count.
    accepted: u64,
    /// Texts that were given to be applied and refused.
    refused: u64,
}

#[derive(Serialize, ToSchema)]
struct Pushes {
    connected: u64,
    /// How many times a change was pushed to a proxy.
    count: u64,
    /// From a published change to the last response handed to the proxy's connection: half took no longer. Read from
    /// buckets; none before the first push.
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    types: Vec<OfType>,
}

#[derive(Serialize, ToSchema)]
struct OfType {
    /// `CDS`, `EDS`, `LDS`, `RDS`, …
    #[serde(rename = "type")]
    kind: &'static str,
    /// Responses that were sent.
    sent: u64,
    /// Those that a proxy refused (NACK).
    refused: u64,
}

#[derive(Serialize, ToSchema)]
struct Issuance {
    /// Certificates that were signed.
    signed: u64,
    /// Requests that were refused, whatever the reason.
    refused: u64,
}

/// The control plane that answers: what it sent and how long that took, what it signed, where its state is.
#[utoipa::path(get, path = "/control-plane",
    responses((status = 200, description = "The control plane", body = ControlPlane)))]
async fn control_plane(Shared(state): Shared<State>) -> Json<ControlPlane> {
    let [accepted, refused] = state.galley.validations();
    let objects = state.galley.list(None, None).len();
    Json(ControlPlane {
        version: env!("CARGO_PKG_VERSION"),
        started_at: state.kept.started_at,
        store: StoreView { kind: if state.store.is_shared() { "shared" } else { "embedded" } },
        configuration: ConfigurationView { objects, accepted, refused },
        pushes: pushes(&state.discovery.metrics()),
        issuance: issuance(&state.issuances.counters()),
    })
}

fn pushes(metrics: &pilot::Metrics) -> Pushes {
    let refused = |kind| metrics.rejects.iter().find(|(of, _)| *of == kind).map_or(0, |(_, count)| *count);
    let types = metrics.pushes.iter();
    let types = types.map(|(kind, sent)| OfType { kind: kind.short_name(), sent: *sent, refused: refused(*kind) });
    let quantile = |share| quantile(&metrics.push_durations, share).map(|seconds| seconds * 1000.0);
    Pushes {
        connected: metrics.connected,
        count: metrics.push_durations.count,
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        types: types.collect(),
    }
}

fn issuance(counters: &[(&'static str, u64)]) -> Issuance {
    let counted = |name: &str| counters.iter().find(|(of, _)| *of == name).map_or(0, |(_, count)| *count);
    let signed = counted("citadel_server_success_cert_issuance_count");
    Issuance { signed, refused: counted("citadel_server_csr_count").saturating_sub(signed) }
}

/// As Prometheus' `histogram_quantile` reads buckets: evenly filled; what lies in the last is at least its lower bound.
fn quantile(durations: &PushDurations, share: f64) -> Option<f64> {
    let rank = share * durations.count as f64;
    let (mut below, mut counted) = (0.0, 0);
    for (bound, count) in &durations.buckets {
        if *count as f64 >= rank && *count > counted {
            let inside = (rank - counted as f64) / (count - counted) as f64;
            return Some(if bound.is_finite() { below + (bound - below) * inside } else { below });
        }
        (below, counted) = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(buckets: &[(f64, u64)]) -> PushDurations {
        let count = buckets.last().map_or(0, |(_, count)| *count);
        PushDurations { buckets: buckets.to_vec(), sum_seconds: 0.0, count }
    }

    #[test]
    fn quantiles_lie_within_the_bucket_that_holds_them() {
        let some = durations(&[(0.001, 50), (0.005, 90), (0.01, 100), (f64::INFINITY, 100)]);
        assert_eq!(quantile(&some, 0.5), Some(0.001));
        assert!(quantile(&some, 0.99).is_some_and(|p99| p99 > 0.009 && p99 < 0.01));
        assert_eq!(quantile(&durations(&[(0.001, 0), (f64::INFINITY, 4)]), 0.5), Some(0.001));
        assert_eq!(quantile(&durations(&[(0.001, 0), (f64::INFINITY, 0)]), 0.5), None);
    }

    #[test]
    fn what_was_not_signed_was_refused() {
        let told = [("citadel_server_csr_count", 7), ("citadel_server_success_cert_issuance_count", 5)];
        let issuance = issuance(&told);
        assert_eq!((issuance.signed, issuance.refused), (5, 2));
    }
}
