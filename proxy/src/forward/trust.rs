//! Headers that steer a proxy, taken off what comes from outside (Envoy, HTTP header sanitizing). No client counts as
//! internal: Envoy's default since it asks for `internal_address_config`.

use crate::http::message::RequestHead;

const PREFIX: &[u8] = b"x-envoy-";

/// Followed by proxies if they come from inside, after the prefix.
const STEERING: [&[u8]; 16] = [
    b"expected-rq-timeout-ms",
    b"force-trace",
    b"hedge-on-per-try-timeout",
    b"internal",
    b"ip-tags",
    b"max-retries",
    b"original-url",
    b"retriable-header-names",
    b"retriable-status-codes",
    b"retry-grpc-on",
    b"retry-on",
    b"upstream-alt-stat-name",
    b"upstream-rq-per-try-timeout-ms",
    b"upstream-rq-timeout-alt-response",
    b"upstream-rq-timeout-ms",
    b"upstream-stream-duration-ms",
];

/// Told by one proxy of the mesh to another.
const TELLING: [&[u8]; 5] = [
    b"decorator-operation",
    b"downstream-service-cluster",
    b"downstream-service-node",
    b"original-host",
    b"original-path",
];

/// Takes them off. At the edge nothing is believed that another proxy could tell.
pub fn clean(head: &mut RequestHead, edge: bool) {
    head.headers.retain(|name, _| match name.strip_prefix(PREFIX) {
        None => true,
        Some(rest) => !(STEERING.contains(&rest) || (edge && TELLING.contains(&rest))),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Headers;
    use crate::http::message::Version;

    fn kept(edge: bool) -> Vec<String> {
        let mut headers = Headers::new();
        for name in ["x-envoy-retry-on", "x-envoy-original-path", "x-envoy-attempt-count", "x-envoyage"] {
            headers.append(name, "1");
        }
        let mut head = RequestHead {
            method: "GET".into(),
            scheme: "http",
            authority: "a".into(),
            path: "/".into(),
            version: Version::Http11,
            headers,
            upgrade: None,
        };
        clean(&mut head, edge);
        head.headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// CVE-2023-27487, CVE-2024-45806.
    #[test]
    fn what_steers_a_proxy_is_taken_from_nobody_and_what_one_tells_not_at_the_edge() {
        assert_eq!(kept(false), ["x-envoy-original-path", "x-envoy-attempt-count", "x-envoyage"]);
        assert_eq!(kept(true), ["x-envoy-attempt-count", "x-envoyage"]);
    }
}
