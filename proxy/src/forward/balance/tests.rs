//! Which hash a request gets. That hosts are chosen by it as Envoy does is shown beside the balancer.

use super::*;
use crate::http::headers::Headers;
use crate::http::message::Version;

fn head(path: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut all = Headers::new();
    headers.iter().for_each(|(name, value)| all.append(name, value));
    RequestHead {
        method: "GET".into(),
        scheme: "http",
        authority: "h".into(),
        path: path.into(),
        version: Version::Http11,
        headers: all,
        upgrade: None,
    }
}

fn hashed(policies: &[HashPolicy], head: &RequestHead) -> (Option<u64>, Option<String>) {
    hash_of(policies, head, [192, 0, 2, 7].into(), || "made".into())
}

fn by_header(name: &str, terminal: bool) -> HashPolicy {
    HashPolicy::Header { name: name.into(), terminal }
}

fn by_cookie(ttl: Option<u64>) -> HashPolicy {
    let attributes = vec![("SameSite".to_owned(), "Lax".to_owned()), ("Secure".to_owned(), String::new())];
    let ttl = ttl.map(Duration::from_secs);
    HashPolicy::Cookie { name: "c".into(), ttl, path: "/p".into(), attributes, terminal: false }
}

#[test]
fn policies_add_up_until_a_terminal_one_has_something_to_say() {
    let (a, b) = (xx(b"1"), xx(b"2"));
    let both = head("/", &[("a", "1"), ("b", "2")]);
    assert_eq!(hashed(&[by_header("a", false), by_header("b", false)], &both).0, Some(a.rotate_left(1) ^ b));
    assert_eq!(hashed(&[by_header("a", true), by_header("b", false)], &both).0, Some(a));
    assert_eq!(hashed(&[by_header("none", true), by_header("b", false)], &both).0, Some(b));
    assert_eq!(hashed(&[by_header("none", false)], &both).0, None);
}

#[test]
fn the_order_of_a_headers_values_does_not_matter() {
    let there = hashed(&[by_header("a", false)], &head("/", &[("a", "1"), ("a", "2")])).0;
    let back = hashed(&[by_header("a", false)], &head("/", &[("a", "2"), ("a", "1")])).0;
    assert_eq!((there, there), (back, Some(xx_all([&b"1"[..], b"2"]))));
}

#[test]
fn a_cookie_that_is_missing_is_made_where_it_has_a_time_to_live() {
    let with = |cookie: &str| head("/", &[("cookie", cookie)]);
    for (cookie, value) in [("c=abc", "abc"), ("b=c; c=x=y", "x=y"), ("d=1;c=\"quoted\"", "quoted")] {
        assert_eq!(hashed(&[by_cookie(Some(10))], &with(cookie)), (Some(xx(value.as_bytes())), None), "{cookie}");
    }
    for without in [with("c=; c=second"), with("cc=1"), head("/", &[])] {
        let set = Some("c=\"made\"; Max-Age=10; Path=/p; SameSite=Lax; Secure; HttpOnly".to_owned());
        assert_eq!(hashed(&[by_cookie(Some(10))], &without), (Some(xx(b"made")), set));
        assert_eq!(hashed(&[by_cookie(None)], &without), (None, None));
    }
    let session = hashed(&[by_cookie(Some(0))], &head("/", &[])).1;
    assert_eq!(session.as_deref(), Some("c=\"made\"; Path=/p; SameSite=Lax; Secure; HttpOnly"));
}

#[test]
fn the_clients_address_and_the_query_can_decide() {
    let query = [HashPolicy::QueryParameter { name: "q".into(), terminal: false }];
    assert_eq!(hashed(&query, &head("/x?a=1&q=%41&q=2", &[])).0, Some(xx(b"%41")));
    assert_eq!(hashed(&query, &head("/x?a=1", &[])).0, None);
    let source = [HashPolicy::SourceIp { terminal: false }];
    assert_eq!(hashed(&source, &head("/", &[])).0, Some(xx(b"192.0.2.7")));
}
