//! `envoy.config.route.v3.RedirectAction`: where a client is sent instead.

use super::matching::path_only;
use super::rewrite::PathRewrite;
use super::table::without_port;
use crate::http::message::RequestHead;

#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `None` keeps the scheme.
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: PathRedirect,
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
    pub strip_query: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PathRedirect {
    Keep,
    /// With a query of its own, that one is used; else the request's is kept.
    Path(String),
    Rewrite(PathRewrite),
}

impl Redirect {
    /// The value of the `location` header.
    pub fn location(&self, head: &RequestHead) -> String {
        let old_scheme = scheme_of(head);
        let scheme = self.scheme.as_deref().unwrap_or(old_scheme);
        let host = match &self.host {
            Some(host) => host,
            None => self.kept_host(head, old_scheme, scheme),
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{}", self.new_path(head))
    }

    /// The request's host. Its port goes where a new port is given, and where it was the default of the old scheme.
    fn kept_host<'a>(&self, head: &'a RequestHead, old_scheme: &str, scheme: &str) -> &'a str {
        let host = without_port(&head.authority);
        let port = head.authority.get(host.len()..).unwrap_or_default();
        let was_default = matches!((old_scheme, port), ("http", ":80") | ("https", ":443"));
        if self.port.is_some() || (scheme != old_scheme && was_default) { host } else { &head.authority }
    }

    fn new_path(&self, head: &RequestHead) -> String {
        let query = match head.query() {
            Some(query) if !self.strip_query => format!("?{query}"),
            _ => String::new(),
        };
        match &self.path {
            PathRedirect::Path(path) if path.contains('?') => path.clone(),
            PathRedirect::Path(path) => format!("{path}{query}"),
            PathRedirect::Keep => format!("{}{query}", path_only(&head.path)),
            PathRedirect::Rewrite(rewrite) => format!("{}{query}", rewrite.new_path(path_only(&head.path))),
        }
    }
}

/// The scheme that the client used, as a trusted proxy in front told it.
pub fn scheme_of(head: &RequestHead) -> &'static str {
    match head.headers.get("x-forwarded-proto") {
        Some(told) if told.eq_ignore_ascii_case(b"https") => "https",
        Some(told) if told.eq_ignore_ascii_case(b"http") => "http",
        _ => head.scheme,
    }
}
