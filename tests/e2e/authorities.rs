//! An authority of the operator's own: files in the layout of Istio's cacerts.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use tempfile::TempDir;

use crate::control_plane::ControlPlane;
use crate::identity::attempt;
use crate::mesh::{Mesh, text, until};

const SOON: Duration = Duration::from_secs(60);

pub fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", text(&output));
}

/// As Istio's documents make them: a root with an RSA key, and below it the authority of one cluster.
pub fn cacerts(folder: &Path, of_authority: &str) {
    fs::create_dir_all(folder).unwrap();
    let root = ["-subj", "/O=Acme/CN=Root", "-keyout", "root-key.pem", "-out", "root-cert.pem"];
    let usual =
        ["req", "-x509", "-nodes", "-days", "30", "-newkey", "rsa:2048", "-addext", "keyUsage=critical,keyCertSign"];
    openssl(folder, &[&usual[..], &root, &["-addext", "basicConstraints=critical,CA:TRUE"]].concat());
    let own = ["-subj", "/O=Acme/CN=Cluster", "-keyout", "ca-key.pem", "-out", "ca-cert.pem"];
    let below = ["-CA", "root-cert.pem", "-CAkey", "root-key.pem", "-addext", of_authority];
    openssl(folder, &[&usual[..], &own, &below].concat());
    let chain = ["ca-cert.pem", "root-cert.pem"].map(|name| fs::read_to_string(folder.join(name)).unwrap()).concat();
    fs::write(folder.join("cert-chain.pem"), chain).unwrap();
}

#[test]
fn a_mesh_stands_on_an_authority_from_files_and_follows_them() {
    let files = TempDir::new().unwrap();
    cacerts(files.path(), "basicConstraints=critical,CA:TRUE,pathlen:0");
    let mesh = Mesh::start(&["--ca-dir", files.path().to_str().unwrap()]);
    assert_eq!(mesh.get("/productpage", &[]).status, 200);
    let state = mesh.path().join("workloads/details-v1");
    let root = files.path().join("root-cert.pem");
    let verified = Command::new("openssl")
        .args(["verify", "-purpose", "sslserver", "-CAfile"])
        .args([root.as_path(), Path::new("-untrusted"), &state.join("cert-chain.pem"), &state.join("cert-chain.pem")])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", text(&verified));
    let told: Value = serde_json::from_str(&mesh.ok(&["ca", "status", "-o", "json"])).unwrap();
    assert!(told["roots"][0]["subject"].as_str().unwrap().contains("Acme"), "{told}");
    assert!(!mesh.path().join("control-plane/ca/root.pem").exists(), "no root is made beside it");
    let refused = mesh.weft(&["ca", "rotate"]);
    assert!(!refused.status.success() && text(&refused).contains("put others there"), "{}", text(&refused));

    // A bad file is told, and the last good ones stay in force.
    let good = fs::read_to_string(files.path().join("ca-key.pem")).unwrap();
    fs::write(files.path().join("ca-key.pem"), "nonsense").unwrap();
    until("the refusal", SOON, || mesh.log_of("control-plane").contains("ca-key.pem: it is no private key"));
    fs::write(files.path().join("ca-key.pem"), good).unwrap();
    // A new authority below the same root is taken up, and who renews gets its certificates.
    cacerts(&files.path().join("next"), "basicConstraints=critical,CA:TRUE,pathlen:0");
    let both = ["root-cert.pem", "next/root-cert.pem"].map(|name| fs::read_to_string(files.path().join(name)).unwrap());
    let put = |from: &str| {
        for name in ["ca-cert.pem", "ca-key.pem", "cert-chain.pem"] {
            fs::copy(files.path().join(from).join(name), files.path().join(name)).unwrap();
        }
    };
    fs::create_dir(files.path().join("first")).unwrap();
    for name in ["ca-cert.pem", "ca-key.pem", "cert-chain.pem"] {
        fs::copy(files.path().join(name), files.path().join("first").join(name)).unwrap();
    }
    // Nobody trusts it yet, so all at once would cut off everybody: it waits, and says what comes first.
    put("next");
    fs::write(&root, &both[1]).unwrap();
    let first = "put both roots into root-cert.pem first";
    until("it is held back", SOON, || mesh.ok(&["ca", "status"]).contains(first));
    let refused = mesh.weft(&["ca", "rotate", "--no-wait"]);
    assert!(!refused.status.success() && text(&refused).contains("sa/bookinfo-details"), "{}", text(&refused));
    until("the problem", SOON, || text(&mesh.weft(&["check"])).contains("WFT1406"));
    assert_eq!(mesh.get("/productpage", &[]).status, 200);
    put("first");
    fs::write(&root, both.concat()).unwrap();
    let roots = || {
        let told: Value = serde_json::from_str(&mesh.ok(&["ca", "status", "-o", "json"])).unwrap();
        told["roots"].as_array().unwrap().len()
    };
    until("both roots are trusted", SOON, || roots() == 2);
    let held = || fs::read_to_string(state.join("root-cert.pem")).unwrap().matches("BEGIN").count();
    until("everybody trusts both", SOON, || held() == 2);
    assert_eq!(mesh.get("/productpage", &[]).status, 200);
    until("nothing is held back", SOON, || !mesh.ok(&["ca", "status"]).contains("not in force"));
    put("next");
    fs::write(&root, both.iter().rev().map(String::as_str).collect::<String>()).unwrap();
    let signs = || {
        let told: Value = serde_json::from_str(&mesh.ok(&["ca", "status", "-o", "json"])).unwrap();
        told["roots"][0]["fingerprint"].as_str().unwrap().to_owned()
    };
    let before = told["roots"][0]["fingerprint"].as_str().unwrap();
    until("the new root signs", SOON, || signs() != before);
    assert_eq!(mesh.get("/productpage", &[]).status, 200);
}

#[test]
fn files_that_cannot_be_an_authority_are_refused_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let data = TempDir::new().unwrap();
    let at = |change: &dyn Fn(&Path)| {
        let _ = fs::remove_dir_all(folder.path().join("ca"));
        let ca = folder.path().join("ca");
        cacerts(&ca, "basicConstraints=critical,CA:TRUE");
        change(&ca);
        let mut command = Command::new(crate::mesh::weft());
        command.args(["control-plane", "--listen-xds", "127.0.0.1:0", "--listen-api", "127.0.0.1:0"]);
        command.args(["--listen-metrics", "127.0.0.1:0", "--ca-dir"]).arg(&ca).env("WEFT_DATA_DIR", data.path());
        let output = command.output().unwrap();
        assert!(!output.status.success(), "it started: {}", text(&output));
        text(&output)
    };
    let missing = at(&|ca| fs::remove_file(ca.join("ca-key.pem")).unwrap());
    assert!(missing.contains("ca-key.pem cannot be read"), "{missing}");
    let another = at(&|ca| {
        fs::copy(ca.join("root-key.pem"), ca.join("ca-key.pem")).unwrap();
    });
    assert!(another.contains("ca-key.pem: it is not the key of ca-cert.pem"), "{another}");
    let no_authority = at(&|ca| cacerts(ca, "basicConstraints=critical,CA:FALSE"));
    assert!(no_authority.contains("ca-cert.pem: it may not sign certificates; it needs CA:true"), "{no_authority}");
}

/// A root of ten years, and below it an authority that has lived nine tenths of its life.
fn ending(folder: &Path) {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let made = |name: &str, from: SystemTime, to: SystemTime| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = (from.into(), to.into());
        params
    };
    let [root_key, key] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let root = made("Acme root", now - day, now + 3650 * day).self_signed(&root_key).unwrap();
    let issuer = Issuer::from_ca_cert_der(root.der(), root_key).unwrap();
    let own = made("Acme cluster", now - 335 * day, now + 29 * day + day / 2).signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("root-cert.pem"), root.pem()).unwrap();
    fs::write(folder.join("ca-cert.pem"), own.pem()).unwrap();
    fs::write(folder.join("ca-key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn an_authority_that_ends_soon_is_told_with_its_file() {
    let files = TempDir::new().unwrap();
    ending(files.path());
    let mut control_plane = ControlPlane::new();
    control_plane.start(&["--ca-dir", files.path().to_str().unwrap()]);
    let mut told = String::new();
    until("the problem", SOON, || {
        told = text(&control_plane.weft(&["check"]));
        told.contains("WFT1401")
    });
    for words in ["CN=Acme cluster in ca-cert.pem", "ends in 29 days", "put a new ca-cert.pem"] {
        assert!(told.contains(words), "{told}");
    }
}

const ONLY_PRODUCTPAGE: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: details
spec:
  selector:
    matchLabels: {app: details}
  rules:
  - from:
    - source:
        principals: [cluster.local/ns/default/sa/bookinfo-productpage]
";

#[test]
fn workloads_of_another_name_of_the_trust_domain_are_taken_for_ours_and_of_no_third() {
    let files = TempDir::new().unwrap();
    cacerts(files.path(), "basicConstraints=critical,CA:TRUE,pathlen:0");
    let bad = Command::new(crate::mesh::weft()).args(["up", "--trust-domain-alias", "Old_Example/x"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad).contains("a trust domain has 1 to 255 characters"), "{}", text(&bad));
    // What cannot be is told before anything is made.
    let data = files.path().join("data");
    let own = ["control-plane", "--trust-domain-alias", "cluster.local"];
    let bad = Command::new(crate::mesh::weft()).args(own).env("WEFT_DATA_DIR", &data).output().unwrap();
    assert!(text(&bad).contains("it is the trust domain itself"), "{}", text(&bad));
    assert!(bad.status.code() == Some(2) && !data.exists());
    let ca_dir = files.path().to_str().unwrap();
    let mesh = Mesh::start(&["--ca-dir", ca_dir, "--trust-domain-alias", "old.example"]);
    mesh.apply(ONLY_PRODUCTPAGE);
    // What another control plane signed under the same root, before the trust domain got its new name.
    let certificate = |domain: &str, account: &str| {
        let name = format!("subjectAltName=critical,URI:spiffe://{domain}/ns/default/sa/{account}");
        let new = ["req", "-x509", "-nodes", "-days", "1", "-newkey", "rsa:2048", "-subj", "/", "-addext", &name];
        let leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature"];
        let below = ["-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-keyout", "leaf-key.pem", "-out", "leaf.pem"];
        openssl(files.path(), &[&new[..], &leaf, &below].concat());
    };
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (leaf, key, above) = (file("leaf.pem"), file("leaf-key.pem"), file("ca-cert.pem"));
    let call = |domain, account| {
        certificate(domain, account);
        attempt(&mesh, "details-v1", &["-cert", &leaf, "-key", &key, "-cert_chain", &above])
    };
    until("the policy", SOON, || call("cluster.local", "bookinfo-reviews").contains("HTTP/1.1 403"));
    assert!(call("cluster.local", "bookinfo-productpage").contains("HTTP/1.1 200"));
    assert!(call("old.example", "bookinfo-productpage").contains("HTTP/1.1 200"));
    assert!(call("old.example", "bookinfo-reviews").contains("HTTP/1.1 403"));
    let third = call("third.example", "bookinfo-productpage");
    assert!(!third.contains("HTTP/1.1"), "{third}");
}
