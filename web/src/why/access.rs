//! Whether those that a route leads to let the request in: the authorization policies, asked as `POST /_authz` asks
//! them, with what the caller's own proxy would send.

use pilot::judge::{Call, Caller, Decision, Known, Request};
use pilot::{Inputs, Node, NodeKind};

use super::Asked;
use super::answer::{Outcome, Step};
use super::rewritten::Rewritten;
use super::target::Target;
use crate::authz;
use crate::authz::places::{self, Place};
use crate::proxies::inside::{Policy, shown};
use crate::state::State;

/// What the workloads of one target say.
#[derive(Default)]
struct Heard {
    workloads: usize,
    denied: usize,
    first: Option<Denial>,
    open: Option<String>,
}

struct Denial {
    words: String,
    by: Option<Policy>,
}

/// Asks the policies of the gateway that the request comes in at. Who calls from outside shows no certificate that
/// anything would be known of.
pub fn at_gateway(state: &State, node: &Node, asked: &Asked, outcome: &mut Outcome, steps: &mut Vec<Step>) -> bool {
    if node.kind != NodeKind::Router {
        return false;
    }
    let place = Place {
        service: String::new(),
        service_port: 0,
        namespace: node.namespace.clone(),
        workload: node.workload.clone(),
        labels: node.labels.clone(),
        ip: Some(node.address()),
        port: None,
        http: true,
    };
    let mut heard = Heard::default();
    heard.judge(&state.inputs.borrow().in_force(), &place, Known::Open, Rewritten::not(asked).request());
    heard.tell("the gateway", 1.0, outcome, steps);
    heard.is_denied() && refuse(outcome, heard)
}

/// Asks those of the workloads behind the targets. What is denied everywhere is refused. `rewritten` is what is sent to
/// each of them.
pub fn at_targets(state: &State, node: &Node, rewritten: &[Rewritten], outcome: &mut Outcome, steps: &mut Vec<Step>) {
    let inputs = state.inputs.borrow().in_force();
    let all = places::all(state);
    let own = identity(state, node);
    let targets = std::mem::take(&mut outcome.targets);
    let (mut let_in, mut denial) = (false, None);
    for (target, rewritten) in targets.iter().zip(rewritten).filter(|(target, _)| target.share > 0.0) {
        let mut heard = Heard::default();
        for place in all.iter().filter(|place| is_behind(target, place)) {
            let is_known = matches!(target.mtls, "always" | "where offered");
            let principal = if is_known { own.clone() } else { Known::Absent };
            heard.judge(&inputs, place, principal, rewritten.request());
        }
        heard.tell(&target.cluster, target.share, outcome, steps);
        match heard.is_denied() {
            true => denial = denial.or(Some(heard)),
            false => let_in = true,
        }
    }
    outcome.targets = targets;
    if let Some(heard) = denial.filter(|_| !let_in) {
        refuse(outcome, heard);
    }
}

/// Whether a workload is one of those that the caller's proxy was told of.
fn is_behind(target: &Target, place: &Place) -> bool {
    let (Some(host), Some(port)) = (&target.host, target.port) else { return false };
    let told = target.endpoints.as_ref().filter(|told| !told.is_empty());
    let named = |ip: std::net::IpAddr, port: u16| std::net::SocketAddr::new(ip, port).to_string();
    let address = place.ip.zip(place.port).map(|(ip, port)| named(ip, port));
    place.service == *host
        && place.service_port == port
        && told.is_none_or(|told| told.iter().any(|each| Some(&each.address) == address.as_ref()))
}

/// What the caller's certificate says.
fn identity(state: &State, node: &Node) -> Known<String> {
    let account = node.service_account.as_deref().unwrap_or("default");
    Known::Is(format!("{}/ns/{}/sa/{account}", state.trust_domain, node.namespace))
}

impl Heard {
    fn judge(&mut self, inputs: &Inputs, place: &Place, principal: Known<String>, request: Request) {
        let call = Call {
            caller: Caller { principal, ..Caller::default() },
            target: place.target(),
            request: place.http.then_some(request),
        };
        let (_, verdict) = authz::decide(inputs, place, call);
        self.workloads += 1;
        match verdict.decision {
            Decision::Denied => {
                self.denied += 1;
                let workload = format!("{}/{}", place.namespace, place.workload);
                let by = verdict.by.as_ref().map(|rule| (rule.namespace.clone(), rule.policy.clone()));
                // Where nothing allows it, the first that could have is the one to look at.
                let allows = || verdict.policies.iter().find(|policy| policy.action == "ALLOW" && !policy.dry_run);
                let by = by.or_else(|| allows().map(|policy| (policy.namespace.clone(), policy.name.clone())));
                let by = by.and_then(|(namespace, name)| policy(namespace, name, &workload));
                self.first.get_or_insert(Denial { words: format!("{workload}: {}", verdict.because), by });
            }
            Decision::Depends => self.open = Some(verdict.open.join(" and ")),
            Decision::Allowed => {}
        }
    }

    fn is_denied(&self) -> bool {
        self.workloads > 0 && self.denied == self.workloads
    }

    fn tell(&self, to: &str, share: f64, outcome: &mut Outcome, steps: &mut Vec<Step>) {
        let percent = (share * 100.0).round();
        if let Some(denial) = &self.first {
            steps.push(Step::new(
                "authorization",
                format!("denied by {} of {}: {}", self.denied, self.workloads, denial.words),
            ));
            let part = if self.is_denied() { String::new() } else { "some of ".into() };
            outcome
                .warnings
                .push(format!("{part}the requests to {to} ({percent} %) are denied with 403: {}", denial.words));
        } else if let Some(open) = &self.open {
            steps.push(Step::new("authorization", format!("depends on {open}")));
            outcome.warnings.push(format!("whether {to} lets it in depends on {open}"));
        } else if self.workloads > 0 {
            steps.push(Step::new("authorization", format!("allowed at {to}")));
        }
    }
}

fn policy(namespace: String, name: String, workload: &str) -> Option<Policy> {
    let object = ("authorizationpolicies".to_owned(), namespace, name);
    shown([(object, [workload.to_owned()].into())].into()).pop()
}

fn refuse(outcome: &mut Outcome, heard: Heard) -> bool {
    outcome.decision = "refused";
    outcome.status = Some(403);
    outcome.denied_by = heard.first.and_then(|denial| denial.by);
    true
}
