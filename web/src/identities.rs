//! Who is in the mesh: each SPIFFE ID with the workloads that have it and its certificate. And who vouches for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use citadel::{Fault, Phase, Progress, RotationError, StepError, Verb, Wish};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Known, Noted};
use crate::certificates::{self, CertificateView};
use crate::extract::{Asked, Body};
use crate::kept::now_seconds;
use crate::list::{self, List, ListQuery};
use crate::problem::Problem;
use crate::state::State;
use crate::workloads;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(identities)).routes(routes!(ca)).routes(routes!(bundle)).routes(routes!(rotate))
}

/// A SPIFFE ID of the mesh.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Identity {
    /// `spiffe://cluster.local/ns/default/sa/reviews`
    pub identity: String,
    pub namespace: String,
    pub service_account: String,
    /// As `NAMESPACE/NAME`.
    pub workloads: Vec<String>,
    /// Ids of its connected proxies.
    pub proxies: Vec<String>,
    /// The latest that this control plane issued; none for an identity that another authority vouches for.
    pub certificate: Option<CertificateView>,
}

/// The identities of workloads, proxies and certificates.
#[utoipa::path(get, path = "/identities", params(ListQuery),
    responses((status = 200, description = "A page of identities", body = List<Identity>)))]
async fn identities(
    Shared(state): Shared<State>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List<Value>>, Problem> {
    certificates::refresh(&state).await;
    list::page(&state, &query, all(&state))
}

pub fn all(state: &State) -> Vec<Identity> {
    let mut found: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for workload in workloads::all(state) {
        if let Some(identity) = workload.identity {
            found.entry(identity).or_default().0.insert(workload.id);
        }
    }
    for proxy in state.discovery.proxies() {
        if let Some(identity) = proxy.identity {
            found.entry(identity.to_string()).or_default().1.insert(proxy.id);
        }
    }
    let issued = state.kept.certificates.all();
    issued.keys().for_each(|identity| _ = found.entry(identity.clone()).or_default());
    let now = now_seconds();
    let view = |(identity, (workloads, proxies)): (String, (BTreeSet<String>, BTreeSet<String>))| {
        let (namespace, service_account) = parts(&identity);
        Identity {
            certificate: issued.get(&identity).map(|entry| CertificateView::of(entry, now)),
            namespace,
            service_account,
            workloads: workloads.into_iter().collect(),
            proxies: proxies.into_iter().collect(),
            identity,
        }
    };
    found.into_iter().map(view).collect()
}

/// Namespace and service account of `spiffe://cluster.local/ns/default/sa/reviews`.
fn parts(identity: &str) -> (String, String) {
    let mut parts = identity.split('/').skip_while(|part| *part != "ns").skip(1);
    let namespace = parts.next().unwrap_or_default().to_owned();
    (namespace, parts.nth(1).unwrap_or_default().to_owned())
}

/// The certificate authority.
#[derive(Serialize, ToSchema)]
pub struct Authority {
    pub trust_domain: String,
    /// The first is the one that signs now.
    pub roots: Vec<Root>,
    /// How many certificates were issued and have not ended.
    pub live_certificates: usize,
    pub rotation: RotationView,
    /// What is wrong with the roots of trust at this control plane, in words; among the problems, too.
    pub faults: Vec<String>,
}

/// How far the change from one root to the next is.
#[derive(Serialize, ToSchema)]
pub struct RotationView {
    /// `idle`, `staged` (the next root is made), `distributed` (all are told to trust it), `signing` (it signs, and the
    /// old one is still trusted).
    #[schema(example = "distributed")]
    pub phase: &'static str,
    /// How many hold a certificate that has not ended. Where the control planes of a store take each step together, the
    /// other ones count as well.
    pub holders: usize,
    /// How many of them the next step does not wait for, 0 to 100.
    pub percent: usize,
    /// Those that it waits for.
    pub waiting: Vec<WaitingView>,
    /// Whether the authority is plugged in: the next step is files that somebody puts into its directory.
    pub plugged_in: bool,
    /// Why files in that directory are not in force, if others are there than those in force.
    pub pending: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct WaitingView {
    /// A SPIFFE ID, or `control plane NAME`.
    pub identity: String,
    /// The member of the mesh that holds the certificate, if it is one.
    pub member: Option<String>,
    /// Where it is no member: the serial number of the certificate that it got when it joined, and renewed since. It tells
    /// apart the workloads of one identity.
    pub lineage: Option<String>,
    /// The address from which it asked for its certificate, if it is known.
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
    pub reason: String,
    /// When its certificate ends, and with it the waiting; Unix seconds.
    pub until: u64,
}

/// A set of keys in JSON (RFC 7517) with `spiffe_sequence` and `spiffe_refresh_hint`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(value_type = Object)]
pub struct BundleView(serde_json::Value);

/// A step of the change of roots.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct RotationStep {
    pub step: RotationDirection,
    /// Go on although somebody is behind, who is cut off by it.
    #[serde(default)]
    pub force: bool,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RotationDirection {
    /// To the next phase.
    Advance,
    /// To the phase before.
    Back,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Root {
    /// SHA-256 of the certificate, in hexadecimal: what a join token pins.
    pub fingerprint: String,
    pub subject: String,
    pub serial: String,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
    pub signs: bool,
}

/// The certificate authority: which roots vouch for the mesh, and until when.
#[utoipa::path(get, path = "/ca", responses((status = 200, description = "The authority", body = Authority)))]
async fn ca(Shared(state): Shared<State>) -> Result<Json<Authority>, Problem> {
    let now = now_seconds();
    let entries = state.ledger.entries().await.map_err(Problem::internal)?;
    let progress = state.rotation.progress().await.map_err(Problem::internal)?;
    Ok(Json(Authority {
        rotation: view(progress),
        trust_domain: state.trust_domain.to_string(),
        roots: roots(&state),
        faults: state.rotation.faults().into_iter().filter_map(words).collect(),
        live_certificates: entries.iter().filter(|entry| entry.not_after > now).count(),
    }))
}

/// Of a fault that the rotation does not tell of as well.
fn words(fault: Fault) -> Option<String> {
    match fault {
        Fault::HeldBack(_) => None,
        Fault::CutOff(words) | Fault::Twin(words) => Some(words),
        Fault::AtOdds(words) => Some(format!("no certificate is issued here: {words}")),
    }
}

/// The trust domain's bundle as other trust domains read it: roots of certificates and keys of tokens (SPIFFE Trust
/// Domain and Bundle, section 4).
#[utoipa::path(get, path = "/ca/bundle", responses((status = 200, description = "A set of keys", body = BundleView)))]
async fn bundle(Shared(state): Shared<State>) -> Result<Json<BundleView>, Problem> {
    let document = state.spiffe_bundle.document().await.map_err(Problem::internal)?;
    Ok(Json(BundleView(document)))
}

/// Takes a step of the change from one root of trust to the next, or the last one back. Where the authority is plugged in,
/// the step is to take up the files that are in its directory.
#[utoipa::path(post, path = "/ca/_rotate", request_body = RotationStep,
    responses((status = 200, description = "How far it is now", body = RotationView)))]
async fn rotate(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Body(order): Body<RotationStep>,
) -> Result<(Extension<Noted>, Json<RotationView>), Problem> {
    if order.force {
        let wish = Wish { verb: Verb::Force, kind: None, namespace: None };
        known.access().check(&wish).map_err(Problem::forbidden)?;
    }
    let taken = match order.step {
        RotationDirection::Advance => state.rotation.advance(order.force).await,
        RotationDirection::Back => state.rotation.step_back(order.force).await,
    };
    let progress = taken.map_err(|error| match error {
        RotationError::Step(StepError::Open(_) | StepError::Store(_)) | RotationError::Store(_) => {
            Problem::internal(error)
        }
        error => Problem::conflict(error.to_string()),
    })?;
    let rotation = view(progress);
    let step = match order.step {
        RotationDirection::Advance => "a step on",
        RotationDirection::Back => "a step back",
    };
    let forced = if order.force { ", by force" } else { "" };
    let detail = format!("{step}{forced}: {}", rotation.phase);
    let noted = Noted { object: "the root of trust".into(), detail, ..Noted::default() };
    Ok((Extension(noted), Json(rotation)))
}

fn view(progress: Progress) -> RotationView {
    let phase = match progress.phase {
        Phase::Idle => "idle",
        Phase::Staged => "staged",
        Phase::Distributed => "distributed",
        Phase::Signing => "signing",
    };
    let percent = progress.percent();
    let Progress { holders, plugged_in, pending, .. } = progress;
    let waiting = progress.waiting.into_iter().map(|behind| WaitingView {
        identity: behind.holder.identity,
        member: behind.holder.member,
        lineage: behind.holder.lineage,
        from: behind.from,
        reason: behind.reason.to_owned(),
        until: behind.until,
    });
    RotationView { phase, holders, percent, waiting: waiting.collect(), plugged_in, pending }
}

pub fn roots(state: &State) -> Vec<Root> {
    let bundle = state.bundle.borrow().clone();
    let described = bundle.describe().into_iter().enumerate();
    let root = |(index, root): (usize, citadel::RootDescription)| Root {
        fingerprint: root.fingerprint,
        subject: root.subject,
        serial: root.serial,
        not_before: root.not_before,
        not_after: root.not_after,
        signs: index == 0,
    };
    described.map(root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_tells_namespace_and_service_account() {
        assert_eq!(parts("spiffe://cluster.local/ns/default/sa/a"), ("default".into(), "a".into()));
        assert_eq!(parts("spiffe://other/x"), (String::new(), String::new()));
    }
}
