//! Rewrites of path and host.

use api::envoy::config::route::v3 as wire;
use api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use wire::route_action::HostRewriteSpecifier;
use wire::route_match::PathSpecifier;

use super::matcher;
use crate::config::error::{At, ConfigError};
use crate::route::{HostRewrite, PathRewrite, RegexRewrite};

pub(super) fn path(
    wire: &wire::RouteAction,
    conditions: &wire::RouteMatch,
    at: &At<'_>,
) -> Result<Option<PathRewrite>, ConfigError> {
    match &wire.regex_rewrite {
        Some(_) if !wire.prefix_rewrite.is_empty() => {
            Err(at.field("prefix_rewrite").refuse(&wire.prefix_rewrite, "excludes `regex_rewrite`"))
        }
        Some(rewrite) => Ok(Some(PathRewrite::Regex(regex(rewrite, &at.field("regex_rewrite"))?))),
        None if wire.prefix_rewrite.is_empty() => Ok(None),
        None => Ok(Some(prefix(&wire.prefix_rewrite, conditions))),
    }
}

/// Replaces what the route matched: its prefix, or the whole path.
pub(super) fn prefix(with: &str, conditions: &wire::RouteMatch) -> PathRewrite {
    match &conditions.path_specifier {
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => {
            PathRewrite::Prefix { matched: prefix.len(), with: with.to_owned() }
        }
        _ => PathRewrite::Whole(with.to_owned()),
    }
}

pub(super) fn regex(wire: &RegexMatchAndSubstitute, at: &At<'_>) -> Result<RegexRewrite, ConfigError> {
    let pattern_at = at.field("pattern");
    let pattern = wire.pattern.as_ref().ok_or_else(|| pattern_at.missing())?;
    let regex = matcher::part_regex(pattern, &pattern_at)?;
    RegexRewrite::new(regex, &wire.substitution)
        .map_err(|error| at.field("substitution").refuse(&wire.substitution, error))
}

pub(super) fn host(wire: Option<&HostRewriteSpecifier>, at: &At<'_>) -> Result<Option<HostRewrite>, ConfigError> {
    Ok(match wire {
        None | Some(HostRewriteSpecifier::AutoHostRewrite(false)) => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(HostRewrite::Literal(host.clone())),
        Some(HostRewriteSpecifier::AutoHostRewrite(true)) => Some(HostRewrite::Auto),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => Some(HostRewrite::Header(name.to_ascii_lowercase())),
        Some(HostRewriteSpecifier::HostRewritePathRegex(wire)) => {
            Some(HostRewrite::PathRegex(regex(wire, &at.field("host_rewrite_path_regex"))?))
        }
        Some(HostRewriteSpecifier::HostRewrite(_)) => {
            return Err(at.field("host_rewrite").refuse("set", "is not supported"));
        }
    })
}
