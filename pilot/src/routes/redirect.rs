//! Answers that a proxy gives itself: redirects and direct responses.

use api::envoy::config::core::v3 as core;
use api::envoy::config::route::v3 as route;
use galley::kinds::{DirectBody, DirectResponse, Redirect, RedirectPath, RedirectPort};
use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};

/// `port` is the one that the request came in on. The flag tells that the status code has no counterpart in Envoy.
pub(super) fn compile(of: &Redirect, port: u16) -> (route::RedirectAction, bool) {
    let code = match of.code {
        301 => Some(RedirectResponseCode::MovedPermanently),
        302 => Some(RedirectResponseCode::Found),
        303 => Some(RedirectResponseCode::SeeOther),
        307 => Some(RedirectResponseCode::TemporaryRedirect),
        308 => Some(RedirectResponseCode::PermanentRedirect),
        _ => None,
    };
    let path = of.path.as_ref().map(|path| match path {
        RedirectPath::Full(path) => PathRewriteSpecifier::PathRedirect(path.clone()),
        RedirectPath::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix.clone()),
    });
    let port = match of.port {
        Some(RedirectPort::Number(number)) => number,
        Some(RedirectPort::FromRequestPort) => port,
        // Envoy leaves the port out where the scheme implies it.
        Some(RedirectPort::FromProtocolDefault) | None => 0,
    };
    let action = route::RedirectAction {
        host_redirect: of.authority.clone(),
        port_redirect: port.into(),
        response_code: code.unwrap_or(RedirectResponseCode::MovedPermanently) as i32,
        scheme_rewrite_specifier: (!of.scheme.is_empty())
            .then(|| SchemeRewriteSpecifier::SchemeRedirect(of.scheme.clone())),
        path_rewrite_specifier: path,
        ..Default::default()
    };
    (action, code.is_none())
}

pub(super) fn direct(of: &DirectResponse) -> route::DirectResponseAction {
    use core::data_source::Specifier;
    let body = of.body.as_ref().map(|body| match body {
        DirectBody::Text(text) => Specifier::InlineString(text.clone()),
        DirectBody::Bytes(bytes) => Specifier::InlineBytes(bytes.clone()),
    });
    let body = body.map(|specifier| core::DataSource { specifier: Some(specifier), ..Default::default() });
    route::DirectResponseAction { status: of.status.into(), body, ..Default::default() }
}
