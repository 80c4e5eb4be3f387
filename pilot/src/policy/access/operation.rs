//! What is asked for, as permissions.

use api::envoy::config::rbac::v3 as rbac;
use api::envoy::r#type::matcher::v3 as matcher;
use galley::kinds::{AccessCondition, AccessOperation, AddressAttribute, PathTemplate, TextAttribute};
use rbac::Permission;
use rbac::permission::Rule;

use super::matching::{self, header, metadata, range, text, whole};
use super::term::{IntoTerm as _, Terms};

pub(super) fn add(operation: &AccessOperation, terms: &mut Terms<Permission>) {
    terms.add_http(&operation.hosts, |host| Rule::Header(matching::host(host)).into_term());
    terms.add_http(&operation.methods, |method| Rule::Header(header(":method", method)).into_term());
    terms.add_http(&operation.paths, |path| Rule::UrlPath(self::path(path)).into_term());
    terms.add(&operation.ports, |port| self::port(*port));
}

/// Conditions on who asks are the principals' affair.
pub(super) fn add_condition(condition: &AccessCondition, terms: &mut Terms<Permission>) {
    match condition {
        AccessCondition::Port(ports) => terms.add(ports, |port| self::port(*port)),
        AccessCondition::Address(AddressAttribute::Destination, ranges) => {
            terms.add(ranges, |net| Rule::DestinationIp(range(net)).into_term());
        }
        AccessCondition::Text(TextAttribute::Sni, names) => {
            terms.add(names, |name| Rule::RequestedServerName(text(name)).into_term());
        }
        AccessCondition::Text(TextAttribute::FilterMetadata { filter, key }, values) => terms.add(values, |value| {
            Rule::SourcedMetadata(metadata(filter, std::slice::from_ref(key), matching::left_value(value))).into_term()
        }),
        AccessCondition::Address(..) | AccessCondition::Text(..) => {}
    }
}

fn port(port: u16) -> Permission {
    Rule::DestinationPort(port.into()).into_term()
}

fn path(path: &str) -> matcher::PathMatcher {
    let matches = match PathTemplate::steps(path) {
        None => text(path),
        Some(steps) => {
            let steps = steps.map(|step| match step {
                PathTemplate::Literal(literal) => matching::escape(literal),
                PathTemplate::One => "[^/]+".to_owned(),
                PathTemplate::Rest => ".*".to_owned(),
            });
            whole(&steps.collect::<Vec<_>>().join("/"))
        }
    };
    matcher::PathMatcher { rule: Some(matcher::path_matcher::Rule::Path(matches)) }
}
