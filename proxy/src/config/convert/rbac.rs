//! Access control: rules, policies and their conditions.

use api::envoy::config::rbac::v3 as wire;
use api::envoy::r#type::matcher::v3 as matchers;
use wire::permission::Rule;
use wire::principal::Identifier;

use super::{basics, matcher, route_match};
use crate::config::StringMatch;
use crate::config::error::{At, ConfigError};
use crate::rbac::{Action, MetadataMatch, Permission, Policy, Principal, Rules, ValueMatch};

pub(super) fn rules(wire: &wire::Rbac, at: &At<'_>) -> Result<Rules, ConfigError> {
    let action = match wire::rbac::Action::try_from(wire.action) {
        Ok(wire::rbac::Action::Allow) => Action::Allow,
        Ok(wire::rbac::Action::Deny) => Action::Deny,
        Ok(wire::rbac::Action::Log) => Action::Log,
        Err(_) => return Err(at.field("action").refuse(wire.action, "is not known")),
    };
    let at = at.field("policies");
    let policies = wire.policies.iter().map(|(name, one)| policy(name, one, &at.key(name)));
    Ok(Rules { action, policies: policies.collect::<Result<_, _>>()? })
}

fn policy(name: &str, wire: &wire::Policy, at: &At<'_>) -> Result<Policy, ConfigError> {
    Ok(Policy {
        name: name.to_owned(),
        permissions: all(&wire.permissions, permission, &at.field("permissions"))?,
        principals: all(&wire.principals, principal, &at.field("principals"))?,
    })
}

type One<W, T> = fn(&W, &At<'_>) -> Result<T, ConfigError>;

/// A list that may not be empty.
fn all<W, T>(wire: &[W], one: One<W, T>, at: &At<'_>) -> Result<Vec<T>, ConfigError> {
    if wire.is_empty() {
        return Err(at.missing());
    }
    wire.iter().enumerate().map(|(index, wire)| one(wire, &at.index(index))).collect()
}

#[expect(deprecated, reason = "control planes in use still send `metadata`")]
fn permission(wire: &wire::Permission, at: &At<'_>) -> Result<Permission, ConfigError> {
    let Some(rule) = &wire.rule else { return Err(at.missing()) };
    Ok(match rule {
        Rule::AndRules(set) => Permission::All(all(&set.rules, permission, &at.field("and_rules").field("rules"))?),
        Rule::OrRules(set) => Permission::OneOf(all(&set.rules, permission, &at.field("or_rules").field("rules"))?),
        Rule::Any(true) => Permission::Any,
        Rule::Any(false) => return Err(at.field("any").refuse(false, "is true")),
        Rule::Header(wire) => Permission::Header(route_match::header(wire, &at.field("header"))?),
        Rule::UrlPath(wire) => Permission::Path(path(wire, &at.field("url_path"))?),
        Rule::DestinationIp(wire) => Permission::DestinationIp(basics::range(wire, &at.field("destination_ip"))?),
        Rule::DestinationPort(port) => {
            let port = u32::from(basics::port(*port, &at.field("destination_port"))?);
            Permission::DestinationPort(port..port + 1)
        }
        Rule::DestinationPortRange(range) => {
            let at = at.field("destination_port_range");
            let bound = |number: i32| u32::try_from(number).ok().filter(|number| *number <= 65536);
            match (bound(range.start), bound(range.end)) {
                (Some(start), Some(end)) if start < end => Permission::DestinationPort(start..end),
                _ => return Err(at.refuse(format_args!("{}..{}", range.start, range.end), "is a range of ports")),
            }
        }
        Rule::Metadata(wire) => Permission::Metadata(metadata(wire, &at.field("metadata"))?),
        Rule::SourcedMetadata(wire) => Permission::Metadata(sourced(wire, &at.field("sourced_metadata"))?),
        Rule::NotRule(wire) => Permission::Not(Box::new(permission(wire, &at.field("not_rule"))?)),
        Rule::RequestedServerName(wire) => {
            Permission::ServerName(matcher::string(wire, &at.field("requested_server_name"))?)
        }
        Rule::Matcher(wire) => return Err(at.field("matcher").refuse(&wire.name, "is not supported")),
        Rule::UriTemplate(wire) => return Err(at.field("uri_template").refuse(&wire.name, "is not supported")),
    })
}

#[expect(deprecated, reason = "control planes in use still send `source_ip` and `metadata`")]
fn principal(wire: &wire::Principal, at: &At<'_>) -> Result<Principal, ConfigError> {
    let Some(identifier) = &wire.identifier else { return Err(at.missing()) };
    Ok(match identifier {
        Identifier::AndIds(set) => Principal::All(all(&set.ids, principal, &at.field("and_ids").field("ids"))?),
        Identifier::OrIds(set) => Principal::OneOf(all(&set.ids, principal, &at.field("or_ids").field("ids"))?),
        Identifier::Any(true) => Principal::Any,
        Identifier::Any(false) => return Err(at.field("any").refuse(false, "is true")),
        Identifier::Authenticated(wire) => {
            let at = at.field("authenticated");
            let name = at.field("principal_name");
            Principal::Authenticated(wire.principal_name.as_ref().map(|wire| matcher::string(wire, &name)).transpose()?)
        }
        Identifier::SourceIp(wire) => Principal::SourceIp(basics::range(wire, &at.field("source_ip"))?),
        Identifier::DirectRemoteIp(wire) => {
            Principal::DirectRemoteIp(basics::range(wire, &at.field("direct_remote_ip"))?)
        }
        Identifier::RemoteIp(wire) => Principal::RemoteIp(basics::range(wire, &at.field("remote_ip"))?),
        Identifier::Header(wire) => Principal::Header(route_match::header(wire, &at.field("header"))?),
        Identifier::UrlPath(wire) => Principal::Path(path(wire, &at.field("url_path"))?),
        Identifier::Metadata(wire) => Principal::Metadata(metadata(wire, &at.field("metadata"))?),
        Identifier::SourcedMetadata(wire) => Principal::Metadata(sourced(wire, &at.field("sourced_metadata"))?),
        Identifier::NotId(wire) => Principal::Not(Box::new(principal(wire, &at.field("not_id"))?)),
        Identifier::FilterState(wire) => {
            return Err(at.field("filter_state").refuse(&wire.key, "filter state is not supported"));
        }
        Identifier::Custom(wire) => return Err(at.field("custom").refuse(&wire.name, "is not supported")),
    })
}

fn path(wire: &matchers::PathMatcher, at: &At<'_>) -> Result<StringMatch, ConfigError> {
    let at = at.field("path");
    match &wire.rule {
        Some(matchers::path_matcher::Rule::Path(wire)) => matcher::string(wire, &at),
        None => Err(at.missing()),
    }
}

fn sourced(wire: &wire::SourcedMetadata, at: &At<'_>) -> Result<MetadataMatch, ConfigError> {
    if wire.metadata_source != wire::MetadataSource::Dynamic as i32 {
        return Err(at.field("metadata_source").refuse(wire.metadata_source, "only DYNAMIC is supported"));
    }
    let at = at.field("metadata_matcher");
    metadata(wire.metadata_matcher.as_ref().ok_or_else(|| at.missing())?, &at)
}

pub(super) fn metadata(wire: &matchers::MetadataMatcher, at: &At<'_>) -> Result<MetadataMatch, ConfigError> {
    use matchers::metadata_matcher::path_segment::Segment;
    if wire.filter.is_empty() {
        return Err(at.field("filter").missing());
    }
    let path = wire.path.iter().map(|segment| match &segment.segment {
        Some(Segment::Key(key)) if !key.is_empty() => Ok(key.clone()),
        _ => Err(at.field("path").missing()),
    });
    let path = path.collect::<Result<Vec<_>, _>>()?;
    if path.is_empty() {
        return Err(at.field("path").missing());
    }
    let place = at.field("value");
    let value = value(wire.value.as_ref().ok_or_else(|| place.missing())?, &place)?;
    Ok(MetadataMatch { namespace: wire.filter.clone(), path, value, invert: wire.invert })
}

fn value(wire: &matchers::ValueMatcher, at: &At<'_>) -> Result<ValueMatch, ConfigError> {
    use matchers::{double_matcher, list_matcher, value_matcher::MatchPattern};
    Ok(match &wire.match_pattern {
        Some(MatchPattern::NullMatch(_)) => ValueMatch::Null,
        Some(MatchPattern::DoubleMatch(wire)) => match &wire.match_pattern {
            Some(double_matcher::MatchPattern::Exact(number)) => ValueMatch::Exactly(*number),
            Some(double_matcher::MatchPattern::Range(range)) => ValueMatch::Within(range.start..range.end),
            None => return Err(at.field("double_match").missing()),
        },
        Some(MatchPattern::StringMatch(wire)) => ValueMatch::Text(matcher::string(wire, &at.field("string_match"))?),
        Some(MatchPattern::BoolMatch(wanted)) => ValueMatch::Bool(*wanted),
        Some(MatchPattern::PresentMatch(wanted)) => ValueMatch::Present(*wanted),
        Some(MatchPattern::ListMatch(wire)) => {
            let at = at.field("list_match");
            let Some(list_matcher::MatchPattern::OneOf(wire)) = &wire.match_pattern else { return Err(at.missing()) };
            ValueMatch::List(Box::new(value(wire, &at.field("one_of"))?))
        }
        Some(MatchPattern::OrMatch(wire)) => {
            let at = at.field("or_match");
            ValueMatch::OneOf(all(&wire.value_matchers, value, &at.field("value_matchers"))?)
        }
        None => return Err(at.missing()),
    })
}
