//! Who may talk to a workload, judged by openssl and by plain connections.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::mesh::{Mesh, get, until};

fn peer_authentication(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\nspec:\n  mtls:\n    mode: {mode}\n"
    )
}

/// `openssl s_client` to a workload's port with these options; what it printed.
fn s_client(mesh: &Mesh, workload: &str, options: &[&str]) -> String {
    let at = mesh.address_of(workload).to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &at, "-alpn", "istio", "-showcerts"])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    crate::mesh::text(&output)
}

/// The same as a client that asks something and waits for what comes of it: with TLS 1.3 a client learns only then
/// that its certificate was refused.
pub fn refusal(mesh: &Mesh, workload: &str, options: &[&str]) -> String {
    let shown = attempt(mesh, workload, options);
    assert!(!shown.contains("HTTP/1.1 200"), "it was served: {shown}");
    shown
}

/// What openssl shows of it, whatever comes of it.
pub fn attempt(mesh: &Mesh, workload: &str, options: &[&str]) -> String {
    let at = mesh.address_of(workload).to_string();
    let mut child = Command::new("timeout")
        .args(["60", "openssl", "s_client", "-connect", &at, "-alpn", "istio", "-ign_eof"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = child
        .stdin
        .take()
        .unwrap()
        .write_all(b"GET /details/0 HTTP/1.1\r\nHost: details:9080\r\nConnection: close\r\n\r\n");
    let output = child.wait_with_output().unwrap();
    let shown = crate::mesh::text(&output);
    assert!(asked.is_ok() || output.status.code() != Some(124), "{shown}");
    shown
}

/// The text of the first certificate that openssl printed.
fn leaf_of(shown: &str) -> String {
    let start = shown.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("no certificate: {shown}"));
    let end = start + shown[start..].find("-----END CERTIFICATE-----").unwrap() + 25;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &shown[start..end]).unwrap();
    let output = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(file.path()).output().unwrap();
    crate::mesh::text(&output)
}

#[test]
fn workloads_prove_who_they_are_and_refuse_who_does_not() {
    let mesh = Mesh::start(&[]);
    let state = mesh.path().join("workloads/details-v1");
    let file = |name: &str| state.join(name).to_str().unwrap().to_owned();
    let (root, chain, key) = (file("root-cert.pem"), file("cert-chain.pem"), file("key.pem"));

    // The chain leads to the mesh's root, and the certificate names one identity, by URI.
    let shown = s_client(&mesh, "details-v1", &["-CAfile", &root, "-cert", &chain, "-key", &key]);
    assert!(shown.contains("Verify return code: 0 (ok)"), "{shown}");
    let leaf = leaf_of(&shown);
    let names = leaf.lines().find(|line| line.contains("URI:")).unwrap_or_else(|| panic!("{leaf}")).trim();
    assert_eq!(names, "URI:spiffe://cluster.local/ns/default/sa/bookinfo-details");
    assert!(shown.contains("TLSv1.3"), "{shown}");

    // Plaintext is served while it is permitted, and refused when it is not.
    let plain = || get(mesh.address_of("details-v1"), "details:9080", "/details/0", &[]);
    until("plaintext by default", Duration::from_secs(60), || plain().is_ok_and(|answer| answer.status == 200));
    mesh.apply(&peer_authentication("STRICT"));
    until("plaintext refused", Duration::from_secs(60), || plain().is_err());
    assert_eq!(mesh.call_from("productpage-v1", "http://details:9080/details/0", &[]).status, 200);
    let page = mesh.get("/productpage", &[]);
    assert!(page.status == 200 && page.body.contains("Reviewer1"), "{page:?}");
    mesh.apply(&peer_authentication("PERMISSIVE"));
    until("plaintext permitted again", Duration::from_secs(60), || plain().is_ok_and(|answer| answer.status == 200));

    // The port takes nobody without a certificate, and nobody of another trust domain.
    mesh.apply(&peer_authentication("STRICT"));
    let without = refusal(&mesh, "details-v1", &["-CAfile", &root]);
    assert!(without.contains("alert certificate required"), "{without}");
    let foreign = foreign_certificate();
    let path = |name: &str| foreign.path().join(name).to_str().unwrap().to_owned();
    let refused =
        refusal(&mesh, "details-v1", &["-CAfile", &root, "-cert", &path("leaf.pem"), "-key", &path("leaf.key")]);
    assert!(refused.contains("alert"), "{refused}");
}

/// A certificate that another mesh issued: `leaf.pem` and `leaf.key` in a directory.
fn foreign_certificate() -> tempfile::TempDir {
    let dir = tempfile::TempDir::new().unwrap();
    let run = |arguments: &str| {
        let status = Command::new("openssl").args(arguments.split(' ')).current_dir(dir.path()).output().unwrap();
        assert!(status.status.success(), "{}", crate::mesh::text(&status));
    };
    std::fs::write(dir.path().join("ext"), "subjectAltName=critical,URI:spiffe://other.mesh/ns/default/sa/x\n")
        .unwrap();
    run(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /O=other -days 1",
    );
    run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /O=other");
    run("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile ext -out leaf.pem");
    dir
}

#[test]
fn a_token_is_good_once() {
    let mesh = Mesh::start(&["--no-sample"]);
    let token = mesh.ok(&["token", "create", "--namespace", "default", "--service-account", "guest"]);
    let token = token.split_whitespace().find(|word| word.starts_with("weft_join_")).unwrap().to_owned();
    let address: serde_json::Value =
        serde_json::from_slice(&std::fs::read(mesh.path().join("control-plane/address.json")).unwrap()).unwrap();
    let control_plane = address["xds"].as_str().unwrap().to_owned();
    let join = |dir: &std::path::Path| {
        let output = Command::new(crate::mesh::weft())
            .args([
                "run",
                "--service",
                "guest",
                "--service-account",
                "guest",
                "--port",
                "9080",
                "--address",
                "127.0.9.77",
            ])
            .args(["--control-plane", &control_plane, "--token", &token, "--", "true"])
            .env("WEFT_DATA_DIR", dir)
            .output()
            .unwrap();
        (output.status.success(), crate::mesh::text(&output))
    };
    let (first, second) = (tempfile::TempDir::new().unwrap(), tempfile::TempDir::new().unwrap());
    let (joined, told) = join(first.path());
    assert!(joined, "{told}");
    let (joined, told) = join(second.path());
    assert!(!joined && told.contains("token"), "{told}");
}
