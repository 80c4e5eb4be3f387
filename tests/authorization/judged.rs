//! The third opinion: what the evaluator makes of a case.

use std::sync::Arc;

use api::TrustDomain;
use galley::Snapshot;
use pilot::judge::{Call, Caller, Decision, Known, Request, Target, judge};
use pilot::{Inputs, MeshConfig};

use crate::client::Outcome;
use crate::compiled::catalog;
use crate::table::{Case, DOMAIN, Group};

fn mesh(group: &Group) -> MeshConfig {
    let aliases = group.aliases.iter().map(|name| TrustDomain::new(name).unwrap()).collect();
    MeshConfig { trust_domain_aliases: aliases, ..MeshConfig::new(TrustDomain::new(DOMAIN).unwrap()) }
}

fn snapshot(group: &Group) -> Arc<Snapshot> {
    let parsed = Snapshot::parse(&group.objects(), &group.name);
    Arc::new(parsed.unwrap_or_else(|error| panic!("{}: {error:?}", group.name)))
}

/// What pilot compiles, and the evaluator judges by.
pub fn inputs(group: &Group) -> Inputs {
    Inputs {
        catalog: Arc::new(catalog()),
        config: snapshot(group),
        mesh: Arc::new(mesh(group)),
        credentials: Arc::default(),
        ready: true,
    }
}

/// What it says instead of what the table says.
pub fn differs(group: &Group, case: &Case) -> Option<String> {
    let verdict = judge(&inputs(group).in_force(), &call(group, case));
    let expected = match case.outcome() {
        _ if case.open => Decision::Depends,
        Outcome::Allowed => Decision::Allowed,
        Outcome::Denied => Decision::Denied,
    };
    let by = verdict.by.as_ref().map(ToString::to_string);
    let decided = case.rule().filter(|_| !case.marked);
    let same = verdict.decision == expected && (case.open || by == decided);
    (!same).then(|| format!("judged: {:?} by {by:?}: {}", verdict.decision, verdict.because))
}

fn call(group: &Group, case: &Case) -> Call {
    let there = |value: Option<String>| value.map_or(Known::Absent, Known::Is);
    let headers = case.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), Known::Is(value.clone())));
    let request = Request {
        method: Known::Is(case.method.clone()),
        path: Known::Is(case.path.clone()),
        host: Known::Is(case.host.clone()),
        headers: headers.collect(),
        has_no_more_headers: true,
    };
    let mut claims = case.token.clone().filter(|_| !case.unverified);
    if let Some(claims) = &mut claims {
        crate::client::complete(claims);
    }
    Call {
        caller: Caller {
            principal: there(case.principal()),
            ip: Known::Is(case.from.into()),
            remote_ip: Known::Is(case.forwarded.filter(|_| !case.unverified).unwrap_or_else(|| case.from.into())),
            claims: claims.map_or(Known::Absent, Known::Is),
            sni: there(case.sni.clone()),
        },
        target: Target {
            namespace: group.namespace().to_owned(),
            labels: group.labels(),
            // Each program has another (`address` in `main.rs`), all of them in 127.40.0.0/15.
            ip: Known::Is([127, 40, 1, 1].into()),
            port: Known::Is(case.port),
        },
        request: (!case.is_tcp()).then_some(request),
    }
}
