//! What a route does with the request, in words and in figures.

use api::envoy::config::core::v3::data_source::Specifier;
use api::envoy::config::route::v3 as route;
use pilot::{Node, Snapshot};
use route::redirect_action::SchemeRewriteSpecifier;
use route::route::Action;
use route::route_action::ClusterSpecifier;
use serde::Serialize;
use utoipa::ToSchema;

use super::target::Target;
use super::{Asked, find, target};
use crate::proxies::inside::{Policy, mode, object_of, shown};
use crate::state::State;

/// The decision on a request.
#[derive(Serialize, ToSchema)]
pub struct Answer {
    /// The proxy that decides.
    source: String,
    /// As it would be sent: method, authority, path.
    request: String,
    #[serde(flatten)]
    outcome: Outcome,
    steps: Vec<Step>,
}

/// One step of a decision, in order.
#[derive(Serialize, ToSchema)]
pub struct Step {
    /// `source`, `route table`, `virtual host`, `route passed over`, `route`, `cluster`, `endpoints`, `security`, `authorization`
    pub step: &'static str,
    pub detail: String,
}

/// What becomes of the request.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = WhyOutcome)]
pub struct Outcome {
    /// `forwarded`, `redirected`, `answered` (by the proxy), or `refused`: by the caller's proxy (404: no route, 503:
    /// nobody to send it to) or by that of who is asked (403)
    pub decision: &'static str,
    /// The status that a proxy itself answers with, if it does.
    pub status: Option<u32>,
    pub virtual_host: Option<String>,
    pub route: Option<String>,
    /// The VirtualService that made the route.
    pub policy: Option<Policy>,
    /// The AuthorizationPolicy that denies it.
    pub denied_by: Option<Policy>,
    /// Where it goes, by share.
    pub targets: Vec<Target>,
    pub timeout_ms: Option<u64>,
    pub retries: Option<u32>,
    /// What may fail without being a fault of configuration, and what will.
    pub warnings: Vec<String>,
}

impl Step {
    pub fn new(step: &'static str, detail: impl Into<String>) -> Self {
        Self { step, detail: detail.into() }
    }
}

impl Answer {
    pub fn new(node: &Node, asked: &Asked, mut outcome: Outcome, steps: Vec<Step>) -> Self {
        let host = steps.iter().find(|step| step.step == "virtual host");
        outcome.virtual_host = host.map(|step| step.detail.clone());
        let request = format!("{} {} {}", asked.method, asked.authority(), asked.path);
        Self { source: node.name.clone(), request, outcome, steps }
    }
}

impl Outcome {
    pub fn refused(status: u32, why: &str) -> Self {
        Self { decision: "refused", status: Some(status), warnings: vec![why.to_owned()], ..Self::default() }
    }
}

pub fn of_route(state: &State, snapshot: &Snapshot, route: &route::Route, steps: &mut Vec<Step>) -> Outcome {
    let name = find::name(route, 0);
    let made = object_of(route.metadata.as_ref());
    let policy = made.and_then(|made| shown([(made, [name.clone()].into())].into()).pop());
    let by = policy.as_ref().map_or_else(String::new, |p| format!(" of {} {}/{}", p.kind, p.namespace, p.name));
    steps.push(Step::new("route", format!("{name}{by}")));
    let mut outcome = Outcome { route: Some(name), policy, ..Outcome::default() };
    if route.typed_per_filter_config.contains_key("envoy.filters.http.fault") {
        let words = "the route injects faults: some requests are delayed or answered by the proxy";
        outcome.warnings.push(words.into());
    }
    match &route.action {
        Some(Action::Route(action)) => forwarded(state, snapshot, action, &mut outcome, steps),
        Some(Action::Redirect(redirect)) => {
            outcome.decision = "redirected";
            outcome.status = Some(redirect_status(redirect));
            steps.push(Step::new("redirect", redirect_words(redirect)));
        }
        Some(Action::DirectResponse(answer)) => {
            outcome.decision = "answered";
            outcome.status = Some(answer.status);
            let words = text_of(answer).map_or_else(String::new, |text| format!(": {}", text.trim()));
            steps.push(Step::new("answer", format!("the proxy itself answers with {}{words}", answer.status)));
        }
        _ => outcome.decision = "refused",
    }
    outcome
}

fn text_of(answer: &route::DirectResponseAction) -> Option<&str> {
    match answer.body.as_ref()?.specifier.as_ref()? {
        Specifier::InlineString(text) => Some(text),
        _ => None,
    }
}

fn forwarded(
    state: &State,
    snapshot: &Snapshot,
    action: &route::RouteAction,
    outcome: &mut Outcome,
    steps: &mut Vec<Step>,
) {
    outcome.decision = "forwarded";
    let limit = action.timeout.as_ref().map(|limit| limit.seconds as u64 * 1000 + limit.nanos as u64 / 1_000_000);
    outcome.timeout_ms = limit.filter(|limit| *limit > 0);
    let retries = action.retry_policy.as_ref();
    outcome.retries = retries.map(|policy| policy.num_retries.unwrap_or(1));
    let shares = shares(action.cluster_specifier.as_ref());
    if shares.is_empty() {
        outcome.warnings.push("the route names no cluster before the request is there".into());
    }
    let mut reached = shares.is_empty();
    for (cluster, share) in shares {
        let target = Target::of(snapshot, &cluster, share);
        let percent = format!("{:.4}", share * 100.0);
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        steps.push(Step::new("cluster", format!("{cluster} ({percent} %)")));
        reached |= weigh(&target, snapshot, outcome, steps);
        security(state, &target, outcome, steps);
        outcome.targets.push(target);
    }
    if !reached {
        (outcome.decision, outcome.status) = ("refused", Some(503));
    }
}

fn shares(specifier: Option<&ClusterSpecifier>) -> Vec<(String, f64)> {
    match specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name.clone(), 1.0)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let weight = |of: &route::weighted_cluster::ClusterWeight| f64::from(of.weight.unwrap_or(0));
            let total: f64 = weighted.clusters.iter().map(weight).sum();
            let share = |of| if total > 0.0 { weight(of) / total } else { 0.0 };
            weighted.clusters.iter().map(|of| (of.name.clone(), share(of))).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether any request goes there and there is an endpoint to send it to.
fn weigh(target: &Target, snapshot: &Snapshot, outcome: &mut Outcome, steps: &mut Vec<Step>) -> bool {
    if snapshot.clusters.get(&target.cluster).is_none() {
        outcome.warnings.push(format!("{} is not there: its requests are answered with 503", target.cluster));
        return false;
    }
    let is_asked = target.share > 0.0;
    if let Some(words) = target::outside(snapshot, &target.cluster) {
        steps.push(Step::new("endpoints", words));
    }
    let Some(endpoints) = &target.endpoints else { return is_asked };
    let healthy = endpoints.iter().filter(|endpoint| endpoint.health == "healthy").count();
    steps.push(Step::new("endpoints", format!("{healthy} of {} healthy", endpoints.len())));
    if healthy == 0 && is_asked {
        let subset = target.subset.as_deref().filter(|subset| !subset.is_empty());
        let of = subset.map_or_else(String::new, |subset| format!(" of subset {subset}"));
        outcome.warnings.push(format!("no healthy endpoint{of} of {}: 503", target.cluster));
    }
    is_asked && healthy > 0
}

/// Whether the callers' connections are what the workloads demand.
fn security(state: &State, target: &Target, outcome: &mut Outcome, steps: &mut Vec<Step>) {
    let inputs = state.inputs.borrow().clone();
    let Some(host) = target.host.as_ref().and_then(|host| api::Hostname::new(host).ok()) else { return };
    let entries: Vec<_> = inputs.catalog.by_host(&host).collect();
    let workloads = entries.iter().flat_map(|entry| entry.endpoints.iter());
    let mut modes = std::collections::BTreeSet::new();
    for endpoint in workloads {
        let workload = &endpoint.workload;
        let port = target.port.unwrap_or(endpoint.port);
        let demanded = mode(pilot::mtls_mode(&inputs, &workload.namespace, &workload.labels, port));
        modes.insert(demanded);
    }
    if !modes.is_empty() {
        let modes: Vec<&str> = modes.iter().copied().collect();
        let words = format!("mutual TLS: sent {}; the workloads are {}", target.mtls, modes.join(" and "));
        steps.push(Step::new("security", words));
    }
    if modes.contains("strict") && matches!(target.mtls, "never" | "tls") {
        let words = format!("{} is reached without mutual TLS, and its workloads demand it", target.cluster);
        outcome.warnings.push(words);
    }
}

fn redirect_status(redirect: &route::RedirectAction) -> u32 {
    use route::redirect_action::RedirectResponseCode as Code;
    match redirect.response_code() {
        Code::MovedPermanently => 301,
        Code::Found => 302,
        Code::SeeOther => 303,
        Code::TemporaryRedirect => 307,
        Code::PermanentRedirect => 308,
    }
}

fn redirect_words(redirect: &route::RedirectAction) -> String {
    let scheme = match &redirect.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => scheme,
        _ => "the same scheme",
    };
    let host = if redirect.host_redirect.is_empty() { "the same host" } else { &redirect.host_redirect };
    format!("to {scheme}, {host}")
}
