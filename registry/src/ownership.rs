//! Which hosts are a workload's own by nobody's word but its namespace, and whose addresses are. Pure.

mod addresses;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use api::Hostname;

pub use addresses::{ForeignAddress, foreign_addresses, speaks_for};

/// Why a host is not a workload's to serve by its own word; the texts are for its operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOwn {
    /// No token makes it this workload's.
    #[error("{0}")]
    Never(String),
    /// Somebody outside the namespace's own names, for whom an operator can say that this workload serves it.
    #[error("{0}")]
    Unnamed(String),
}

/// The host of a service that a workload of this namespace says it serves. Its own are the services of its namespace:
/// one label, written alone or in full. `name.namespace` and `name.namespace.svc` are how callers shorten what is in
/// full `name.namespace.svc.<domain>`, so they belong to whom that belongs.
pub fn own_host(service: &str, namespace: &str, domain: &str) -> Result<Hostname, NotOwn> {
    let never = |why: String| Err(NotOwn::Never(format!("service {service:?}: {why}")));
    let host = match Hostname::resolve(service, namespace, domain) {
        Ok(host) => host,
        Err(error) => return never(error.to_string()),
    };
    let text = host.as_str();
    if text == "*" {
        return never("this would be every host; name the services one by one".into());
    }
    if text.parse::<IpAddr>().is_ok() {
        return never("a service has a name, and this is an address; name the service that it is".into());
    }
    let full = text.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc."));
    let below = full.or_else(|| text.strip_suffix(".svc"));
    let (name, other) = match below.map(|below| below.rsplit_once('.')) {
        Some(Some(parts)) => parts,
        Some(None) => {
            return never(format!("no namespace is named; write name.{namespace}.svc.{domain}, or the name alone"));
        }
        None => match text.rsplit_once('.') {
            Some((name, other)) if other == namespace && !name.contains('.') => (name, other),
            _ => return unnamed(service, &format!("{text} is no service of namespace {namespace}")),
        },
    };
    if other != namespace {
        return never(format!(
            "{host} is a service of namespace {other}, and this workload is of namespace {namespace}; join with a token \
             for {other}, or name a service of {namespace}"
        ));
    }
    if full.is_none() {
        return never(format!("write {name}, or {name}.{namespace}.svc.{domain}"));
    }
    if name.contains(['.', '*']) {
        // Callers in the namespace leave out its name: to them `api.example.com.shop.svc.…` is `api.example.com`.
        return unnamed(service, &format!("{name} is more than one label, so it may stand for another host"));
    }
    Ok(host)
}

fn unnamed(service: &str, why: &str) -> Result<Hostname, NotOwn> {
    Err(NotOwn::Unnamed(format!("service {service:?}: {why}")))
}
