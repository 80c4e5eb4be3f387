//! Attempts to talk a proxy around: forged headers, tokens that are none, a second request behind an allowed one. Each
//! is sent to the proxy that pilot set up, and refused. Where else attempts are tried:
//!
//! | attempt | where |
//! |---|---|
//! | paths and hosts in other spellings: `//`, `/./`, `%2e`, `%2f`, `\`, `;`, case, fragment, absolute form, port and dot in hosts | `spellings.rs`, `tests/conformance/paths.rs` |
//! | an upgrade to h2c, by every header that could ask for one | `tests/conformance/http1/connection.yaml` |
//! | two lengths, a length and chunks, folded and bare line ends | `tests/conformance/requests.rs` |
//! | `x-forwarded-*`, `x-envoy-*` and `x-forwarded-client-cert` of a client, at an edge and inside | `tests/differential/scripts/trust.yaml` |
//! | algorithms, keys and claims of tokens | `proxy/src/jwt/tests.rs`, `proxy/src/filter/jwt_authn/tests.rs` |
//! | certificates that are no SVIDs | `tests/e2e/svids.rs`, `proxy/src/identity/tls/tests.rs` |
//! | a header that stands several times | here, `proxy/src/rbac/tests.rs` |

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::client::{signed, unsigned};
use crate::proxies::{Program, Proxy};
use crate::table::{Group, HTTP_PORT};
use crate::{compiled, upstream};

/// Denied are /admin, the host secret.example and the role admin; of the rest each path has one way in.
const POLICIES: &str = r#"
name: what is denied
tokens: true
policies:
- {name: paths, action: DENY, rules: [{to: [{operation: {paths: [/admin, "/admin/*"]}}]}]}
- {name: hosts, action: DENY, rules: [{to: [{operation: {hosts: [secret.example]}}]}]}
- {name: roles, action: DENY, rules: [{when: [{key: "request.headers[x-role]", values: [admin]}]}]}
- name: ways
  rules:
  - {to: [{operation: {paths: [/open]}}]}
  - {to: [{operation: {paths: [/web]}}], from: [{source: {principals: [cluster.local/ns/default/sa/web]}}]}
  - {to: [{operation: {paths: [/staff]}}], when: [{key: "request.headers[x-group]", values: [staff]}]}
  - {to: [{operation: {paths: [/token]}}], from: [{source: {requestPrincipals: [issuer/alice]}}]}
  - {to: [{operation: {paths: [/sni]}}], when: [{key: connection.sni, values: [open.example]}]}
cases: []
"#;

struct Door {
    address: IpAddr,
    certificates: Certificates,
    _proxy: Proxy,
    _folder: tempfile::TempDir,
}

impl Door {
    fn open(last: u8) -> Self {
        let group: Group = serde_saphyr::from_str(POLICIES).unwrap();
        let certificates = Certificates::create();
        let folder = tempfile::tempdir().unwrap();
        let address = IpAddr::from([127, 43, (std::process::id() % 250) as u8 + 1, last]);
        let log = folder.path().join("access.log");
        let mut bootstrap =
            compiled::Bootstrap::new(Program::Weft, &certificates, upstream::http(), upstream::tcp(), &log);
        bootstrap.add(&group, address);
        let file = folder.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap.text()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let proxy = runtime.block_on(Proxy::start(Program::Weft, &file, &[(address, HTTP_PORT).into()]));
        Self { address, certificates, _proxy: proxy, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect((self.address, HTTP_PORT)).unwrap()
    }

    /// The statuses of the answers to what is sent, until the proxy closes.
    fn plain(&self, request: &str) -> Vec<u16> {
        statuses(self.connect(), request)
    }

    fn as_workload(&self, principal: &str, sni: Option<&str>, request: &str) -> Vec<u16> {
        let name = match sni {
            Some(name) => ServerName::try_from(name.to_owned()).unwrap(),
            None => ServerName::from(self.address),
        };
        let tls = ClientConnection::new(self.certificates.caller(principal), name).unwrap();
        statuses(StreamOwned::new(tls, self.connect()), request)
    }
}

fn statuses(mut stream: impl Read + Write, request: &str) -> Vec<u16> {
    // A refusal may come before all is sent.
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let heads = answer.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head.split(' ').next().unwrap().parse().unwrap()).collect()
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: open.example\r\n{lines}connection: close\r\n\r\n")
}

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
        (
            "an address that is believed nowhere",
            get("/web", "x-forwarded-for: 127.0.0.1\r\nx-envoy-internal: true\r\n"),
        ),
        ("an upgrade to WebSocket", get("/admin", "upgrade: websocket\r\nsec-websocket-version: 13\r\n")),
    ];
    for (what, request) in refused {
        assert_eq!(door.plain(&request), [403], "{what}");
    }
}

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

#[test]
fn no_token_that_is_none_opens_a_way() {
    let door = Door::open(4);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let bearer = |token: &str| get("/token", &format!("authorization: Bearer {token}\r\n"));
    let alice = |more: Value| {
        let mut claims = json!({"iss": "issuer", "sub": "alice", "exp": now + 3600});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let hs256 = json!({"alg": "HS256"});
    let good = signed(&hs256, &alice(json!({})));
    assert_eq!(door.plain(&bearer(&good)), [200]);
    let parts: Vec<&str> = good.split('.').collect();
    let none = |alg: &str| format!("{}.", unsigned(&json!({"alg": alg}), &alice(json!({}))));
    let mut without_end = alice(json!({}));
    without_end.as_object_mut().unwrap().remove("exp");
    let changed = unsigned(&hs256, &alice(json!({"sub": "alice", "role": "admin"})));
    let refused = [
        ("no algorithm", none("none")),
        ("no algorithm in capitals", none("NONE")),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("no dots", "alice".to_owned()),
        ("the signature of another token", format!("{changed}.{}", parts[2])),
        ("another algorithm", signed(&json!({"alg": "HS512"}), &alice(json!({})))),
        ("an algorithm of public keys", signed(&json!({"alg": "RS256"}), &alice(json!({})))),
        (
            "a key's name that is a path",
            signed(&json!({"alg": "HS256", "kid": "../../etc/passwd"}), &alice(json!({"iss": "x"}))),
        ),
        (
            "a key of its own",
            signed(&json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}}), &alice(json!({"iss": "x"}))),
        ),
        ("without an end", signed(&hs256, &without_end)),
        ("expired", signed(&hs256, &alice(json!({"exp": now - 3600})))),
        ("not yet valid", signed(&hs256, &alice(json!({"nbf": now + 3600})))),
        ("an end that is a text", signed(&hs256, &alice(json!({"exp": "9999999999"})))),
        ("another issuer", signed(&hs256, &alice(json!({"iss": "other"})))),
        ("no issuer", signed(&hs256, &alice(json!({"iss": null})))),
        ("another subject", signed(&hs256, &alice(json!({"sub": "bob"})))),
        ("a subject that is a list", signed(&hs256, &alice(json!({"sub": ["alice"]})))),
        ("claims that fill the head", signed(&hs256, &alice(json!({"x": "y".repeat(100_000)})))),
    ];
    for (what, token) in refused {
        let answers = door.plain(&bearer(&token));
        assert!(matches!(answers[..], [400 | 401 | 403 | 431]), "{what}: {answers:?}");
    }
    let twice = |first: &str, second: &str| {
        get("/token", &format!("authorization: Bearer {first}\r\nauthorization: Bearer {second}\r\n"))
    };
    let bad = none("none");
    for (what, request) in [
        ("a bad token behind a good one", twice(&good, &bad)),
        ("a good token behind a bad one", twice(&bad, &good)),
        (
            "a bad token in the query",
            get(&format!("/token?access_token={bad}"), &format!("authorization: Bearer {good}\r\n")),
        ),
        (
            "a good token in the query",
            get(&format!("/token?access_token={good}"), &format!("authorization: Bearer {bad}\r\n")),
        ),
        ("a token in a cookie", get("/token", &format!("cookie: access_token={good}\r\n"))),
    ] {
        let answers = door.plain(&request);
        assert!(matches!(answers[..], [401 | 403]), "{what}: {answers:?}");
    }
}
