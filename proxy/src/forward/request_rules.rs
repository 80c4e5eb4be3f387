//! What a connection manager changes of a request's head before the request is routed.

use crate::config::{RequestRules, StripPort};
use crate::http::message::RequestHead;

/// Changes host, scheme and `via`. `port`: where the client connected to; `hops`: proxies in front that are trusted.
pub fn apply(rules: &RequestRules, head: &mut RequestHead, port: u16, hops: u32) {
    // The port of a tunnel's target is a part of what is asked for (RFC 9110 section 9.3.6).
    if head.method != "CONNECT" {
        host(rules, &mut head.authority, port);
    }
    if rules.append_x_forwarded_port && (hops == 0 || !head.headers.contains("x-forwarded-port")) {
        head.headers.set("x-forwarded-port", port.to_string());
    }
    if let Some(scheme) = rules.scheme {
        head.scheme = scheme;
        head.headers.set("x-forwarded-proto", scheme);
    }
    if !rules.via.is_empty() {
        super::answer_rules::append(&mut head.headers, "via", &rules.via);
    }
}

fn host(rules: &RequestRules, host: &mut String, listens_on: u16) {
    if rules.strip_trailing_dot {
        let end = port_of(host).map_or(host.len(), |(colon, _)| colon);
        if host[..end].ends_with('.') {
            host.remove(end - 1);
        }
    }
    let Some((colon, port)) = port_of(host) else { return };
    if rules.strip_port == Some(StripPort::Any) || (rules.strip_port.is_some() && port == listens_on) {
        host.truncate(colon);
    }
}

/// Where the port of a host begins, with its colon, and which it is.
fn port_of(host: &str) -> Option<(usize, u16)> {
    let (name, port) = host.rsplit_once(':')?;
    // The colons of an IPv6 address stand in brackets (RFC 3986 section 3.2.2).
    Some((name.len(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(rules: &RequestRules, from: &str) -> String {
        let mut text = from.to_owned();
        host(rules, &mut text, 8080);
        text
    }

    #[test]
    fn a_port_is_stripped_where_it_says_nothing() {
        let any = RequestRules { strip_port: Some(StripPort::Any), ..RequestRules::default() };
        let matching = RequestRules { strip_port: Some(StripPort::Matching), ..RequestRules::default() };
        for (from, by_any, by_matching) in [
            ("a.test:8080", "a.test", "a.test"),
            ("a.test:80", "a.test", "a.test:80"),
            ("a.test", "a.test", "a.test"),
            ("a.test:", "a.test:", "a.test:"),
            ("[::1]:8080", "[::1]", "[::1]"),
            ("[fe80::1]", "[fe80::1]", "[fe80::1]"),
        ] {
            assert_eq!((changed(&any, from).as_str(), changed(&matching, from).as_str()), (by_any, by_matching));
        }
    }

    #[test]
    fn the_dot_at_the_end_of_a_host_is_taken_off_before_its_port() {
        let rules = RequestRules { strip_trailing_dot: true, ..RequestRules::default() };
        assert_eq!(changed(&rules, "a.test."), "a.test");
        assert_eq!(changed(&rules, "a.test.:80"), "a.test:80");
        assert_eq!(changed(&rules, ""), "");
    }
}
