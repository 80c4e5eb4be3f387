//! The API's doors from outside: the setup link of the first start, tokens of the command line, TLS, and the audit log.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::mesh::text;

#[test]
fn the_first_start_shows_the_way_in_once() {
    let mut mesh = ControlPlane::new();
    mesh.start(&[]);
    let said = std::fs::read_to_string(mesh.log()).unwrap();
    assert_eq!(said.matches("/#setup=weft_setup_").count(), 1, "{said}");
    mesh.stop();
    mesh.start(&[]);
    assert!(!std::fs::read_to_string(mesh.log()).unwrap().contains("weft_setup_"));
    // Whoever has the operator's token gets another.
    assert!(mesh.ok(&["access", "setup"]).contains("/#setup=weft_setup_"));
}

#[test]
fn a_narrow_token_does_what_it_is_for_and_the_log_has_the_rest() {
    let mut mesh = ControlPlane::new();
    mesh.start(&[]);
    assert!(mesh.apply("first").status.success());
    assert!(mesh.apply("second").status.success());
    let viewer = mesh.ok(&["access", "token", "create", "looker", "--role", "viewer", "--ttl", "1h"]);
    let file = mesh.path().join("viewer");
    std::fs::write(&file, &viewer).unwrap();
    let file = file.to_str().unwrap();
    assert!(mesh.ok(&["history", "--token-file", file]).contains("DestinationRule default/a"));
    let refused = mesh.weft(&["delete", "dr", "a", "--token-file", file]);
    assert!(
        !refused.status.success() && text(&refused).contains("the role viewer may not delete"),
        "{}",
        text(&refused)
    );
    assert_eq!(mesh.ok(&["access", "can", "read"]).trim(), "yes");
    let no = mesh.weft(&["access", "can", "write", "vs", "--token-file", file]);
    assert!(text(&no).contains("no: the role viewer"), "{}", text(&no));

    // What was changed, the difference, and the way back.
    let revisions = mesh.json(&["history", "dr/a", "-o", "json"]);
    let revision = |at: usize| revisions["items"][at]["revision"].to_string();
    let (last, first) = (revision(0), revision(1));
    let diff = mesh.ok(&["diff", &last]);
    assert!(diff.contains("-  host: first\n+  host: second\n"), "{diff}");
    assert_eq!(mesh.ok(&["diff", &format!("{first}..{last}")]), diff);
    let back = mesh.ok(&["rollback", &format!("dr/a@{first}"), "-m", "second was slow"]);
    assert!(back.contains("DestinationRule default/a configured"), "{back}");
    assert_eq!(mesh.host(), "first");
    // What applying a file would change, and that nothing was.
    let file_of_second = mesh.path().join("rule.yaml");
    let planned = mesh.ok(&["diff", "-f", file_of_second.to_str().unwrap()]);
    assert!(
        planned.starts_with("--- DestinationRule default/a\n") && planned.ends_with(&diff[diff.find("@@").unwrap()..]),
        "{planned}"
    );
    assert_eq!(mesh.host(), "first");
    assert!(mesh.ok(&["history"]).contains("second was slow"));
    mesh.ok(&["apply", "-f", file_of_second.to_str().unwrap(), "--message", "second & last, 100 %"]);
    let newest = mesh.json(&["history", "dr/a", "-o", "json"]);
    assert_eq!(newest["items"][0]["message"], "second & last, 100 %");

    let log = mesh.json(&["audit", "-o", "json"]);
    let told = |actor: &str, result: &str| {
        log["items"].as_array().unwrap().iter().any(|line| line["actor"] == actor && line["result"] == result)
    };
    assert!(told("admin", "done") && told("looker", "403"), "{log}");
    assert!(mesh.ok(&["audit", "--verify"]).contains("none changed"));
    let path = mesh.path().join("control-plane/audit.jsonl");
    let changed = std::fs::read_to_string(&path).unwrap().replacen("looker", "somebody", 1);
    std::fs::write(&path, changed).unwrap();
    let broken = mesh.weft(&["audit", "--verify"]);
    assert!(!broken.status.success() && text(&broken).contains("the audit log was changed: line"), "{}", text(&broken));

    let listing = mesh.json(&["access", "token", "list", "-o", "json"]);
    let looker = listing["items"].as_array().unwrap().iter().find(|item| item["name"] == "looker").unwrap();
    mesh.ok(&["access", "token", "revoke", looker["id"].as_str().unwrap()]);
    let revoked = mesh.weft(&["history", "--token-file", file]);
    assert!(!revoked.status.success() && text(&revoked).contains("it was revoked"), "{}", text(&revoked));
}

#[test]
fn elsewhere_than_on_loopback_the_api_needs_tls() {
    let mut mesh = ControlPlane::new();
    let refused = mesh.prepared(&["--listen-api", "0.0.0.0:0"]).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("--api-cert"), "{}", text(&refused));

    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (mesh.path().join("api.pem"), mesh.path().join("api-key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    mesh.start(&["--listen-api", "0.0.0.0:0", "--api-cert", certificate, "--api-key", key]);
    let address = mesh.address();
    let api = address["api"].as_str().unwrap();
    assert!(api.starts_with("https://127.0.0.1:"), "{api}");

    // From elsewhere, by the certificate's name and its authority.
    let at: SocketAddr = api.trim_start_matches("https://").parse().unwrap();
    let (url, token) = (format!("https://localhost:{}", at.port()), mesh.path().join("token"));
    let elsewhere = ControlPlane::new();
    let token = token.to_str().unwrap();
    let there = ["services", "-o", "json", "--api", &url, "--token-file", token];
    let listing: Value =
        serde_json::from_str(&elsewhere.ok(&[&there[..], &["--api-ca", certificate]].concat())).unwrap();
    assert_eq!(listing["items"], json!([]));
    let unknown = elsewhere.weft(&there);
    assert!(!unknown.status.success() && text(&unknown).contains("--api-ca"), "{}", text(&unknown));
}
