//! Programs that know nothing of weft get the identity of their workload from the agent's socket: py-spiffe by the SPIFFE
//! Workload API, Envoy by its secret discovery service.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use serde_json::Value;

use crate::mesh::{get, repository, text, until};
use crate::vm::SOON;
use crate::vm::kit::{App, ControlPlane, Process};

const GUEST: &str = "spiffe://cluster.local/ns/default/sa/guest";
const USER: u32 = 64_011;
const STRANGER: u32 = 64_012;

/// A workload whose agent has a socket.
struct Guest {
    control_plane: ControlPlane,
    socket: PathBuf,
    _agent: Process,
    _folder: tempfile::TempDir,
}

impl Guest {
    fn start(address: &str, options: &[&str]) -> Self {
        let control_plane = ControlPlane::start(&["--cert-ttl", "20s"]);
        // Other users reach the socket.
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let socket = folder.path().join("run/workload.sock");
        let flag = format!("--workload-socket={}", socket.display());
        let agent = ["agent", "--name", "guest", "--address", address, "--drain", "0s", &flag];
        let (data, log) = (control_plane.dir(""), control_plane.dir("agent.log"));
        let _agent = Process::start(&[], &[&agent[..], options].concat(), &data, &log);
        until("the socket is served", SOON, || UnixStream::connect(&socket).is_ok());
        Self { control_plane, socket, _agent, _folder: folder }
    }

    fn socket(&self) -> &str {
        self.socket.to_str().unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== the agent\n{}", log(&self.control_plane));
        }
    }
}

fn log(control_plane: &ControlPlane) -> String {
    fs::read_to_string(control_plane.dir("agent.log")).unwrap_or_default()
}

/// What the client in `client.py` tells.
fn client(arguments: &[&str]) -> Value {
    let output = Command::new(repository("target/test-venv/bin/python"))
        .arg(repository("tests/e2e/workload_api/client.py"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

fn openssl(folder: &Path, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    text(&output)
}

#[test]
fn py_spiffe_gets_certificates_and_tokens_and_hears_of_the_next() {
    let guest = Guest::start("127.9.6.1", &[]);
    let folder = tempfile::tempdir().unwrap();
    let told = client(&["all", guest.socket(), folder.path().to_str().unwrap()]);
    for name in ["id", "token", "verified", "validated"] {
        assert_eq!(told[name], GUEST, "{name}: {told}");
    }
    assert_eq!((&told["roots"], &told["kept"], &told["renewed"]), (&1.into(), &true.into(), &true.into()), "{told}");
    assert_eq!(told["errors"], serde_json::json!([]));
    assert!(told["other audience"].as_str().unwrap().contains("it is not for"), "{told}");
    assert!(told["changed"].as_str().unwrap().contains("Jwt verification fails"), "{told}");
    assert!(told["another's"].as_str().unwrap().contains("no identity issued"), "{told}");

    // openssl agrees, and the key is the certificate's.
    // At the time that it was handed out: by now it may have ended.
    let written = fs::metadata(folder.path().join("leaf.pem")).unwrap().modified().unwrap();
    let at = written.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let verify = "verify -x509_strict -purpose sslclient -CAfile roots.pem -untrusted intermediates.pem";
    assert_eq!(openssl(folder.path(), &format!("{verify} -attime {at} leaf.pem")).trim(), "leaf.pem: OK");
    let public = openssl(folder.path(), "pkey -in key.pem -pubout");
    assert_eq!(public, openssl(folder.path(), "x509 -in leaf.pem -noout -pubkey"));
    let shown = openssl(folder.path(), "x509 -in leaf.pem -noout -text");
    assert!(shown.contains(&format!("URI:{GUEST}")), "{shown}");

    // A call that was not meant for this API gets nothing.
    let bare = client(&["bare", guest.socket()]);
    assert_eq!(bare["code"], "INVALID_ARGUMENT", "{bare}");

    // What was handed out is in no log.
    let written = log(&guest.control_plane) + &fs::read_to_string(guest.control_plane.dir("log")).unwrap();
    let key = fs::read_to_string(folder.path().join("key.pem")).unwrap();
    assert!(
        written.contains("an X.509-SVID is handed out") && written.contains("a JWT-SVID is handed out"),
        "{written}"
    );
    for secret in [key.lines().nth(1).unwrap(), told["secret"].as_str().unwrap()] {
        assert!(!written.contains(secret), "a secret is in a log");
    }
}

#[test]
fn a_caller_gets_an_identity_only_if_it_is_the_workload() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: programs can be run as other users by root alone");
        return;
    }
    let user = USER.to_string();
    let asks = |guest: &Guest, uid: u32| client(&["as", &uid.to_string(), guest.socket()]);
    let granted = |told: Value| assert_eq!(told["id"], GUEST, "{told}");
    let refused =
        |told: Value| assert!(told["error"].as_str().is_some_and(|why| why.contains("no identity")), "{told}");

    let guest = Guest::start("127.9.6.2", &["--workload-user", &user]);
    granted(asks(&guest, USER));
    refused(asks(&guest, STRANGER));
    refused(asks(&guest, 0));
    let written = log(&guest.control_plane);
    assert!(written.contains(&format!("SPIFFE_ENDPOINT_SOCKET=unix:{}", guest.socket())), "{written}");
    let refusal = format!("user {STRANGER}, process ");
    until("the refusal in the log", SOON, || log(&guest.control_plane).contains(&refusal));
    drop(guest);

    // Of the same user, only the program that is named.
    let python = fs::canonicalize(repository("target/test-venv/bin/python")).unwrap();
    let options = ["--workload-user", &user, "--workload-program", python.to_str().unwrap()];
    let guest = Guest::start("127.9.6.3", &options);
    granted(asks(&guest, USER));
    drop(guest);
    let guest = Guest::start("127.9.6.4", &["--workload-user", &user, "--workload-program", "/bin/sh"]);
    refused(asks(&guest, USER));
    drop(guest);
    let guest = Guest::start("127.9.6.5", &["--workload-user", &user, "--workload-unit", "no-such.service"]);
    refused(asks(&guest, USER));
}

/// Envoy with this configuration, until the test ends.
struct Envoy {
    child: std::process::Child,
    log: PathBuf,
}

impl Envoy {
    fn start(folder: &Path, config: &str) -> Self {
        let library = repository("target/test-venv/lib");
        let versions = fs::read_dir(&library).unwrap().flatten();
        let program = versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
        let program = program.into_iter().find(|path| path.exists()).expect("scripts/test-setup installs Envoy");
        let file = folder.join("envoy.yaml");
        fs::write(&file, config).unwrap();
        let path = folder.join("envoy.log");
        let log = fs::File::create(&path).unwrap();
        let child = Command::new("timeout")
            .args(["-k", "5", "900"])
            .arg(program)
            .args(["--disable-hot-restart", "--concurrency", "1", "-l", "warn", "-c"])
            .arg(file)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, log: path }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("== Envoy\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// A listener that passes everything on to `to` under the identity of the socket.
fn sds(socket: &str, listen: &str, to: &str) -> String {
    let source = "sds_config: {resource_api_version: V3, api_config_source: {api_type: GRPC, transport_api_version: \
                  V3, grpc_services: [{envoy_grpc: {cluster_name: agent}}]}}";
    let (address, port) = to.split_once(':').unwrap();
    let (own, own_port) = listen.split_once(':').unwrap();
    format!(
        "node: {{id: e, cluster: e}}\nstatic_resources:\n  listeners:\n  - address: {{socket_address: {{address: {own}, \
         port_value: {own_port}}}}}\n    filter_chains:\n    - filters:\n      - name: tcp\n        typed_config: \
         {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, \
         cluster: guest}}\n  clusters:\n  - name: agent\n    type: STATIC\n    typed_extension_protocol_options: \
         {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{'@type': \
         type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
         {{http2_protocol_options: {{}}}}}}}}\n    load_assignment: {{cluster_name: agent, endpoints: [{{lb_endpoints: \
         [{{endpoint: {{address: {{pipe: {{path: {socket}}}}}}}}}]}}]}}\n  - name: guest\n    type: STATIC\n    \
         load_assignment: {{cluster_name: guest, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
         {{socket_address: {{address: {address}, port_value: {port}}}}}}}}}]}}]}}\n    transport_socket:\n      name: \
         tls\n      typed_config:\n        '@type': \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n        \
         common_tls_context:\n          alpn_protocols: [istio]\n          tls_params: {{tls_maximum_protocol_version: TLSv1_3}}\n          tls_certificate_sds_secret_configs: \
         [{{name: default, {source}}}]\n          combined_validation_context:\n            \
         default_validation_context: {{match_typed_subject_alt_names: [{{san_type: URI, matcher: {{exact: \
         '{GUEST}'}}}}]}}\n            validation_context_sds_secret_config: {{name: ROOTCA, {source}}}\n"
    )
}

#[test]
fn envoy_takes_its_certificate_from_the_socket_and_speaks_mutual_tls_with_a_sidecar() {
    let app = App::start();
    let to = format!("127.0.0.1:{}", app.port);
    let guest = Guest::start("127.9.6.6", &["--service", "guest", "--port", "9080", "--forward-to", &to]);
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: mesh, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n";
    guest.control_plane.mesh(&["apply", "-f", "-"], strict);
    let plain = || get("127.9.6.6:9080".parse().unwrap(), "guest:9080", "/", &[]);
    until("plaintext refused", SOON, || plain().is_err());
    let folder = tempfile::tempdir().unwrap();
    let _envoy = Envoy::start(folder.path(), &sds(guest.socket(), "127.9.6.7:18080", "127.9.6.6:9080"));
    let call = || get("127.9.6.7:18080".parse().unwrap(), "guest:9080", "/", &[]);
    let served = || call().is_ok_and(|answer| answer.status == 200);
    until("Envoy is served", SOON, served);
    assert!(log(&guest.control_plane).contains("secrets are handed out"));
}

#[test]
fn others_read_the_bundle_over_https_and_verify_tokens_with_it() {
    let control_plane =
        ControlPlane::start(&["--listen-bundle", "127.0.0.1:0", "--jwt-issuer", "https://mesh.example"]);
    let served = |line: &&str| line.contains("bundle is served");
    until("the bundle is served", SOON, || control_plane.log().lines().any(|line| served(&line)));
    let written = control_plane.log();
    let line = written.lines().find(served).unwrap();
    let from = line.find("127.0.0.1:").unwrap();
    let address: String = line[from..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    let read = |path: &str| -> Value {
        // Its certificate names a SPIFFE ID, and no host.
        let output = Command::new("curl").args(["-sk", "-m", "20", &format!("https://{address}{path}")]).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    };
    let told: Value = serde_json::from_str(&control_plane.mesh(&["ca", "bundle"], "")).unwrap();
    assert_eq!(read("/"), told);
    let uses: Vec<_> = told["keys"].as_array().unwrap().iter().map(|key| key["use"].as_str().unwrap()).collect();
    assert_eq!(uses, ["x509-svid", "jwt-svid"]);
    let discovery = read("/.well-known/openid-configuration");
    assert_eq!(
        (&discovery["issuer"], &discovery["jwks_uri"]),
        (&"https://mesh.example".into(), &"https://mesh.example/keys".into())
    );
    assert_eq!(read("/keys")["keys"][0]["kid"], told["keys"][1]["kid"]);

    // The server is the control plane, by the very root that the bundle names.
    let folder = tempfile::tempdir().unwrap();
    let root = told["keys"][0]["x5c"][0].as_str().unwrap();
    fs::write(folder.path().join("root.b64"), root).unwrap();
    openssl(folder.path(), "base64 -d -A -in root.b64 -out root.der");
    openssl(folder.path(), "x509 -inform der -in root.der -out root.pem");
    let shown = openssl(folder.path(), &format!("s_client -connect {address} -CAfile root.pem -verify_return_error"));
    assert!(shown.contains("Verify return code: 0 (ok)"), "{shown}");
}
