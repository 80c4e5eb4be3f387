//! Where problems come from, one function a source.

mod identity;
pub(crate) mod traffic;

use std::collections::BTreeSet;

use galley::analysis::Found;
use galley::{Kind, ObjectKey};
use pilot::{ProxyStatus, SyncState};
use registry::{Catalog, RegistryState};

use super::Trouble;
use crate::catalogue::{self as codes, Code};
use crate::problem::Finding;
use crate::services::{count, short_name};
use crate::state::State;

pub fn all(state: &State) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = state.galley.problems().iter().map(file).collect();
    let across = state.galley.analyse(&state.known_services());
    all.extend(across.iter().map(analysed));
    let dangling = across.iter().filter(|found| found.diagnostic.code == galley::code::REFERENCE_NOT_FOUND);
    let dangling: BTreeSet<String> = dangling.map(|found| found.object.to_string()).collect();
    for proxy in state.discovery.proxies() {
        all.extend(refusals(&proxy));
        all.extend(findings(&proxy, &dangling));
    }
    let catalog = state.catalog();
    all.extend(registries(&catalog));
    all.extend(registry::foreign_addresses(&catalog).into_iter().map(foreign));
    all.extend(unserved(&catalog, &state.domain()));
    all.extend(identity::authority(state));
    all.extend(identity::roots(state));
    all.extend(identity::denied(state));
    all.extend(exporters(state));
    all.extend(state.kept.failing.now().iter().cloned());
    for proxy in state.discovery.proxies() {
        all.extend(identity::certificate(state, &proxy));
        all.extend(version(&proxy));
    }
    all
}

fn file(problem: &galley::Problem) -> Trouble {
    let mut trouble = Trouble::new(&codes::REFUSED, "configuration", &problem.file, problem.to_string());
    if !problem.is_error() {
        trouble.severity = codes::Severity::Warning.as_str();
    }
    trouble.reason = Some(problem.code);
    trouble.finding = Some(Finding::from(problem));
    trouble
}

fn analysed(found: &Found) -> Trouble {
    let code = match found.diagnostic.code {
        galley::code::REFERENCE_NOT_FOUND => &codes::DANGLING,
        galley::code::CONFLICTING_MESH_HOSTS => &codes::CLAIMED_TWICE,
        galley::code::FOREIGN_HOST => &codes::FOREIGN_HOST,
        _ => &codes::DOUBTFUL,
    };
    let message = format!("{}: {}", found.diagnostic.path, found.diagnostic.message);
    let mut trouble = Trouble::new(code, "analysis", found.object.to_string(), message);
    if found.diagnostic.is_error() {
        trouble.severity = codes::Severity::Error.as_str();
    }
    trouble.reason = Some(found.diagnostic.code);
    trouble.namespace = Some(found.object.namespace.clone());
    trouble.link = Some(link(&found.object));
    trouble.finding = Some(Finding::from(&found.diagnostic));
    trouble
}

fn link(key: &ObjectKey) -> String {
    format!("/api/v1/{}/{}/{}", key.kind.plural(), key.namespace, key.name)
}

fn refusals(proxy: &ProxyStatus) -> Vec<Trouble> {
    let refused = proxy.types.iter().filter(|(_, of_type)| of_type.state == SyncState::Nacked);
    refused
        .map(|(name, of_type)| {
            let words = of_type.error.as_deref().unwrap_or("without a reason");
            let mut trouble = Trouble::new(&codes::NACK, "proxy", &proxy.id, format!("refused {name}: {words}"));
            trouble.namespace = Some(proxy.namespace.clone());
            trouble.link = Some(format!("/api/v1/proxies/{}", proxy.id));
            trouble
        })
        .collect()
}

/// The same finding concerns many proxies; it is shown once. What the analysis said already is not said again.
fn findings(proxy: &ProxyStatus, dangling: &BTreeSet<String>) -> Vec<Trouble> {
    let said = |found: &pilot::Diagnostic| {
        let of_names =
            matches!(found.code, pilot::Code::UnknownHost | pilot::Code::UnknownSubset | pilot::Code::UnknownProvider);
        of_names && dangling.contains(&found.object)
    };
    let findings = proxy.diagnostics.iter().filter(|found| !said(found));
    findings
        .map(|found| {
            let mut trouble = Trouble::new(of_compile(found.code), "compile", &found.object, found.message.clone());
            trouble.reason = Some(found.code.as_str());
            if let Some(key) = object_key(&found.object) {
                trouble.namespace = Some(key.namespace.clone());
                trouble.link = Some(link(&key));
            }
            trouble
        })
        .collect()
}

/// Sinks of metrics that did not take what they were sent last.
fn exporters(state: &State) -> Vec<Trouble> {
    let sinks = state.mixer.sinks().into_iter();
    let troubled = sinks.filter_map(|sink| {
        let why = sink.trouble?;
        Some(Trouble::new(&codes::NOT_EXPORTED, "exporter", &sink.name, format!("{}: {why}", sink.kind)))
    });
    troubled.collect()
}

/// A proxy of ours that is of another version.
fn version(proxy: &ProxyStatus) -> Option<Trouble> {
    let own = env!("CARGO_PKG_VERSION");
    let other = proxy.version.strip_prefix("weft/").filter(|other| *other != own)?;
    let message = format!("the proxy is {other}, the control plane {own}");
    Some(Trouble::new(&codes::VERSION_SKEW, "proxy", &proxy.id, message))
}

fn of_compile(code: pilot::Code) -> &'static Code {
    match code {
        pilot::Code::UnknownHost
        | pilot::Code::UnknownSubset
        | pilot::Code::MissingSecret
        | pilot::Code::UnknownProvider => &codes::DANGLING,
        pilot::Code::WithheldKey => &codes::WITHHELD_KEY,
        pilot::Code::UnknownPort => &codes::UNKNOWN_PORT,
        pilot::Code::BadDelegate => &codes::BAD_DELEGATE,
        pilot::Code::Conflict => &codes::CLAIMED_TWICE,
        pilot::Code::WrongProtocol => &codes::DOUBTFUL,
        pilot::Code::Unsupported => &codes::UNSERVED,
    }
}

/// `VirtualService default/reviews`
fn object_key(text: &str) -> Option<ObjectKey> {
    let (kind, rest) = text.split_once(' ')?;
    let (namespace, name) = rest.split_once('/')?;
    Some(ObjectKey::new(Kind::named(kind)?, namespace, name))
}

fn registries(catalog: &Catalog) -> Vec<Trouble> {
    let stale = catalog.registries.iter().filter_map(|registry| match &registry.state {
        _ if registry.paused => {
            let words = "an operator left its news aside: what it told last stays in force".to_owned();
            let mut trouble = Trouble::new(&codes::REGISTRY_PAUSED, "registry", &*registry.name, words);
            trouble.link = Some("/api/v1/registries".into());
            Some(trouble)
        }
        RegistryState::Stale(reason) => {
            let mut trouble = Trouble::new(&codes::REGISTRY_LOST, "registry", &*registry.name, reason.clone());
            trouble.link = Some("/api/v1/registries".into());
            Some(trouble)
        }
        _ => None,
    });
    let conflicts = catalog.entries().flat_map(|entry| {
        let object = entry.service.host().as_str();
        entry.conflicts.iter().map(move |words| {
            let mut trouble = Trouble::new(&codes::REGISTRIES_DISAGREE, "registry", object, words.clone());
            trouble.namespace = Some(entry.service.namespace().to_owned());
            trouble
        })
    });
    let findings = catalog.registries.iter().flat_map(|registry| {
        let told = registry.findings.iter();
        told.map(|words| Trouble::new(&codes::REGISTRY_FINDING, "registry", &*registry.name, words.clone()))
    });
    stale.chain(findings).chain(conflicts).collect()
}

fn foreign(of: registry::ForeignAddress) -> Trouble {
    let message = format!("{} of its host {} is the workload {}'s", of.address, of.host, of.owner);
    let mut trouble = Trouble::new(&codes::FOREIGN_ADDRESS, "analysis", &of.object, message);
    trouble.namespace = Some(of.namespace);
    trouble.link = object_key(&of.object).as_ref().map(link);
    trouble
}

/// Services whose endpoints are all unhealthy.
fn unserved(catalog: &Catalog, domain: &str) -> Vec<Trouble> {
    let all = catalog.entries().map(|entry| (entry, count(entry)));
    let unserved = all.filter(|(_, count)| count.total > 0 && count.healthy == 0);
    unserved
        .map(|(entry, count)| {
            let (host, namespace) = (entry.service.host().as_str(), entry.service.namespace());
            let message = format!("none of its {} endpoints is healthy", count.total);
            let mut trouble = Trouble::new(&codes::NO_ENDPOINTS, "service", host, message);
            trouble.namespace = Some(namespace.to_owned());
            trouble.link = Some(format!("/api/v1/services/{namespace}/{}", short_name(host, namespace, domain)));
            trouble
        })
        .collect()
}
