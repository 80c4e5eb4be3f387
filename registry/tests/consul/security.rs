//! ACL tokens and TLS.

use std::process::Command;

use registry::{Consul, ConsulEnvironment, ConsulOptions};
use serde_json::json;

use crate::followed::{Followed, endpoints};
use crate::relay::Relay;
use crate::server::{MASTER, Server};

#[tokio::test]
async fn a_token_that_consul_refuses_is_told_and_a_good_one_takes_its_place() {
    let acl = json!({ "enabled": true, "default_policy": "deny", "tokens": { "master": MASTER, "agent": MASTER } });
    let server = Server::with(json!({ "acl": acl }));
    server.register("reviews", "reviews-1", "10.0.0.1", json!({}));
    let file = server.path("token");
    let wrong = "11111111-2222-4333-8444-555555555555";
    std::fs::write(&file, format!("{wrong}\n")).unwrap();
    let mut followed = Followed::new(&format!("{}?token-file={file}", server.url()));
    let reason = followed.lost().await;
    assert!(reason.contains("403 ACL not found; give a token"), "{reason}");
    assert!(!reason.contains(wrong), "{reason}");
    // The file is read again for the next connection, which may be now.
    std::fs::write(server.path("new"), MASTER).unwrap();
    std::fs::rename(server.path("new"), &file).unwrap();
    followed.synced().await;
    assert_eq!(followed.endpoints("reviews"), ["10.0.0.1 healthy"]);
}

#[tokio::test]
async fn without_a_token_it_is_told_that_services_are_not_seen() {
    let acl = json!({ "enabled": true, "default_policy": "deny", "tokens": { "master": MASTER, "agent": MASTER } });
    let server = Server::with(json!({ "acl": acl }));
    server.register("reviews", "reviews-1", "10.0.0.1", json!({}));
    let mut followed = Followed::new(&server.url());
    followed
        .until("what is told", |catalog| {
            catalog.registries[0].findings.iter().any(|found| found.contains("may read little"))
        })
        .await;
}

fn consul(directory: &str, arguments: &[&str]) {
    let output = Command::new("consul").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn mutual_tls_to_consul_shares_connections() {
    let mut server = Server::prepare();
    let directory = server.dir.path().to_str().unwrap().to_owned();
    consul(&directory, &["tls", "ca", "create"]);
    // The relay is on 127.0.0.1, which the certificate names too.
    consul(&directory, &["tls", "cert", "create", "-server", &format!("-additional-ipaddress={}", server.address)]);
    consul(&directory, &["tls", "cert", "create", "-client"]);
    let path = |name: &str| server.path(name);
    let (ca, cert, key) =
        (path("consul-agent-ca.pem"), path("dc1-client-consul-0.pem"), path("dc1-client-consul-0-key.pem"));
    server.configure(json!({
        "ports": { "https": 8501 }, "verify_incoming_https": true, "ca_file": ca,
        "cert_file": path("dc1-server-consul-0.pem"), "key_file": path("dc1-server-consul-0-key.pem"),
    }));
    server.run();
    for number in 0..100 {
        server.register(&format!("s{number}"), &format!("s{number}"), "10.0.0.1", json!({}));
    }
    let relay = Relay::to((server.address, 8501).into()).await;
    let url = format!("https://{}", relay.address);
    let mut followed = Followed::new(&format!("{url}?ca-file={ca}&cert-file={cert}&key-file={key}"));
    followed.synced().await;
    server.register("s7", "s7-2", "10.0.0.2", json!({}));
    followed.until("a change", |catalog| endpoints(catalog, "s7").len() == 2).await;
    assert!(relay.most_open() < 40, "{} connections at once for 100 services", relay.most_open());
    assert!(relay.connections() < 100, "{} connections for 100 services", relay.connections());
    assert!(followed.catalog().registries[0].findings.is_empty());

    let mut refused = Followed::new(&format!("{url}?ca-file={ca}"));
    refused.lost().await;
    let mut unknown = Followed::new(&url);
    let reason = unknown.lost().await;
    assert!(reason.contains("UnknownIssuer"), "{reason}");
}

#[test]
fn files_that_are_wrong_are_told_at_once() {
    let server = Server::prepare();
    let file = server.path("empty.pem");
    std::fs::write(&file, "nothing").unwrap();
    let open = |url: &str| {
        let options = ConsulOptions::parse(url, &ConsulEnvironment::default()).unwrap();
        Consul::open("consul", "cluster.local", options).map(drop).unwrap_err().to_string()
    };
    let error = open(&format!("https://consul.example:8501?ca-file={file}"));
    assert_eq!(error, format!("{file} cannot be used as ca-file: it holds no certificate in PEM form"));
    let error = open("http://consul.example:8500?token-file=/no/such/file");
    assert!(error.starts_with("/no/such/file cannot be used as token-file"), "{error}");
}
