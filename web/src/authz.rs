//! Who may call whom: one call judged by the policies, and the matrix of all that is known. Both ask the same pure
//! judge, `pilot::judge`; nothing is sent anywhere.

mod matrix;
pub(crate) mod places;

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Json;
use axum::extract::State as Shared;
use galley::kinds::MtlsMode;
use pilot::Inputs;
use pilot::judge::{Call, Caller, Decision, Judged, Known, Match, Other, Request, Target, Verdict, judge};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Body;
use crate::problem::Problem;
use crate::state::State;
pub(crate) use places::Place;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(check)).merge(matrix::routes())
}

/// A call that somebody might make. What is left out is left open.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = AuthzQuestion)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who calls: a workload as `NAMESPACE/NAME` or `NAME`, an identity such as `cluster.local/ns/default/sa/web`, or
    /// `plaintext` for a caller that shows no certificate.
    from: String,
    /// A service as `reviews`, `reviews:9080` or by its whole host, or a workload as `NAMESPACE/NAME`.
    to: String,
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Of its verified token; an empty object: it has none.
    claims: Option<Value>,
    /// The caller's address, for `ipBlocks` and `remoteIpBlocks` alike; leave it out where these differ, as at a gateway
    /// behind proxies of one's own.
    #[schema(value_type = Option<String>)]
    ip: Option<IpAddr>,
    /// The name that it asks for by TLS.
    sni: Option<String>,
}

/// What would become of the call.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuthzAnswer)]
pub struct Answer {
    /// The caller's identity, or `plaintext`.
    from: String,
    to: String,
    /// `allowed`, `denied` or `depends`
    decision: &'static str,
    because: String,
    /// Each workload that the call may come to.
    workloads: Vec<Judgement>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Judgement {
    /// `default/reviews-v1`
    workload: String,
    port: Option<u16>,
    /// `STRICT`, `PERMISSIVE` or `DISABLE`
    mtls: &'static str,
    decision: &'static str,
    /// `ns[shop]-policy[readers]-rule[0]`, as its log would say.
    rule: Option<String>,
    because: String,
    /// What the answer turns on.
    depends_on: Vec<String>,
    /// Those that apply, in the order in which they are asked.
    policies: Vec<Policy>,
    /// Those that do not.
    others: Vec<LeftOut>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuthzPolicy)]
pub struct Policy {
    namespace: String,
    name: String,
    /// `CUSTOM`, `AUDIT`, `DENY` or `ALLOW`
    action: &'static str,
    /// It is tried and not enforced.
    dry_run: bool,
    /// Who is asked, with action CUSTOM.
    provider: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Rule {
    /// `yes`, `no` or `depends`
    matches: &'static str,
    /// What keeps it from matching, or what that turns on.
    because: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LeftOut {
    namespace: String,
    name: String,
    because: String,
}

/// What would become of a call: which policies apply, which rule decides, and why the others do not.
#[utoipa::path(post, path = "/_authz", request_body = Question,
    responses((status = 200, description = "The decision at each workload", body = Answer)))]
async fn check(Shared(state): Shared<State>, Body(question): Body<Question>) -> Result<Json<Answer>, Problem> {
    let (from, principal) = places::caller(&state, &question.from)?;
    let places = places::named(&state, &question.to)?;
    let inputs = state.inputs.borrow().in_force();
    let workloads: Vec<Judgement> = places
        .into_iter()
        .map(|place| {
            let call = question.call(&place, principal.clone());
            let (mode, verdict) = decide(&inputs, &place, call);
            Judgement::new(place, mode, verdict)
        })
        .collect();
    let first = workloads.first();
    let alike = workloads.iter().all(|one| Some(one.decision) == first.map(|first| first.decision));
    let (decision, because) = match first {
        Some(first) if alike => (first.decision, first.because.clone()),
        _ => (word(Decision::Depends), "it depends on the workload that the call comes to".to_owned()),
    };
    Ok(Json(Answer { from, to: question.to, decision, because, workloads }))
}

impl Question {
    fn call(&self, place: &Place, principal: Known<String>) -> Call {
        let claims = match &self.claims {
            Some(Value::Object(claims)) if claims.is_empty() => Known::Absent,
            claims => claims.clone().into(),
        };
        let headers = self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), Known::Is(value.clone())));
        let request = Request {
            method: self.method.as_ref().map(|method| method.to_ascii_uppercase()).into(),
            path: self.path.clone().into(),
            host: self.host.clone().into(),
            headers: headers.collect(),
            has_no_more_headers: false,
        };
        let ip: Known<IpAddr> = self.ip.into();
        Call {
            caller: Caller { principal, ip: ip.clone(), remote_ip: ip, claims, sni: self.sni.clone().into() },
            target: place.target(),
            request: place.http.then_some(request),
        }
    }
}

/// Peer authentication comes before the policies: it may refuse the caller, or not look at who it is. `inputs` are those
/// in force ([`Inputs::in_force`]).
pub(crate) fn decide(inputs: &Inputs, place: &Place, mut call: Call) -> (MtlsMode, Verdict) {
    let mode = pilot::mtls_mode(inputs, &place.namespace, &place.labels, place.port.unwrap_or_default());
    let plain = call.caller.principal == Known::Absent;
    if mode == MtlsMode::Disable {
        call.caller.principal = Known::Absent;
    }
    let mut verdict = judge(inputs, &call);
    if plain && mode == MtlsMode::Strict {
        (verdict.decision, verdict.by) = (Decision::Denied, None);
        verdict.because = "PeerAuthentication is STRICT: only callers with a certificate are let in".into();
    }
    (mode, verdict)
}

/// What becomes of a call of which no more is known than who makes it, and why. `inputs` are those in force.
pub(crate) fn judged(inputs: &Inputs, place: &Place, principal: &Known<String>) -> (Decision, String) {
    let call = Call {
        caller: Caller { principal: principal.clone(), ..Caller::default() },
        target: place.target(),
        request: place.http.then(Request::default),
    };
    let (_, verdict) = decide(inputs, place, call);
    (verdict.decision, verdict.because)
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::Denied => "denied",
        Decision::Depends => "depends",
    }
}

impl Judgement {
    fn new(place: Place, mode: MtlsMode, verdict: Verdict) -> Self {
        Self {
            workload: format!("{}/{}", place.namespace, place.workload),
            port: place.port,
            mtls: match mode {
                MtlsMode::Strict => "STRICT",
                MtlsMode::Disable => "DISABLE",
                MtlsMode::Permissive | MtlsMode::Unset => "PERMISSIVE",
            },
            decision: word(verdict.decision),
            rule: verdict.by.map(|rule| rule.to_string()),
            because: verdict.because,
            depends_on: verdict.open,
            policies: verdict.policies.into_iter().map(Policy::from).collect(),
            others: verdict.others.into_iter().map(LeftOut::from).collect(),
        }
    }
}

impl From<Judged> for Policy {
    fn from(judged: Judged) -> Self {
        let rules = judged.rules.into_iter().map(|rule| Rule {
            matches: match rule.matches {
                Match::Yes => "yes",
                Match::No => "no",
                Match::Depends => "depends",
            },
            because: rule.because,
        });
        Self {
            namespace: judged.namespace,
            name: judged.name,
            action: judged.action,
            dry_run: judged.dry_run,
            provider: judged.provider,
            rules: rules.collect(),
        }
    }
}

impl From<Other> for LeftOut {
    fn from(other: Other) -> Self {
        Self { namespace: other.namespace, name: other.name, because: other.because }
    }
}

impl Place {
    pub(crate) fn target(&self) -> Target {
        Target {
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            ip: self.ip.into(),
            port: self.port.into(),
        }
    }
}
