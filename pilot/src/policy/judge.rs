//! What the policies make of one call, without a proxy: which apply, which rule decides, and why the others do not.
//! Pure. What is not known of a call is left open, and said where the answer turns on it.

mod facts;
mod holds;
mod rule;
mod text;

use std::collections::BTreeSet;
use std::fmt;

use galley::Config;
use galley::kinds::{AccessAction, AuthorizationPolicy, selects};

use super::access::{cannot_be_put, who};
use crate::inputs::Inputs;
use crate::mesh::MeshConfig;

pub use facts::{Call, Caller, Known, Request, Target};
use holds::Holds;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    /// The rule that decided; `None` where none did (nothing forbids it, or nothing allows it).
    pub by: Option<RuleName>,
    /// In words.
    pub because: String,
    /// What the answer would turn on.
    pub open: Vec<String>,
    /// Those that apply to the workload, in the order in which they are asked.
    pub policies: Vec<Judged>,
    /// Those that do not.
    pub others: Vec<Other>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Allowed,
    Denied,
    /// On what is not known of the call, or on what a provider says.
    Depends,
}

/// `ns[shop]-policy[readers]-rule[0]` in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleName {
    pub namespace: String,
    pub policy: String,
    pub rule: usize,
}

/// A policy that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub namespace: String,
    pub name: String,
    pub action: &'static str,
    /// It is only tried: logged, and not enforced.
    pub dry_run: bool,
    /// Who is asked, with action CUSTOM.
    pub provider: Option<String>,
    pub rules: Vec<JudgedRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedRule {
    pub matches: Match,
    /// What keeps it from matching, or what that turns on.
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    Yes,
    No,
    Depends,
}

/// A policy that does not apply, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub namespace: String,
    pub name: String,
    pub because: String,
}

/// CUSTOM, then DENY, then ALLOW (Istio, "Implicit enablement"); AUDIT decides nothing. `inputs` are those in force
/// ([`Inputs::in_force`]).
pub fn judge(inputs: &Inputs, call: &Call) -> Verdict {
    let mesh = &inputs.mesh;
    let (mut applied, mut others) = (Vec::new(), Vec::new());
    for policy in inputs.config.authorization_policies.iter().map(|policy| &**policy) {
        match reason_to_leave_out(policy, mesh, &call.target) {
            None => applied.push((policy, judged(policy, mesh, call))),
            Some(because) => {
                others.push(Other {
                    namespace: policy.meta.namespace.clone(),
                    name: policy.meta.name.clone(),
                    because,
                });
            }
        }
    }
    // In the order in which proxies ask, which is that of names.
    applied.sort_by_key(|(policy, _)| {
        (stage(policy.spec.action), policy.meta.namespace.clone(), policy.meta.name.clone())
    });
    let unasked = why_unasked(inputs, &applied, call);
    let (decision, by, because, open) = decide(&applied, unasked.as_deref());
    let policies = applied.into_iter().map(|(_, judged)| judged.0).collect();
    Verdict { decision, by, because, open, policies, others }
}

/// With what each of its rules came to.
struct WithHolds(Judged, Vec<Holds>);

type Applied<'a> = (&'a Config<AuthorizationPolicy>, WithHolds);

fn stage(action: AccessAction) -> u8 {
    match action {
        AccessAction::Custom => 0,
        AccessAction::Audit => 1,
        AccessAction::Deny => 2,
        AccessAction::Allow => 3,
    }
}

fn word(action: AccessAction) -> &'static str {
    match action {
        AccessAction::Custom => "CUSTOM",
        AccessAction::Audit => "AUDIT",
        AccessAction::Deny => "DENY",
        AccessAction::Allow => "ALLOW",
    }
}

fn reason_to_leave_out(policy: &Config<AuthorizationPolicy>, mesh: &MeshConfig, target: &Target) -> Option<String> {
    let namespace = &policy.meta.namespace;
    if *namespace != target.namespace && *namespace != mesh.root_namespace {
        return Some(format!("it is for namespace {namespace}, and the workload is in {}", target.namespace));
    }
    let selector = policy.spec.selector.as_ref()?;
    let lacks = |(key, value): &(&String, &String)| target.labels.get(*key) != Some(*value);
    let (key, value) = (!selects(selector, &target.labels)).then(|| selector.iter().find(lacks))??;
    Some(format!("its selector asks for {key}={value}, which the workload has not"))
}

fn judged(policy: &Config<AuthorizationPolicy>, mesh: &MeshConfig, call: &Call) -> WithHolds {
    let rules = policy.spec.rules.iter();
    let holds: Vec<Holds> =
        rules.map(|rule| rule::holds(rule, &policy.meta.namespace, policy.spec.action, mesh, call)).collect();
    let told = holds.iter().map(|holds| match holds {
        Holds::Yes => JudgedRule { matches: Match::Yes, because: String::new() },
        Holds::No(why) => JudgedRule { matches: Match::No, because: why.clone() },
        Holds::Open(on) => {
            JudgedRule { matches: Match::Depends, because: format!("depends on {}", holds::list(on.iter())) }
        }
    });
    let judged = Judged {
        namespace: policy.meta.namespace.clone(),
        name: policy.meta.name.clone(),
        action: word(policy.spec.action),
        dry_run: policy.meta.is_dry_run(),
        provider: (policy.spec.action == AccessAction::Custom).then(|| policy.spec.provider.clone()),
        rules: told.collect(),
    };
    WithHolds(judged, holds)
}

/// Why proxies ask nobody about what CUSTOM covers; it is denied then.
fn why_unasked(inputs: &Inputs, applied: &[Applied<'_>], call: &Call) -> Option<String> {
    let custom = applied.iter().filter(|(policy, _)| policy.spec.action == AccessAction::Custom);
    let providers: BTreeSet<&str> = custom.map(|(policy, _)| policy.spec.provider.as_str()).collect();
    if providers.is_empty() {
        return None;
    }
    match who(inputs, &call.target.namespace, &providers) {
        Ok((asked, _)) => cannot_be_put(asked).filter(|_| call.request.is_none()),
        Err(why) => Some(why),
    }
}

type Decided = (Decision, Option<RuleName>, String, Vec<String>);

fn decide(applied: &[Applied<'_>], unasked: Option<&str>) -> Decided {
    let of = |action| {
        let mine = move |(policy, _): &&Applied<'_>| policy.spec.action == action && !policy.meta.is_dry_run();
        applied.iter().filter(mine)
    };
    let asked = first(of(AccessAction::Custom));
    if let (Found::Rule(rule, _), Some(why)) = (&asked, unasked) {
        let because = format!("{} denies it, as nobody can be asked: {why}", told(rule));
        return (Decision::Denied, Some(rule.clone()), because, Vec::new());
    }
    let denied = first(of(AccessAction::Deny));
    if let Found::Rule(rule, _) = denied {
        return (Decision::Denied, Some(rule.clone()), format!("{} denies it", told(&rule)), Vec::new());
    }
    let allowed = first(of(AccessAction::Allow));
    let wants_allowing = of(AccessAction::Allow).next().is_some();
    if wants_allowing && matches!(allowed, Found::None) {
        return (
            Decision::Denied,
            None,
            "no rule that allows matches, and there are policies that allow".into(),
            Vec::new(),
        );
    }
    let mut open: Vec<String> = Vec::new();
    if let Found::Rule(_, provider) = &asked {
        open.push(format!("what {provider} says"));
    }
    for found in [&asked, &denied, &allowed] {
        let Found::Open(on) = found else { continue };
        holds::add(&mut open, on);
    }
    let by = match (allowed, asked) {
        _ if !open.is_empty() => {
            let because = format!("it depends on {}", holds::list(open.iter()));
            return (Decision::Depends, None, because, open);
        }
        (Found::Rule(rule, _), _) => rule,
        _ => {
            return (
                Decision::Allowed,
                None,
                "no policy that denies matches, and none allows others only".into(),
                open,
            );
        }
    };
    (Decision::Allowed, Some(by.clone()), format!("{} allows it", told(&by)), open)
}

fn told(rule: &RuleName) -> String {
    format!("rule {} of {}/{}", rule.rule, rule.namespace, rule.policy)
}

/// The first rule that matches; else what would have to be known.
enum Found {
    /// With the provider of its policy.
    Rule(RuleName, String),
    Open(Vec<String>),
    None,
}

fn first<'a>(applied: impl Iterator<Item = &'a Applied<'a>>) -> Found {
    let named = applied.flat_map(|(policy, WithHolds(_, holds))| {
        let name = |rule| RuleName { namespace: policy.meta.namespace.clone(), policy: policy.meta.name.clone(), rule };
        holds.iter().enumerate().map(move |(rule, holds)| (name(rule), &policy.spec.provider, holds))
    });
    let mut named: Vec<_> = named.collect();
    // Proxies ask in the order of the names that they know the rules by.
    named.sort_by_cached_key(|(name, ..)| name.to_string());
    let mut open = Vec::new();
    for (name, provider, holds) in named {
        match holds {
            Holds::Yes => return Found::Rule(name, provider.clone()),
            Holds::Open(on) => holds::add(&mut open, on),
            Holds::No(_) => {}
        }
    }
    if open.is_empty() { Found::None } else { Found::Open(open) }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ns[{}]-policy[{}]-rule[{}]", self.namespace, self.policy, self.rule)
    }
}
