//! Listener filters.

use std::sync::Arc;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as wire;
use api::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use api::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use api::envoy::extensions::filters::listener::proxy_protocol::v3 as proxy_protocol;
use api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use wire::listener_filter::ConfigType;
use wire::listener_filter_chain_match_predicate::Rule;

use super::basics;
use crate::config::error::{At, ConfigError};
use crate::config::{ListenerFilter, ListenerFilterKind, Predicate, ProxyProtocol, TlvChoice};
use crate::proxy_protocol::Version;

pub(super) fn convert_all(wire: &[wire::ListenerFilter], at: &At<'_>) -> Result<Vec<ListenerFilter>, ConfigError> {
    let mut filters = Vec::new();
    for (index, one) in wire.iter().enumerate() {
        let at = at.index(index);
        let kind = kind(one, &at)?;
        let inspected = filters.iter().any(|filter: &ListenerFilter| {
            matches!(filter.kind, ListenerFilterKind::TlsInspector | ListenerFilterKind::HttpInspector)
        });
        if inspected && matches!(kind, ListenerFilterKind::ProxyProtocol(_)) {
            return Err(at.refuse(&one.name, "the PROXY protocol header comes before what inspectors look at"));
        }
        let disabled = at.field("filter_disabled");
        let disabled = one.filter_disabled.as_ref().map(|wire| predicate(wire, &disabled, 0)).transpose()?;
        filters.push(ListenerFilter { kind, disabled });
    }
    Ok(filters)
}

fn kind(wire: &wire::ListenerFilter, at: &At<'_>) -> Result<ListenerFilterKind, ConfigError> {
    let Some(ConfigType::TypedConfig(any)) = &wire.config_type else { return Err(at.field("typed_config").missing()) };
    if basics::is_a::<TlsInspector>(any) {
        Ok(ListenerFilterKind::TlsInspector)
    } else if basics::is_a::<HttpInspector>(any) {
        Ok(ListenerFilterKind::HttpInspector)
    } else if basics::is_a::<OriginalDst>(any) {
        Ok(ListenerFilterKind::OriginalDst)
    } else if basics::is_a::<proxy_protocol::ProxyProtocol>(any) {
        let at = at.field("typed_config");
        let filter = proxy_protocol(&basics::unpack(any, &at)?, &at)?;
        Ok(ListenerFilterKind::ProxyProtocol(Arc::new(filter)))
    } else {
        Err(at.refuse(&wire.name, "this listener filter is not supported"))
    }
}

fn proxy_protocol(wire: &proxy_protocol::ProxyProtocol, at: &At<'_>) -> Result<ProxyProtocol, ConfigError> {
    use core::proxy_protocol_config::Version as Wire;
    let versions = at.field("disallowed_versions");
    let one = |(index, version): (usize, &i32)| match Wire::try_from(*version) {
        Ok(Wire::V1) => Ok(Version::V1),
        Ok(Wire::V2) => Ok(Version::V2),
        Err(_) => Err(versions.index(index).refuse(version, "is not known")),
    };
    let disallowed: Vec<_> = wire.disallowed_versions.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    if disallowed.contains(&Version::V1)
        && disallowed.contains(&Version::V2)
        && !wire.allow_requests_without_proxy_protocol
    {
        return Err(versions.refuse("V1, V2", "no connection could come in"));
    }
    Ok(ProxyProtocol {
        optional: wire.allow_requests_without_proxy_protocol,
        disallowed,
        pass_through: pass_through(wire.pass_through_tlvs.as_ref(), &at.field("pass_through_tlvs"))?,
    })
}

/// Which TLVs of a downstream header are kept, and sent upstream.
pub(super) fn pass_through(
    wire: Option<&core::ProxyProtocolPassThroughTlVs>,
    at: &At<'_>,
) -> Result<TlvChoice, ConfigError> {
    use core::proxy_protocol_pass_through_tl_vs::PassTlVsMatchType as Wire;
    let Some(wire) = wire else { return Ok(TlvChoice::None) };
    let kinds = at.field("tlv_type");
    let one = |(index, kind): (usize, &u32)| {
        u8::try_from(*kind).map_err(|_| kinds.index(index).refuse(kind, "a type is below 256"))
    };
    match Wire::try_from(wire.match_type) {
        Ok(Wire::IncludeAll) => Ok(TlvChoice::All),
        Ok(Wire::Include) => Ok(TlvChoice::Kinds(wire.tlv_type.iter().enumerate().map(one).collect::<Result<_, _>>()?)),
        Err(_) => Err(at.field("match_type").refuse(wire.match_type, "is not known")),
    }
}

/// A predicate that is nested deeper is no one's intention.
const DEEPEST: usize = 16;

fn predicate(
    wire: &wire::ListenerFilterChainMatchPredicate,
    at: &At<'_>,
    depth: usize,
) -> Result<Predicate, ConfigError> {
    if depth > DEEPEST {
        return Err(at.refuse("a predicate", "is nested too deep"));
    }
    let set = |set: &wire::listener_filter_chain_match_predicate::MatchSet, name| {
        let at = at.field(name);
        let at = at.field("rules");
        let rules = set.rules.iter().enumerate().map(|(index, rule)| predicate(rule, &at.index(index), depth + 1));
        match set.rules.len() {
            0 | 1 => Err(at.refuse(set.rules.len(), "there are at least two")),
            _ => rules.collect::<Result<Vec<_>, _>>(),
        }
    };
    match &wire.rule {
        None => Err(at.missing()),
        Some(Rule::AnyMatch(true)) => Ok(Predicate::Any),
        Some(Rule::AnyMatch(false)) => Err(at.field("any_match").refuse(false, "is true")),
        Some(Rule::OrMatch(rules)) => set(rules, "or_match").map(Predicate::Or),
        Some(Rule::AndMatch(rules)) => set(rules, "and_match").map(Predicate::And),
        Some(Rule::NotMatch(rule)) => Ok(Predicate::Not(Box::new(predicate(rule, &at.field("not_match"), depth + 1)?))),
        Some(Rule::DestinationPortRange(range)) => Ok(Predicate::DestinationPort(range.start, range.end)),
    }
}
