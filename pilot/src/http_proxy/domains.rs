//! The names under which a service port is asked for.

use registry::Service;

use crate::visibility::View;

/// Every name with the port; for port 80, or the service's only port, also without.
pub(super) fn of(service: &Service, port: u16, view: &View<'_>) -> Vec<String> {
    let names = names(service, view);
    let bare = port == 80 || service.ports.len() == 1;
    let without = names.iter().filter(|_| bare).cloned();
    let with = names.iter().map(|name| format!("{name}:{port}"));
    without.chain(with).collect()
}

/// Every name with the port and without: callers spell the port of the URL, or leave it out.
pub(super) fn of_captured(service: &Service, port: u16, view: &View<'_>) -> Vec<String> {
    let names = names(service, view);
    let with: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
    names.into_iter().chain(with).collect()
}

/// Every name without a port and with any.
pub(super) fn of_any_port(service: &Service, view: &View<'_>) -> Vec<String> {
    // Two wildcards in one domain are not understood.
    let names = names(service, view).into_iter().filter(|name| !name.contains('*'));
    names.flat_map(|name| [name.clone(), format!("{name}:*")]).collect()
}

/// The host, its shorter forms where it is one of a namespace, its aliases and its addresses.
fn names(service: &Service, view: &View<'_>) -> Vec<String> {
    let host = service.host().as_str();
    let mut names = vec![host.to_owned()];
    let suffix = format!(".{}.svc.{}", service.namespace(), view.index.mesh().domain);
    if let Some(short) = host.strip_suffix(suffix.as_str()).filter(|short| !short.is_empty()) {
        let namespace = service.namespace();
        if view.audience.namespace == namespace {
            names.push(short.to_owned());
        }
        names.push(format!("{short}.{namespace}"));
        names.push(format!("{short}.{namespace}.svc"));
    }
    names.extend(service.aliases.iter().map(|alias| alias.to_string()));
    let single = service.addresses.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
    names.extend(single.map(|net| match net.addr() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    names
}
