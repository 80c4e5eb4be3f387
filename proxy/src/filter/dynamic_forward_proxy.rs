//! Looks up the host that a request asks for, where its route leads to a cluster that goes wherever requests say
//! (Envoy, `envoy.filters.http.dynamic_forward_proxy`).

use super::{HttpFilter, Settings, Stream};
use crate::access_log::ResponseFlags;
use crate::config::{Discovery, DnsCache};
use crate::forward::Reply;
use crate::http::message::RequestHead;
use crate::route::Action;
use crate::upstream::NotFound;

/// `envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct LookUp {
    /// It looks up for clusters with a cache of this name.
    pub cache: DnsCache,
}

/// `envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig`: what to ask for instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRewrite {
    pub literal: Option<String>,
    /// The name of a header, in lower case, whose first value it is.
    pub header: Option<String>,
}

pub async fn request(own: &LookUp, filter: &HttpFilter, stream: &mut Stream<'_>) -> Result<(), Box<Reply>> {
    let Some(found) = stream.found.filter(|found| matches!(found.route.action, Action::Forward(_))) else {
        return Ok(());
    };
    let worker = stream.worker();
    let name = found.cluster(&stream.head.headers);
    let Some(cluster) = worker.clusters.get(name, &worker.snapshot()) else { return Ok(()) };
    match &cluster.config.discovery {
        Discovery::DynamicForwardProxy(cache) if cache.name == own.cache.name => {}
        _ => return Ok(()),
    }
    if let Some(Settings::DynamicForwardProxy(rewrite)) = stream.settings(filter) {
        rewrite.apply(stream.head);
    }
    if stream.head.authority.is_empty() {
        let reply = Reply::new(400, "Empty host header").flagged(ResponseFlags::NONE, "empty_host_header");
        return Err(Box::new(reply));
    }
    Box::pin(cluster.look_up(&stream.head.authority)).await.map_err(|error| Box::new(answer(&error)))
}

impl HostRewrite {
    fn apply(&self, head: &mut RequestHead) {
        let value = self.header.as_deref().and_then(|name| head.headers.get_str(name));
        if let Some(host) = self.literal.as_deref().or(value) {
            head.authority = host.to_owned();
        }
    }
}

/// In Envoy's words, but for what Envoy does not refuse.
fn answer(error: &NotFound) -> Reply {
    match error {
        NotFound::TooManyNames => {
            Reply::new(503, "DNS cache overflow").flagged(ResponseFlags::NONE, "dns_cache_overflow")
        }
        NotFound::TooManyWaiting => Reply::new(503, "Dynamic forward proxy pending request overflow")
            .flagged(ResponseFlags::NONE, "dynamic_forward_proxy_pending_request_overflow"),
        NotFound::Unresolved(reason) => {
            let details = format!("dns_resolution_failure{{{}}}", reason.replace(char::is_whitespace, "_"));
            Reply::new(503, "DNS resolution failure").flagged(ResponseFlags::DNS_FAILURE, details)
        }
        NotFound::OutOfReach => Reply::new(
            403,
            "this name stands for the machine itself, for its links or for its cloud's secrets, where this proxy leads \
             nobody; call it without the proxy (no_proxy)\n",
        )
        .flagged(ResponseFlags::NONE, "address_out_of_reach"),
    }
}

#[cfg(test)]
mod tests;
