//! Keys that a server has, and servers that do not give them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// What the server of keys does with a request.
#[derive(Clone)]
enum Does {
    Answers(u16, String),
    Hangs,
    Closes,
}

struct KeyServer {
    address: std::net::SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, does.clone(), Arc::clone(&counter)));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn proxy(&self, remote: Value) -> Proxy {
        let mut source = json!({"http_uri": {"uri": "http://issuer/keys", "cluster": "keys", "timeout": "20s"}});
        for (name, value) in remote.as_object().unwrap() {
            source[name] = value.clone();
        }
        let config = json!({"providers": {"p": {"issuer": "me", "remote_jwks": source}},
            "rules": [{"match": {"prefix": "/"}, "requires": {RULE: "p"}}]});
        Proxy::with_clusters(vec![jwt_authn(config)], one_route(json!({})), &[("keys", self.address, json!({}))]).await
    }
}

async fn serve(mut stream: tokio::net::TcpStream, does: Does, asked: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let asks = ["issuer", "localhost"].map(|host| format!("GET /keys HTTP/1.1\r\nhost: {host}\r\n"));
    assert!(asks.iter().any(|asks| head.starts_with(asks)), "{head}");
    asked.fetch_add(1, Ordering::SeqCst);
    let (status, body) = match does {
        Does::Answers(status, body) => (status, body),
        Does::Hangs => return std::future::pending().await,
        Does::Closes => return,
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
}

/// Keys by a name, from a cluster that limits what the name may stand for.
async fn by_name(server: &KeyServer, limits: Value) -> (u16, String) {
    let config = json!({"providers": {"p": {"issuer": "me", "remote_jwks":
        {"http_uri": {"uri": "http://localhost/keys", "cluster": "keys", "timeout": "20s"}}}},
        "rules": [{"match": {"prefix": "/"}, "requires": {RULE: "p"}}]});
    let endpoint = json!({"endpoint": {"address": {"socket_address":
        {"address": "localhost", "port_value": server.address.port()}}}});
    let more = json!({"type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY",
        "load_assignment": {"cluster_name": "keys", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "metadata": {"filter_metadata": {"weft.reach": limits}}});
    let proxy =
        Proxy::with_clusters(vec![jwt_authn(config)], one_route(json!({})), &[("keys", server.address, more)]).await;
    outcome(&proxy.get("/", &bearer(&mine(json!({})))).await)
}

#[tokio::test]
async fn a_name_that_stands_for_the_machine_itself_is_not_followed() {
    let server = KeyServer::start(Does::Answers(200, keys())).await;
    let refused_by_all = refused("Jwks remote fetch is failed");
    assert_eq!(by_name(&server, json!({"allowed": []})).await, refused_by_all);
    assert_eq!(by_name(&server, json!({"allowed": ["127.0.0.2/32"]})).await, refused_by_all);
    assert_eq!(server.asked(), 0);
    assert_eq!(by_name(&server, json!({"allowed": ["127.0.0.1/32"]})).await.0, 200);
}

fn keys() -> String {
    set(secret_key()).to_string()
}

#[tokio::test]
async fn all_who_wait_for_keys_share_one_fetch_and_later_ones_need_none() {
    let server = KeyServer::start(Does::Answers(200, keys())).await;
    let proxy = server.proxy(json!({})).await;
    let good = bearer(&mine(json!({})));
    let answers = futures_util::future::join_all((0..20).map(|_| proxy.get("/", &good))).await;
    assert!(answers.iter().all(|answer| outcome(answer).0 == 200), "{answers:?}");
    assert_eq!(outcome(&proxy.get("/", &bearer(&mine(json!({"exp": 1})))).await), refused("Jwt is expired"));
    assert_eq!(outcome(&proxy.get("/", &good).await).0, 200);
    assert_eq!(server.asked(), 1);
}

/// CVE-2026-31837.
#[tokio::test]
async fn without_keys_no_token_is_valid() {
    let huge = format!("{}{}", keys(), " ".repeat(2 * 1024 * 1024));
    for does in [
        Does::Answers(500, keys()),
        Does::Answers(302, keys()),
        Does::Answers(200, String::new()),
        Does::Answers(200, "{".to_owned()),
        Does::Answers(200, r#"{"keys":[]}"#.to_owned()),
        Does::Answers(200, huge),
        Does::Closes,
    ] {
        let server = KeyServer::start(does).await;
        let proxy = server.proxy(json!({})).await;
        let answer = outcome(&proxy.get("/", &bearer(&mine(json!({})))).await);
        assert_eq!(answer, refused("Jwks remote fetch is failed"));
        assert!(proxy.seen().is_empty());
    }
}

/// CVE-2025-64527.
#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let server = KeyServer::start(Does::Hangs).await;
    let soon = json!({"http_uri": {"uri": "http://issuer/keys", "cluster": "keys", "timeout": "0.05s"}});
    let proxy = server.proxy(soon).await;
    let answer = outcome(&proxy.get("/", &bearer(&mine(json!({})))).await);
    assert_eq!(answer, refused("Jwks remote fetch is failed"));
}

#[tokio::test]
async fn a_server_that_failed_is_not_asked_again_by_every_request() {
    let server = KeyServer::start(Does::Answers(503, String::new())).await;
    let proxy = server.proxy(json!({})).await;
    let good = bearer(&mine(json!({})));
    let answers = futures_util::future::join_all((0..20).map(|_| proxy.get("/", &good))).await;
    assert!(answers.iter().all(|answer| outcome(answer).0 == 401));
    assert!(server.asked() < 20, "asked {} times", server.asked());
}

#[tokio::test]
async fn a_fetch_is_tried_again_as_often_as_the_policy_says() {
    let server = KeyServer::start(Does::Answers(503, String::new())).await;
    let again = json!({"retry_policy": {"num_retries": 3,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}});
    let proxy = server.proxy(again).await;
    assert_eq!(outcome(&proxy.get("/", &bearer(&mine(json!({})))).await).0, 401);
    assert_eq!(server.asked(), 4);
}

#[tokio::test]
async fn keys_may_be_fetched_before_they_are_needed() {
    let server = KeyServer::start(Does::Answers(200, keys())).await;
    let proxy = server.proxy(json!({"async_fetch": {}})).await;
    while server.asked() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(outcome(&proxy.get("/", &bearer(&mine(json!({})))).await).0, 200);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn an_old_set_is_fetched_anew() {
    let server = KeyServer::start(Does::Answers(200, keys())).await;
    let proxy = server.proxy(json!({"cache_duration": "0.001s"})).await;
    let good = bearer(&mine(json!({})));
    for _ in 0..2 {
        assert_eq!(outcome(&proxy.get("/", &good).await).0, 200);
        let fetched = std::time::Instant::now();
        while fetched.elapsed() < std::time::Duration::from_millis(2) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(server.asked(), 2);
}
