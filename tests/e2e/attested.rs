//! Workloads that show the token of an issuer the operator named, and the log of who got what.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::istio::v1::auth::IstioCertificateRequest;
use api::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Endpoint;

use crate::authorities::openssl;
use crate::control_plane::ControlPlane as Alone;
use crate::mesh::{get, text, until, weft};
use crate::strangers::tls;
use crate::vm::kit::{App, ControlPlane, Process};

const SOON: Duration = Duration::from_secs(60);
const ISSUER: &str = "https://gitlab.example";
const ID: &str = "spiffe://cluster.local/ns/ci/sa/deployer";
const IDENTITIES: &str = "
  audiences: [weft]
  identities:
  - namespace: ci
    serviceAccount: deployer
    claims:
      project_path: acme/shop
      ref: [main, v*]
";

/// An issuer with an RSA key, as openssl makes it.
struct Issuer(TempDir);

impl Issuer {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        openssl(dir.path(), &["genrsa", "-out", "key.pem", "2048"]);
        let mut openssl = Command::new("openssl");
        openssl.current_dir(dir.path()).args(["rsa", "-in", "key.pem", "-noout", "-modulus"]);
        let told = text(&openssl.output().unwrap());
        let modulus = told.lines().find_map(|line| line.strip_prefix("Modulus=")).unwrap();
        let bytes: Vec<u8> =
            (0..modulus.len()).step_by(2).map(|at| u8::from_str_radix(&modulus[at..at + 2], 16).unwrap()).collect();
        let key = json!({ "kty": "RSA", "kid": "k1", "use": "sig", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(bytes) });
        fs::write(dir.path().join("jwks.json"), json!({ "keys": [key] }).to_string()).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The file of `--jwt-issuers`; where the keys are is the test's.
    fn named(&self, keys: &str) -> String {
        let file = self.file("issuers.yaml");
        fs::write(&file, format!("issuers:\n- issuer: {ISSUER}\n  {keys}{IDENTITIES}")).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// A file with a token that has these claims.
    fn token(&self, name: &str, audience: &str, branch: &str) -> PathBuf {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": audience, "sub": format!("project_path:acme/shop:ref:{branch}"), "iat": now,
            "exp": now + 600, "project_path": "acme/shop", "ref": branch,
        });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(json!({ "alg": "RS256", "kid": "k1" })), part(claims));
        fs::write(self.file("signed"), &signed).unwrap();
        openssl(self.0.path(), &["dgst", "-sha256", "-sign", "key.pem", "-out", "signature", "signed"]);
        let signature = URL_SAFE_NO_PAD.encode(fs::read(self.file("signature")).unwrap());
        fs::write(self.file(name), format!("{signed}.{signature}\n")).unwrap();
        self.file(name)
    }
}

/// A sidecar that has nothing but a token.
fn sidecar(control_plane: &ControlPlane, name: &str, token: &Path) -> Process {
    let xds = format!("https://{}", control_plane.xds);
    let (root, token) = (control_plane.dir("control-plane/ca/root.pem"), token.to_str().unwrap());
    let who = ["proxy", "--role", "sidecar", "--name", name, "--namespace", "ci", "--service-account", "deployer"];
    let shown = ["--control-plane", &xds, "--identity-token", token, "--root-cert", root.to_str().unwrap()];
    let data = control_plane.dir(&format!("data-{name}"));
    fs::create_dir_all(&data).unwrap();
    Process::start(&[], &[&who[..], &shown].concat(), &data, &control_plane.dir(name))
}

/// A workload that serves, and calls others by its own proxy. All have one identity.
struct Server {
    name: &'static str,
    address: &'static str,
    process: Process,
}

impl Server {
    fn start(control_plane: &ControlPlane, name: &'static str, address: &'static str, token: &Path, app: &App) -> Self {
        let (xds, forward) = (format!("https://{}", control_plane.xds), app.forward());
        let (root, token) = (control_plane.dir("control-plane/ca/root.pem"), token.to_str().unwrap());
        let served =
            ["agent", "--service", name, "--port", "9080", "--forward-to", forward.trim_start_matches("9080=")];
        let who = ["--namespace", "ci", "--service-account", "deployer", "--address", address, "--control-plane", &xds];
        let shown = ["--identity-token", token, "--root-cert", root.to_str().unwrap()];
        let data = control_plane.dir(&format!("data-{name}"));
        fs::create_dir_all(&data).unwrap();
        let process = Process::start(&[], &[&served[..], &who, &shown].concat(), &data, &control_plane.dir(name));
        Self { name, address, process }
    }

    /// Whether a call of another one's comes through, by mutual TLS.
    fn calls(&self, other: &Self) -> bool {
        let (proxy, host) = (format!("{}:15088", self.address).parse().unwrap(), format!("{}.ci:9080", other.name));
        let answer = get(proxy, &host, &format!("http://{host}/"), &[]);
        answer.is_ok_and(|answer| answer.status == 200 && answer.body.contains("sa/deployer"))
    }
}

/// A process that stands still.
struct Frozen(Pid);

impl Frozen {
    fn new(process: &Process) -> Self {
        let group = Pid::from_raw(process.id() as i32);
        killpg(group, Signal::SIGSTOP).unwrap();
        Self(group)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = killpg(self.0, Signal::SIGCONT);
    }
}

fn audit(control_plane: &ControlPlane, filters: &[&str]) -> Vec<Value> {
    let words = [&["audit", "-o", "json", "--limit", "1000"], filters].concat();
    let told: Value = serde_json::from_str(&control_plane.mesh(&words, "")).unwrap();
    told["items"].as_array().unwrap().clone()
}

#[test]
fn a_job_joins_with_the_token_of_its_ci_system_and_the_audit_log_has_who_got_what() {
    let issuer = Issuer::new();
    let named = issuer.named(&format!("jwksFile: {}", issuer.file("jwks.json").display()));
    let control_plane = ControlPlane::start(&["--jwt-issuers", &named]);
    let good = issuer.token("good", "weft", "main");
    let _job = sidecar(&control_plane, "job", &good);
    until("it is connected", SOON, || control_plane.mesh(&["proxy-status"], "").contains("job.ci"));
    let held: Value = serde_json::from_str(&control_plane.mesh(&["cert", "job.ci", "-o", "json"], "")).unwrap();
    assert_eq!((&held["identity"], held["issued"].as_array().unwrap().len()), (&json!(ID), 1), "{held}");

    for (name, audience, branch, words) in [
        ("branch", "weft", "mine", "fits none of the issuer's `identities`"),
        ("audience", "vault", "main", "and not for weft"),
    ] {
        let mut refused = sidecar(&control_plane, name, &issuer.token("bad", audience, branch));
        until("its end", SOON, || refused.has_ended());
        let log = fs::read_to_string(control_plane.dir(name)).unwrap();
        assert!(log.contains(words), "{log}");
    }

    let issued = || audit(&control_plane, &["--verb", "issue-certificate", "--result", "done", "--actor", ID]);
    until("the line of the certificate", SOON, || !issued().is_empty());
    let line = issued().remove(0);
    let serial = held["issued"][0]["serial"].as_str().unwrap();
    assert_eq!(line["object"], format!("certificate {serial} of {ID}"), "{line}");
    assert!(line["detail"].as_str().unwrap().contains("by token of https://gitlab.example for project_path"), "{line}");
    let refusals = |status: &str| audit(&control_plane, &["--verb", "issue-certificate", "--result", status]).len();
    until("the lines of the refusals", SOON, || refusals("403") > 0 && refusals("401") > 0);
    assert!(control_plane.mesh(&["audit", "--verify"], "").contains("none changed"));
    let secret = fs::read_to_string(&good).unwrap();
    let written = fs::read_to_string(control_plane.dir("control-plane/audit.jsonl")).unwrap();
    assert!(!written.contains(secret.trim()) && !control_plane.log().contains(secret.trim()), "a token is written");
}

#[test]
fn a_change_of_roots_waits_for_each_of_two_workloads_of_one_account() {
    let issuer = Issuer::new();
    let named = issuer.named(&format!("jwksFile: {}", issuer.file("jwks.json").display()));
    let control_plane = ControlPlane::start(&["--jwt-issuers", &named]);
    let (token, app) = (issuer.token("good", "weft", "main"), App::start());
    let one = Server::start(&control_plane, "one", "127.0.81.1", &token, &app);
    let two = Server::start(&control_plane, "two", "127.0.81.2", &token, &app);
    let both = || one.calls(&two) && two.calls(&one);
    until("both answer", SOON, both);
    let ca = || -> Value { serde_json::from_str(&control_plane.mesh(&["ca", "status", "-o", "json"], "")).unwrap() };
    let before = ca()["roots"][0]["fingerprint"].clone();
    let issued: Value = serde_json::from_str(&control_plane.mesh(&["cert", "two.ci", "-o", "json"], "")).unwrap();
    let serials = issued["issued"].as_array().unwrap();
    assert_eq!(serials.len(), 2, "{issued}");

    let frozen = Frozen::new(&two.process);
    control_plane.mesh(&["ca", "rotate", "--to", "distributed"], "");
    let waiting = || ca()["rotation"]["waiting"].as_array().unwrap().clone();
    until("only one is behind", SOON, || waiting().len() == 1);
    let behind = waiting().remove(0);
    assert_eq!((&behind["identity"], &behind["member"]), (&json!(ID), &Value::Null), "{behind}");
    assert!(serials.iter().any(|issued| issued["serial"] == behind["lineage"]), "{behind} {issued}");
    assert_eq!(ca()["rotation"]["holders"], 2);
    let mut rotate = Command::new(weft());
    rotate.args(["ca", "rotate", "--no-wait"]).env("WEFT_DATA_DIR", control_plane.dir(""));
    let refused = rotate.output().unwrap();
    let (told, lineage) = (text(&refused), behind["lineage"].as_str().unwrap());
    let words = format!("1 of 2 holders of certificates are behind: {ID} (certificates from {})", &lineage[..8]);
    assert!(!refused.status.success() && told.contains(&words), "{told}");
    drop(frozen);

    let told = control_plane.mesh(&["ca", "rotate"], "");
    assert!(told.contains("signing: the new root signs") && told.contains("one root is trusted"), "{told}");
    assert_ne!(ca()["roots"][0]["fingerprint"], before);
    // Whoever stood still may have to come back before it is called.
    until("nobody is cut off", SOON, both);
}

/// Its certificate ended meanwhile, so that it has another one by its token; its streams may be those of before.
#[test]
fn a_change_of_roots_waits_for_a_workload_that_slept_past_its_certificate_as_for_any_other() {
    let issuer = Issuer::new();
    let named = issuer.named(&format!("jwksFile: {}", issuer.file("jwks.json").display()));
    let control_plane = ControlPlane::start(&["--jwt-issuers", &named, "--cert-ttl", "10s"]);
    let (token, app) = (issuer.token("good", "weft", "main"), App::start());
    let one = Server::start(&control_plane, "one", "127.0.82.1", &token, &app);
    let two = Server::start(&control_plane, "two", "127.0.82.2", &token, &app);
    let both = || one.calls(&two) && two.calls(&one);
    until("both answer", SOON, both);
    let frozen = Frozen::new(&two.process);
    let ca = || -> Value { serde_json::from_str(&control_plane.mesh(&["ca", "status", "-o", "json"], "")).unwrap() };
    until("its certificate has ended", SOON, || ca()["rotation"]["holders"] == 1);
    drop(frozen);
    until("it is back", SOON, || ca()["rotation"]["holders"] == 2);
    let told = control_plane.mesh(&["ca", "rotate"], "");
    assert!(told.contains("one root is trusted"), "{told}");
    assert!(ca()["rotation"]["holders"].as_u64().unwrap() <= 2, "somebody counts twice");
    until("both answer", SOON, both);
}

#[test]
fn issuers_that_would_let_everybody_in_or_whose_keys_are_not_there_are_refused() {
    let (issuer, data) = (Issuer::new(), TempDir::new().unwrap());
    let keys = format!("jwksFile: {}", issuer.file("jwks.json").display());
    let good = fs::read_to_string(issuer.named(&keys)).unwrap();
    let file = issuer.file("bad.yaml");
    for (from, to, words) in [
        ("project_path: acme/shop\n      ref: [main, v*]", "sub: '*'", "every token would do"),
        ("audiences: [weft]", "audiences: []", "issuers[0].audiences"),
        ("jwks.json", "nothing.json", "nothing.json cannot be read"),
        ("audiences", "audience", "audience"),
    ] {
        fs::write(&file, good.replace(from, to)).unwrap();
        let mut command = Command::new(weft());
        command.args(["control-plane", "--listen-xds", "127.0.0.1:0", "--listen-api", "127.0.0.1:0"]);
        command.args(["--listen-metrics", "127.0.0.1:0", "--jwt-issuers"]).arg(&file);
        let output = command.env("WEFT_DATA_DIR", data.path()).output().unwrap();
        let told = text(&output);
        assert!(!output.status.success() && told.contains(words) && told.contains("bad.yaml"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_certificate_that_is_issued_while_the_control_plane_ends_is_in_the_audit_log() {
    let mut control_plane = Alone::new();
    control_plane.start(&[]);
    let token = control_plane.ok(&["token", "create", "--service-account", "late"]);
    let address = control_plane.address();
    let [xds, api] = ["xds", "api"].map(|port| crate::mesh::address(address[port].as_str().unwrap()));
    let connector = tower::service_fn(move |_: http::Uri| async move { io::Result::Ok(TokioIo::new(tls(xds).await)) });
    let channel = Endpoint::from_static("http://control-plane").connect_with_connector(connector).await.unwrap();

    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let mut request = tonic::Request::new(IstioCertificateRequest { csr, ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.trim()).parse().unwrap());

    // Somebody's request is under way, which holds the end off.
    let mut held = TcpStream::connect(api).unwrap();
    let bearer = fs::read_to_string(control_plane.path().join("token")).unwrap();
    let head = "POST /api/v1/_apply HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n";
    write!(held, "{head}authorization: Bearer {}\r\n\r\n", bearer.trim()).unwrap();
    let mut words = [0; 12];
    held.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"HTTP/1.1 100");
    assert!(Command::new("kill").arg(control_plane.pid().to_string()).status().unwrap().success());
    let log = || fs::read_to_string(control_plane.log()).unwrap();
    until("its end begins", SOON, || log().contains("stopping"));
    IstioCertificateServiceClient::new(channel).create_certificate(request).await.unwrap();
    control_plane.stop();
    let audit = fs::read_to_string(control_plane.path().join("control-plane/audit.jsonl")).unwrap();
    let issued = |line: &&str| line.contains("issue-certificate") && line.contains("ns/default/sa/late");
    assert_eq!(audit.lines().filter(issued).count(), 1, "{audit}");
    drop(held);
}
