//! Redirects.

use api::envoy::config::route::v3 as wire;
use wire::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};

use super::{basics, rewrite};
use crate::config::error::{At, ConfigError};
use crate::route::{PathRedirect, PathRewrite, Redirect};

pub(super) fn convert(
    wire: &wire::RedirectAction,
    conditions: &wire::RouteMatch,
    at: &At<'_>,
) -> Result<Redirect, ConfigError> {
    let path = match &wire.path_rewrite_specifier {
        None => PathRedirect::Keep,
        Some(PathRewriteSpecifier::PathRedirect(path)) => PathRedirect::Path(path.clone()),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => PathRedirect::Rewrite(rewrite::prefix(prefix, conditions)),
        Some(PathRewriteSpecifier::RegexRewrite(wire)) => {
            PathRedirect::Rewrite(PathRewrite::Regex(rewrite::regex(wire, &at.field("regex_rewrite"))?))
        }
        Some(_) => return Err(at.field("path_rewrite").refuse("set", "is not supported")),
    };
    let number = wire.port_redirect;
    Ok(Redirect {
        scheme: match &wire.scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => Some(scheme.clone()),
            _ => None,
        },
        host: Some(wire.host_redirect.clone()).filter(|host| !host.is_empty()),
        port: (number > 0).then(|| basics::port(number, &at.field("port_redirect"))).transpose()?,
        path,
        code: code(wire.response_code, &at.field("response_code"))?,
        strip_query: wire.strip_query,
    })
}

fn code(wire: i32, at: &At<'_>) -> Result<u16, ConfigError> {
    match RedirectResponseCode::try_from(wire) {
        Ok(RedirectResponseCode::MovedPermanently) => Ok(301),
        Ok(RedirectResponseCode::Found) => Ok(302),
        Ok(RedirectResponseCode::SeeOther) => Ok(303),
        Ok(RedirectResponseCode::TemporaryRedirect) => Ok(307),
        Ok(RedirectResponseCode::PermanentRedirect) => Ok(308),
        Err(_) => Err(at.refuse(wire, "is not known")),
    }
}
