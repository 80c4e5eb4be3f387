//! Tokens on a running mesh: keys that the proxies fetch, places where tokens stand, and what is made of their claims.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::mesh::{Mesh, until};
use crate::ports::free;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &[u8] = b"what signs the tokens of this test";

/// Serves the set of keys, and counts how often it was asked for.
fn keys() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let set = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET)}]}).to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok_and(|read| head[..read].starts_with(b"GET /keys ")) {
                count.fetch_add(1, Ordering::Relaxed);
                let length = set.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{set}");
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    (address, asked)
}

fn token(more: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({"iss": "issuer", "sub": "alice", "aud": "shop", "exp": now + 3600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256"})), part(&claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn rules(keys: SocketAddr) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: users}}
spec:
  selector: {{matchLabels: {{app: ratings}}}}
  jwtRules:
  - issuer: issuer
    jwksUri: http://{keys}/keys
    audiences: [shop]
    fromHeaders: [{{name: x-token, prefix: \"Token \"}}]
    fromParams: [token]
    fromCookies: [token]
    outputClaimToHeaders: [{{header: x-sub, claim: sub}}]
    forwardOriginalToken: true
    timeout: 2s
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: alice}}
spec:
  selector: {{matchLabels: {{app: ratings}}}}
  rules: [{{when: [{{key: \"request.headers[x-sub]\", values: [alice]}}]}}]
"
    )
}

#[test]
fn tokens_are_good_by_keys_that_proxies_fetch_and_their_claims_decide() {
    let mesh = Mesh::start(&["--allow-jwks-address", "127.0.0.0/8"]);
    let (address, fetched) = keys();
    mesh.apply(&rules(address));
    let ask = |query: &str, headers: &[(&str, &str)]| {
        mesh.call_from("reviews-v2", &format!("http://ratings:9080/ratings/0{query}"), headers).status
    };
    let by_header = |token: &str| ask("", &[("x-token", &format!("Token {token}"))]);
    let good = token(json!({}));
    until("the rules at the proxy", PATIENCE, || ask("", &[]) == 403);
    until("the keys at the proxy", PATIENCE, || by_header(&good) == 200);
    assert_eq!(ask(&format!("?token={good}"), &[]), 200);
    assert_eq!(ask("", &[("cookie", &format!("a=b; token={good}"))]), 200);
    assert_eq!(by_header(&token(json!({"sub": "bob"}))), 403);
    assert_eq!(by_header(&token(json!({"aud": "cart"}))), 403);
    assert_eq!(by_header(&token(json!({"exp": 1}))), 401);
    assert_eq!(by_header(&token(json!({"iss": "other"}))), 401);
    assert_eq!(by_header(&format!("{good}x")), 401);
    assert_eq!(ask("", &[("x-sub", "alice")]), 403, "a header that only a token makes is taken from a caller");
    assert_eq!(
        ask("", &[("authorization", &format!("Bearer {good}"))]),
        403,
        "a token stands where none is looked for"
    );
    let before = fetched.load(Ordering::Relaxed);
    for _ in 0..50 {
        assert_eq!(by_header(&good), 200);
    }
    let after = fetched.load(Ordering::Relaxed);
    assert!(after - before <= 1, "keys are kept, and were fetched {} times", after - before);
}

#[test]
fn without_keys_no_token_is_good() {
    let mesh = Mesh::start(&[]);
    mesh.apply(&rules(free([127, 0, 0, 1])));
    let good = token(json!({}));
    let ask = |headers: &[(&str, &str)]| mesh.call_from("reviews-v2", "http://ratings:9080/ratings/0", headers).status;
    until("the rules at the proxy", PATIENCE, || ask(&[]) == 403);
    for _ in 0..5 {
        assert_eq!(ask(&[("x-token", &format!("Token {good}"))]), 401);
    }
}

#[test]
fn the_control_planes_own_ports_are_refused_as_sources_of_keys() {
    let free = free([127, 0, 0, 1]);
    let mesh = Mesh::start(&["--listen-registration", &free.to_string()]);
    mesh.apply(&rules(free).replace(&free.to_string(), "keys.example"));
    let admin = SocketAddr::new(mesh.address_of("ratings-v1").ip(), 15000);
    let dump = || crate::mesh::get(admin, "admin", "/config_dump", &[]).unwrap().body;
    until("the rules at the proxy", PATIENCE, || dump().contains("jwks|80|http|keys.example"));
    let dump = dump();
    let refused = dump.split("\"refused\"").nth(1).unwrap().split(']').next().unwrap();
    assert!(refused.contains(&free.to_string()), "{refused}");
}
