//! Who resumes a session, and who has to shake hands in full.

use super::*;

async fn kind(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
    let (client, _) = shake(client, server).await.ok().unwrap();
    client.get_ref().1.handshake_kind().unwrap()
}

/// Whether a client that comes again resumes its session, with the server as it was or as it is then.
async fn resumes(version: &str, server: &Arc<ServerConfig>, then: &Arc<ServerConfig>, ca: &Ca) -> bool {
    let params =
        json!({"tls_params": {"tls_minimum_protocol_version": version, "tls_maximum_protocol_version": version}});
    let client = connects(all([json!({"validation_context": ca.pem()}), params]), json!({"max_session_keys": 4}));
    assert_eq!(kind(&client, server).await, HandshakeKind::Full);
    kind(&client, then).await == HandshakeKind::Resumed
}

const BOTH: [&str; 2] = ["TLSv1_2", "TLSv1_3"];

#[tokio::test]
async fn a_client_that_returns_resumes_unless_that_is_off() {
    let (ca, server) = fixture();
    for (version, more, expected) in [
        ("TLSv1_2", json!({}), true),
        ("TLSv1_3", json!({}), true),
        ("TLSv1_2", json!({"disable_stateless_session_resumption": true}), true),
        ("TLSv1_3", json!({"disable_stateless_session_resumption": true}), false),
        ("TLSv1_2", json!({"disable_stateful_session_resumption": true}), true),
        (
            "TLSv1_2",
            json!({"disable_stateless_session_resumption": true, "disable_stateful_session_resumption": true}),
            false,
        ),
    ] {
        let server = serves(server.shown(), more.clone());
        assert_eq!(resumes(version, &server, &server, &ca).await, expected, "{version} {more}");
    }
}

/// CVE-2022-21654.
#[tokio::test]
async fn nothing_outlives_a_rule_for_clients() {
    let (ca, server) = fixture();
    let judged = || serves(all([server.shown(), json!({"validation_context": ca.pem()})]), json!({}));
    let judges = judged();
    for version in BOTH {
        assert!(!resumes(version, &judges, &judges, &ca).await, "{version}: a judged client");
        let open = serves(server.shown(), json!({}));
        assert!(!resumes(version, &open, &judged(), &ca).await, "{version}: into a rule that came later");
    }
}

#[tokio::test]
async fn proxies_that_share_keys_take_each_others_tickets() {
    let (ca, server) = fixture();
    let with = |key: u8| {
        let keys = json!({"keys": [{"inline_bytes": base64(&[key; 80])}]});
        serves(server.shown(), json!({ "session_ticket_keys": keys }))
    };
    for version in BOTH {
        assert!(resumes(version, &with(1), &with(1), &ca).await, "{version}");
        assert!(!resumes(version, &with(1), &with(2), &ca).await, "{version}");
    }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_session_that_is_too_old_is_not_resumed() {
    let (ca, server) = fixture();
    let server = serves(server.shown(), json!({"session_timeout": "0s"}));
    for version in BOTH {
        assert!(!resumes(version, &server, &server, &ca).await, "{version}");
    }
}
