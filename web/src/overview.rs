//! The mesh at a glance.

use axum::extract::State as Shared;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::certificates::CertificateView;
use crate::kept::now_seconds;
use crate::registries::{self, RegistryView};
use crate::services::health_of;
use crate::state::State;
use crate::trouble::{self, Counts};
use crate::{identities, proxies};

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(overview))
}

/// The mesh at a glance.
#[derive(Serialize, ToSchema)]
struct Overview {
    mesh: Mesh,
    /// 100 is a mesh without problems: each error takes 10, each warning 2, proxies that refused something or are behind
    /// their share of 20, services that fail their share of 100 but at least 20, degraded ones their share of 20.
    score: u32,
    problems: Counts,
    proxies: ProxyCounts,
    services: ServiceCounts,
    registries: Vec<RegistryView>,
    certificates: Certificates,
    /// Whether there is no service yet: nothing has joined, nothing was declared.
    first_run: bool,
}

#[derive(Serialize, ToSchema)]
struct Mesh {
    name: String,
    trust_domain: String,
    version: &'static str,
    /// Unix milliseconds.
    started_at: u64,
}

#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
struct ProxyCounts {
    total: usize,
    synced: usize,
    stale: usize,
    nack: usize,
}

#[derive(Default, Serialize, ToSchema)]
struct ServiceCounts {
    total: usize,
    healthy: usize,
    degraded: usize,
    failing: usize,
    /// Those without any endpoint.
    unknown: usize,
}

#[derive(Serialize, ToSchema)]
struct Certificates {
    /// Those of connected proxies that were not renewed in time.
    expiring: Vec<Expiring>,
    /// When the root that signs now ends; Unix seconds.
    root_not_after: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct Expiring {
    identity: String,
    /// Unix seconds.
    not_after: u64,
}

/// The mesh at a glance: how it is, how many of what, what ends soon.
#[utoipa::path(get, path = "/overview", responses((status = 200, description = "The mesh", body = Overview)))]
async fn overview(Shared(state): Shared<State>, Extension(known): Extension<Known>) -> Json<Overview> {
    trouble::mutes::refresh(&state).await;
    let catalog = state.catalog();
    let mut services = ServiceCounts::default();
    for entry in catalog.entries().filter(|entry| known.sees(entry.service.namespace())) {
        services.total += 1;
        match health_of(&state, entry) {
            "healthy" => services.healthy += 1,
            "degraded" => services.degraded += 1,
            "failing" => services.failing += 1,
            _ => services.unknown += 1,
        }
    }
    let mut counts = ProxyCounts::default();
    for status in state.discovery.proxies().iter().filter(|status| known.sees(&status.namespace)) {
        counts.total += 1;
        match proxies::sync(status) {
            "synced" => counts.synced += 1,
            "nack" => counts.nack += 1,
            _ => counts.stale += 1,
        }
    }
    let problems = trouble::count(&trouble::seen(&state, &known));
    let root = identities::roots(&state).into_iter().find(|root| root.signs);
    Json(Overview {
        mesh: Mesh {
            name: "weft".into(),
            trust_domain: state.trust_domain.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            started_at: state.kept.started_at,
        },
        score: score(problems, &counts, &services),
        problems,
        proxies: counts,
        first_run: catalog.entries().next().is_none(),
        services,
        registries: registries::seen(&catalog, &known),
        certificates: Certificates {
            expiring: expiring(&state, &known),
            root_not_after: root.map(|root| root.not_after),
        },
    })
}

fn expiring(state: &State, known: &Known) -> Vec<Expiring> {
    let (issued, now) = (state.kept.certificates.all(), now_seconds());
    let proxies = state.discovery.proxies().into_iter().filter(|proxy| known.sees(&proxy.namespace));
    let connected = proxies.filter_map(|proxy| proxy.identity);
    let names: std::collections::BTreeSet<String> = connected.map(|identity| identity.to_string()).collect();
    let late = names.into_iter().filter_map(|identity| {
        let certificate = CertificateView::of(issued.get(&identity)?, now);
        (certificate.state != "valid").then_some(Expiring { identity, not_after: certificate.not_after })
    });
    late.collect()
}

fn score(problems: Counts, proxies: &ProxyCounts, services: &ServiceCounts) -> u32 {
    let lagging = (20 * (proxies.stale + proxies.nack)).checked_div(proxies.total).unwrap_or(0);
    let least = if services.failing > 0 { 20 } else { 0 };
    let failing = (100 * services.failing).checked_div(services.total).unwrap_or(0).max(least);
    let degraded = (20 * services.degraded).checked_div(services.total).unwrap_or(0);
    let lost = 10 * problems.error + 2 * problems.warning + lagging + failing + degraded;
    u32::try_from(100usize.saturating_sub(lost)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_without_problems_has_100_and_none_has_less_than_0() {
        let counts = |error, warning| Counts { error, warning, info: 3 };
        let proxies = ProxyCounts { total: 10, synced: 9, stale: 1, nack: 0 };
        let services = |failing, degraded| ServiceCounts { total: 10, failing, degraded, ..ServiceCounts::default() };
        let well = services(0, 0);
        assert_eq!(score(counts(0, 0), &ProxyCounts::default(), &ServiceCounts::default()), 100);
        assert_eq!(score(counts(1, 2), &proxies, &well), 84);
        assert_eq!(score(counts(99, 0), &proxies, &well), 0);
        // One service of ten is dead: that is no mesh of 88.
        assert_eq!(score(counts(1, 1), &ProxyCounts::default(), &services(1, 0)), 68);
        assert_eq!(score(counts(1, 1), &ProxyCounts::default(), &services(5, 5)), 28);
    }
}
