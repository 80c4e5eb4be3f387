//! The names under which a service port is asked for, each with the right to it.

use registry::Service;

use super::hosts::{Domain, Right};
use crate::visibility::View;

/// Every name with the port; for port 80, or the service's only port, also without.
pub(super) fn of(service: &Service, port: u16, view: &View<'_>) -> Vec<Domain> {
    let names = names(service, view);
    let bare = port == 80 || service.ports.len() == 1;
    let without = names.iter().filter(|_| bare).cloned();
    without.chain(with_port(&names, port)).collect()
}

/// Every name with the port and without: callers spell the port of the URL, or leave it out.
pub(super) fn of_captured(service: &Service, port: u16, view: &View<'_>) -> Vec<Domain> {
    let names = names(service, view);
    let with: Vec<Domain> = with_port(&names, port).collect();
    names.into_iter().chain(with).collect()
}

/// Every name without a port and with any.
pub(super) fn of_any_port(service: &Service, view: &View<'_>) -> Vec<Domain> {
    // Two wildcards in one domain are not understood.
    let names = names(service, view).into_iter().filter(|(_, name)| !name.contains('*'));
    names.flat_map(|(right, name)| [(right.clone(), name.clone()), (right, format!("{name}:*"))]).collect()
}

fn with_port(names: &[Domain], port: u16) -> impl Iterator<Item = Domain> {
    names.iter().map(move |(right, name)| (right.clone(), format!("{name}:{port}")))
}

/// The host, its shorter forms where it is one of a namespace, its aliases and its addresses.
fn names(service: &Service, view: &View<'_>) -> Vec<Domain> {
    let (host, short) = (service.host().to_string(), view.short_name(service));
    // Whom an address is written as the host of has it as he would have it otherwise.
    let given =
        if host.parse::<std::net::IpAddr>().is_ok() { Right::Address(view.standing(service)) } else { Right::Host };
    let mut names = vec![(if short.is_some() { Right::Name } else { given }, host)];
    if let Some(short) = short {
        let namespace = service.namespace();
        if view.audience.namespace == namespace {
            names.push((Right::Short, short.to_owned()));
        }
        names.push((Right::Name, format!("{short}.{namespace}")));
        names.push((Right::Name, format!("{short}.{namespace}.svc")));
    }
    names.extend(service.aliases.iter().map(|alias| (Right::Alias, alias.to_string())));
    let single = service.addresses.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
    let address = |text| (Right::Address(view.standing(service)), text);
    names.extend(single.map(|net| match net.addr() {
        std::net::IpAddr::V4(ip) => address(ip.to_string()),
        std::net::IpAddr::V6(ip) => address(format!("[{ip}]")),
    }));
    names
}
