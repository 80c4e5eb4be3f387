//! What two registries say differently of one endpoint, in an operator's words.

use crate::model::{Endpoint, Locality, TlsMode};

/// What they differ in, if in anything that traffic depends on. A label counts where both have it: each platform has some
/// of its own.
pub(super) fn disagreement(first: &Endpoint, second: &Endpoint) -> Option<String> {
    let (one, other) = (&first.provenance.registry, &second.provenance.registry);
    if one == other {
        return None;
    }
    let mut said: Vec<(String, String)> = Vec::new();
    let mut compare = |a: String, b: String| {
        if a != b {
            said.push((a, b));
        }
    };
    compare(first.health.as_str().into(), second.health.as_str().into());
    compare(tls(first), tls(second));
    compare(format!("weight {}", first.weight), format!("weight {}", second.weight));
    compare(locality(&first.workload.locality), locality(&second.workload.locality));
    if (first.tls, second.tls) == (TlsMode::Istio, TlsMode::Istio) {
        compare(identity(first), identity(second));
    }
    for (key, value) in &first.workload.labels {
        if let Some(theirs) = second.workload.labels.get(key) {
            compare(format!("label {key}={value}"), format!("label {key}={theirs}"));
        }
    }
    let (ones, others): (Vec<String>, Vec<String>) = said.into_iter().unzip();
    (!ones.is_empty()).then(|| {
        let place = format!("endpoint {}:{}", first.address, first.port);
        format!("{place}: {one} says {}, {other} says {}; {one} decides", ones.join(", "), others.join(", "))
    })
}

fn tls(endpoint: &Endpoint) -> String {
    if endpoint.tls == TlsMode::Istio { "mutual TLS".into() } else { "plain text".into() }
}

fn locality(locality: &Locality) -> String {
    match locality.to_string() {
        none if none.is_empty() => "no locality".into(),
        place => format!("locality {place}"),
    }
}

fn identity(endpoint: &Endpoint) -> String {
    format!("identity {}/{}", endpoint.workload.namespace, endpoint.workload.service_account)
}
