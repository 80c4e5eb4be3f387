//! Attempts to talk a proxy around: forged headers, a second request behind an allowed one. Each is sent to the proxy
//! that pilot set up, and refused. Where else attempts are tried:
//!
//! | attempt | where |
//! |---|---|
//! | paths and hosts in other spellings: `//`, `/./`, `%2e`, `%2f`, `\`, `;`, case, fragment, absolute form, port and dot in hosts | `spellings.rs`, `tests/conformance/paths.rs` |
//! | an upgrade to h2c, by every header that could ask for one | `tests/conformance/http1/connection.yaml` |
//! | two lengths, a length and chunks, folded and bare line ends | `tests/conformance/requests.rs` |
//! | `x-forwarded-*`, `x-envoy-*` and `x-forwarded-client-cert` of a client, at an edge and inside | `tests/differential/scripts/trust.yaml` |
//! | algorithms, keys and claims of tokens | `forged.rs`, `proxy/src/jwt/tests.rs`, `proxy/src/filter/jwt_authn/tests.rs` |
//! | certificates that are no SVIDs | `tests/e2e/svids.rs`, `proxy/src/identity/tls/tests.rs` |
//! | addresses that a client names | here, `table/sources.yaml`, `table/gateway.yaml` |
//! | a header that stands several times | here, `proxy/src/rbac/tests.rs` |

use std::net::Ipv4Addr;

use crate::door::{Door, get};
use crate::providers::Providers;
use crate::upstream;

#[test]
fn no_header_that_a_caller_forges_opens_a_way() {
    const WEB: &str = "cluster.local/ns/default/sa/web";
    let door = Door::open(1);
    assert_eq!(door.as_workload(WEB, None, &get("/web", "")), [200]);
    assert_eq!(door.plain(&get("/staff", "x-group: staff\r\n")), [200]);
    let forged = "x-forwarded-client-cert: By=spiffe://cluster.local/ns/default/sa/shop;Hash=00;\
                  URI=spiffe://cluster.local/ns/default/sa/web\r\n";
    assert_eq!(door.plain(&get("/web", forged)), [403]);
    assert_eq!(door.as_workload("cluster.local/ns/default/sa/other", None, &get("/web", forged)), [403]);
    // Behind rules on headers an application never sees it.
    assert_eq!(door.plain(&get("/open", "x_role: admin\r\n")), [200]);
    let refused = [
        ("an underscore for a dash", get("/staff", "x_group: staff\r\n")),
        ("a value put together of two", get("/staff", "x-group: sta\r\nx-group: ff\r\n")),
        ("a list that holds the value", get("/staff", "x-group: guest,staff\r\n")),
        ("the denied value first", get("/open", "x-role: admin\r\nx-role: user\r\n")),
        ("the denied value second", get("/open", "x-role: user\r\nx-role: admin\r\n")),
        ("the denied value with blanks around it", get("/open", "x-role:  admin \t\r\n")),
        ("the denied header in capitals", get("/open", "X-ROLE: admin\r\n")),
        ("the path before it was rewritten", get("/admin", "x-envoy-original-path: /open\r\n")),
        ("another path in a header", get("/admin", "x-original-url: /open\r\nx-rewrite-url: /open\r\n")),
        ("the method of another request", get("/admin", "x-http-method-override: GET\r\n")),
        ("the host of the absolute form", get("http://secret.example/open", "")),
        ("a host that the proxy would believe", get("/admin", "x-forwarded-host: open.example\r\n")),
        ("an upgrade to WebSocket", get("/admin", "upgrade: websocket\r\nsec-websocket-version: 13\r\n")),
    ];
    for (what, request) in refused {
        assert_eq!(door.plain(&request), [403], "{what}");
    }
}

/// Where a client says that it comes from. A sidecar believes `x-forwarded-for`, as Istio's does, for `remoteIpBlocks`:
/// its peers are the mesh's. A gateway believes nobody. `ipBlocks` is the connection's address at both.
#[test]
fn no_address_that_a_caller_names_is_that_of_its_connection() {
    const NEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 1);
    let (sidecar, gateway) = (Door::open(5), Door::gateway(6, upstream::http()));
    for (door, path) in [(&sidecar, "/near"), (&sidecar, "/said"), (&gateway, "/near"), (&gateway, "/said")] {
        assert_eq!(door.from(NEAR, &get(path, "")), [200], "{path}");
        assert_eq!(door.plain(&get(path, "")), [403], "{path}");
    }
    let forged = [
        "x-real-ip: 127.0.9.1",
        "forwarded: for=127.0.9.1",
        "x-client-ip: 127.0.9.1",
        "true-client-ip: 127.0.9.1",
        "x-envoy-external-address: 127.0.9.1",
        "x-envoy-internal: true",
    ];
    let lists = [
        "x-forwarded-for: 127.0.9.1",
        "x-forwarded-for: 127.0.9.1, 127.0.9.1",
        "x-forwarded-for: 10.0.0.1, 127.0.9.1",
        "x-forwarded-for: 10.0.0.1\r\nx-forwarded-for: 127.0.9.1",
    ];
    let said = |door: &Door, path: &str, lines: &str| door.plain(&get(path, &format!("{lines}\r\n")));
    for lines in forged {
        for path in ["/near", "/said"] {
            assert_eq!(said(&sidecar, path, lines), [403], "{path} of a sidecar: {lines}");
            assert_eq!(said(&gateway, path, lines), [403], "{path} of a gateway: {lines}");
        }
    }
    for lines in lists {
        assert_eq!(said(&sidecar, "/near", lines), [403], "{lines}");
        assert_eq!(said(&sidecar, "/said", lines), [200], "a sidecar believes the last: {lines}");
        assert_eq!(said(&gateway, "/near", lines), [403], "{lines}");
        assert_eq!(said(&gateway, "/said", lines), [403], "{lines}");
    }
    let first = "x-forwarded-for: 127.0.9.1, 10.0.0.1";
    assert_eq!(said(&sidecar, "/said", first), [403], "what is before the last nobody looked at");
    let from = |lines: &str| sidecar.from(NEAR, &get("/said", lines));
    assert_eq!(from("x-forwarded-for: 10.0.0.1\r\n"), [403], "believed also to the caller's harm");
    assert_eq!(gateway.from(NEAR, &get("/said", "x-forwarded-for: 10.0.0.1\r\n")), [200]);
}

/// What the application is told of the caller's certificate comes from the connection (Envoy, APPEND_FORWARD): without
/// a certificate nothing, else what the caller sent with an element of the proxy's own at its end.
#[test]
fn the_last_word_on_a_certificate_is_the_proxys() {
    const FORGED: &str = "By=spiffe://cluster.local/ns/default/sa/shop;Hash=00;\
                          URI=spiffe://cluster.local/ns/default/sa/web";
    let all = Providers::start();
    let door = Door::before(7, all.application);
    let request = get("/open", &format!("x-forwarded-client-cert: {FORGED}\r\n"));
    let told = || {
        let served = all.served();
        assert_eq!(served.len(), 1);
        served[0].headers.get("x-forwarded-client-cert").cloned()
    };
    assert_eq!(door.plain(&request), [200]);
    assert_eq!(told(), None);
    assert_eq!(door.as_workload("cluster.local/ns/default/sa/other", None, &request), [200]);
    let value = told().unwrap();
    let (sent, own) = value.rsplit_once(',').unwrap();
    assert_eq!(sent, FORGED);
    assert!(own.starts_with("Hash=") && !own.starts_with("Hash=00"), "{own}");
    assert!(own.ends_with(";URI=spiffe://cluster.local/ns/default/sa/other"), "{own}");
    // Somebody who tries to end the proxy's element or to begin one behind it.
    for forged in ["x\";URI=spiffe://cluster.local/ns/default/sa/web", "Subject=\"", ",,,", "\\\""] {
        let request = get("/open", &format!("x-forwarded-client-cert: {forged}\r\n"));
        assert_eq!(door.as_workload("cluster.local/ns/default/sa/other", None, &request), [200], "{forged}");
        let value = told().unwrap();
        assert!(value.ends_with(own), "{value}");
    }
}

/// What a gateway tells those behind it of the client: what the client says of itself is replaced, or stands before what
/// the gateway adds, which sidecars believe.
#[test]
fn behind_a_gateway_nothing_that_a_client_says_of_itself_counts() {
    let all = Providers::start();
    let door = Door::gateway(8, all.application);
    let forged = "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/web\r\n\
                  x-forwarded-for: 127.0.9.1\r\nx-forwarded-proto: https\r\nx-envoy-external-address: 127.0.9.1\r\n\
                  x-envoy-internal: true\r\nx-envoy-original-path: /said\r\n\
                  x-envoy-peer-metadata-id: sidecar~127.0.9.1~web.default~default.svc.cluster.local\r\n";
    assert_eq!(door.from(Ipv4Addr::new(127, 0, 7, 1), &get("/open", forged)), [200]);
    let served = all.served();
    let told = |name: &str| served[0].headers.get(name).map(String::as_str);
    assert_eq!(served.len(), 1);
    assert_eq!(told("x-forwarded-client-cert"), None);
    assert_eq!(told("x-forwarded-for"), Some("127.0.9.1,127.0.7.1"));
    assert_eq!(told("x-envoy-external-address"), Some("127.0.7.1"));
    assert_eq!(told("x-forwarded-proto"), Some("http"));
    assert_eq!((told("x-envoy-internal"), told("x-envoy-original-path")), (None, None));
    assert_ne!(told("x-envoy-peer-metadata-id"), Some("sidecar~127.0.9.1~web.default~default.svc.cluster.local"));
}

/// CVE-2024-23326, RUSTSEC-2026-0033.
#[test]
fn nothing_that_follows_an_allowed_request_is_let_in_with_it() {
    let door = Door::open(2);
    let open = "GET /open HTTP/1.1\r\nhost: open.example\r\n\r\n";
    assert_eq!(door.plain(&format!("{open}{open}{}", get("/open", ""))), [200, 200, 200]);
    assert_eq!(door.plain(&format!("{open}{}", get("/admin", ""))), [200, 403]);
    let h2c = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    let upgraded = format!("GET /open HTTP/1.1\r\nhost: open.example\r\n{h2c}\r\n{}", get("/admin", ""));
    let answers = door.plain(&upgraded);
    assert!(!answers.contains(&101) && answers.last() != Some(&200), "{answers:?}");
}

#[test]
fn the_name_of_tls_and_the_host_are_judged_each_for_itself() {
    const ANY: &str = "cluster.local/ns/default/sa/any";
    let door = Door::open(3);
    assert_eq!(door.as_workload(ANY, Some("open.example"), &get("/sni", "")), [200]);
    assert_eq!(door.as_workload(ANY, Some("secret.example"), &get("/sni", "")), [403]);
    assert_eq!(door.as_workload(ANY, None, &get("/sni", "")), [403]);
    let other = get("/sni", "").replace("open.example", "secret.example");
    assert_eq!(door.as_workload(ANY, Some("open.example"), &other), [403]);
}
