//! TLS and TCP rules.

use super::refs::{self, Context};
use super::{L4Match, TcpRoute, TlsRoute};
use crate::diagnostic::code;
use crate::kinds::check::{self, Wildcard};
use crate::reader::{Object, Place};

pub(super) fn tls(place: &Place<'_>, context: &Context<'_>, hosts: &[String]) -> Option<TlsRoute> {
    place.object(|o| {
        let matches = o.each("match", |place| {
            place.object(|o| {
                let sni_hosts = o.each("sniHosts", |place| sni_host(place, hosts));
                if sni_hosts.is_empty() {
                    o.error_at("sniHosts", "at least one SNI host is required");
                }
                L4Match { sni_hosts, ..common(o, context) }
            })
        });
        if matches.is_empty() {
            o.error_at("match", "at least one match, with sniHosts, is required");
        }
        TlsRoute { matches, route: refs::weighted(o) }
    })
}

fn sni_host(place: &Place<'_>, hosts: &[String]) -> Option<String> {
    let text = place.text()?;
    if check::is_address(&text) {
        place.warn(code::SCHEMA_WARNING, "an IP address is never sent as SNI");
        return Some(text);
    }
    if let Err(why) = check::host_rule(&text, Wildcard::PartOfLabel) {
        place.error(why);
    }
    if !hosts.iter().any(|host| refs::covers(host, &text)) {
        place.error(format!("{text:?} is none of the VirtualService's hosts"));
    }
    Some(text)
}

pub(super) fn tcp(place: &Place<'_>, context: &Context<'_>) -> Option<TcpRoute> {
    place.object(|o| {
        let matches = o.each("match", |place| {
            place.object(|o| L4Match { source_subnet: o.read("sourceSubnet", check::subnet), ..common(o, context) })
        });
        TcpRoute { matches, route: refs::weighted(o) }
    })
}

fn common(o: &Object<'_>, context: &Context<'_>) -> L4Match {
    L4Match {
        destination_subnets: o.each("destinationSubnets", check::subnet),
        port: o.port("port"),
        source_labels: o.field("sourceLabels").map(|place| check::labels(&place)).unwrap_or_default(),
        source_namespace: o.text("sourceNamespace"),
        gateways: refs::gateways(o, context.scope),
        ..L4Match::default()
    }
}
