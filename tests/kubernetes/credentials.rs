//! The certificates of gateways: Secrets of a cluster reach the gateway that serves them, follow every change, and are
//! nowhere to be found.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use registry::KeyAccess;
use registry::kubernetes::KeyReaders;
use serde_json::{Value, json};

use crate::cluster::{PATIENCE, TestCluster};
use crate::configuration::RESOURCES;
use crate::mesh::{Mesh, get, is_alive, kill, text, until};
use crate::process::Process;
use crate::server::ADMIN_TOKEN;

const SECRET: &str = "/api/v1/namespaces/istio-system/secrets/shop";

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: secure}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: shop, protocol: HTTPS}, hosts: [shop.example], tls: {mode: SIMPLE, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [secure]
  http: [{directResponse: {status: 200, body: {string: open}}}]
";

/// A certificate of its own authority, and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn make() -> Self {
        let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn secret(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": "shop", "namespace": "istio-system" },
            "data": { "tls.crt": BASE64.encode(&self.certificate), "tls.key": BASE64.encode(&self.key) },
        })
    }

    /// What the gateway says to a client that trusts this certificate and no other.
    fn shop(&self, mesh: &Mesh) -> Option<String> {
        self.shop_at(mesh, mesh.gateway().ip())
    }

    fn shop_at(&self, mesh: &Mesh, gateway: IpAddr) -> Option<String> {
        let trusted = mesh.path().join("trusted.pem");
        std::fs::write(&trusted, &self.certificate).unwrap();
        let place = format!("shop.example:8443:{gateway}");
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "30", "--noproxy", "*", "--resolve", &place]).arg("--cacert").arg(trusted);
        let output = curl.arg("https://shop.example:8443/").output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Fails the test if any of these bytes are the key, in whatever form.
    fn is_not_in(&self, what: &str, bytes: &[u8]) {
        let body: String = self.key.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64.decode(&body).unwrap();
        let forms =
            [body.as_bytes()[60..100].to_vec(), der[der.len() - 24..].to_vec(), BASE64.encode(&self.key).into_bytes()];
        for form in &forms {
            assert!(!bytes.windows(form.len()).any(|window| window == form), "{what} holds the private key");
        }
    }
}

/// Every file below a directory.
fn files(directory: &Path, visit: &mut impl FnMut(&Path, &[u8])) {
    // What goes away while it is looked at holds nothing any more.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, visit),
            path => visit(&path, &std::fs::read(&path).unwrap_or_default()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_shows_the_certificate_of_a_secret_and_follows_it() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: istio-system\n").await;
    let kubeconfig = cluster.kubeconfig("east", ADMIN_TOKEN);
    let mesh = Mesh::start(&["--no-sample", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    cluster.apply(RULES).await;
    let problems = || text(&mesh.weft(&["proxy-status"]));
    until("the finding", PATIENCE, || problems().contains("no Secret istio-system/shop"));

    let first = Pair::make();
    cluster.apply(&first.secret().to_string()).await;
    until("the first certificate", PATIENCE, || first.shop(&mesh).as_deref() == Some("open"));
    until("no finding", PATIENCE, || !problems().contains("istio-system/shop"));
    let second = Pair::make();
    cluster.apply(&second.secret().to_string()).await;
    until("the second certificate", PATIENCE, || second.shop(&mesh).as_deref() == Some("open"));
    assert_eq!(first.shop(&mesh), None);

    // A control plane that starts without the cluster takes no certificate away.
    cluster.relay.sever().await;
    let before = mesh.control_plane();
    kill(before);
    until("the end of the control plane", PATIENCE, || !is_alive(before));
    let synced = || {
        let output = mesh.weft(&["proxy-status", "-o", "json"]);
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let proxies = listing["items"].as_array().cloned().unwrap_or_default();
        proxies.iter().any(|proxy| proxy["types"]["LDS"]["state"] == "SYNCED")
    };
    until("another control plane", PATIENCE * 2, synced);
    assert_eq!(second.shop(&mesh).as_deref(), Some("open"));
    cluster.relay.mend();

    // The key is with the gateway's process and nowhere else.
    let admin = std::net::SocketAddr::new(mesh.gateway().ip(), 15000);
    for path in ["/config_dump", "/config_dump?include_eds", "/certs", "/clusters"] {
        second.is_not_in(path, get(admin, "admin", path, &[]).unwrap().body.as_bytes());
    }
    let mut seen = 0;
    files(mesh.path(), &mut |path, bytes| {
        seen += 1;
        first.is_not_in(&path.display().to_string(), bytes);
        second.is_not_in(&path.display().to_string(), bytes);
    });
    assert!(seen > 5, "{seen} files were looked at");

    cluster.delete(SECRET).await;
    until("the end", PATIENCE, || second.shop(&mesh).is_none() && problems().contains("no Secret istio-system/shop"));
    cluster.apply(&first.secret().to_string()).await;
    until("the first certificate again", PATIENCE, || first.shop(&mesh).as_deref() == Some("open"));
}

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: istio-system\n";

/// A proxy that says it is the ingress gateway; it ends with the test.
struct Claimant {
    _process: Process,
    name: &'static str,
    at: IpAddr,
}

impl Claimant {
    fn start(mesh: &Mesh, name: &'static str, host: u8, token: &str) -> Self {
        let state: Value = serde_json::from_slice(&std::fs::read(mesh.path().join("run/up.json")).unwrap()).unwrap();
        let at = IpAddr::from([127, 0, state["network"].as_u64().unwrap() as u8, host]);
        let mut command = mesh.command(&["proxy", "--role", "gateway", "--namespace", "istio-system", "--name", name]);
        command.args(["--service-account", name, "--label", "istio=ingressgateway", "--port-map", "443:8443"]);
        command.args(["--address", &at.to_string(), "--token", token]).stdout(Stdio::null()).stderr(Stdio::null());
        Self { _process: Process(command.spawn().unwrap()), name, at }
    }

    fn is_synced(&self, mesh: &Mesh) -> bool {
        let output = mesh.weft(&["proxy-status", "-o", "json"]);
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let proxies = listing["items"].as_array().cloned().unwrap_or_default();
        let id = format!("{}.istio-system", self.name);
        proxies.iter().any(|proxy| proxy["id"] == id.as_str() && proxy["types"]["LDS"]["state"] == "SYNCED")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_calls_itself_a_gateway_gets_keys_only_if_its_token_says_so() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    cluster.apply(NAMESPACE).await;
    let kubeconfig = cluster.kubeconfig("east", ADMIN_TOKEN);
    let mesh = Mesh::start(&["--no-sample", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    let pair = Pair::make();
    cluster.apply(RULES).await;
    cluster.apply(&pair.secret().to_string()).await;
    until("the mesh's own gateway", PATIENCE, || pair.shop(&mesh).as_deref() == Some("open"));

    let token = |account: &str, more: &[&str]| {
        let words = ["token", "create", "--namespace", "istio-system", "--service-account", account];
        mesh.ok(&[&words, more].concat()).trim().to_owned()
    };
    let thief = Claimant::start(&mesh, "thief", 211, &token("thief", &[]));
    until("the thief's configuration", PATIENCE, || thief.is_synced(&mesh));
    let problems = || text(&mesh.weft(&["check"]));
    until("the finding", PATIENCE, || problems().contains("WFT1405"));
    let told = problems();
    assert!(
        told.contains("thief.istio-system gets no private key") && told.contains("weft token create --gateway"),
        "{told}"
    );
    let log = || mesh.log_of("control-plane");
    until("a line of it", PATIENCE, || log().contains("thief.istio-system gets no private key"));
    assert_eq!(pair.shop_at(&mesh, thief.at), None);
    let dump = get(std::net::SocketAddr::new(thief.at, 15000), "admin", "/config_dump", &[]).unwrap().body;
    assert!(!dump.contains("kubernetes://shop"), "{dump}");

    let granted = Claimant::start(&mesh, "granted", 212, &token("granted", &["--gateway"]));
    until("the gateway that may", PATIENCE, || pair.shop_at(&mesh, granted.at).as_deref() == Some("open"));
    assert_eq!(pair.shop(&mesh).as_deref(), Some("open"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_says_which_accounts_may_read_keys() {
    let cluster = TestCluster::start().await;
    cluster.apply(NAMESPACE).await;
    let opened = cluster.open("east").await;
    let asked = async |namespace: &str, account: &str| {
        let told = KeyReaders::of(opened.clone()).follow(namespace, account).await.borrow().clone();
        assert!(!matches!(told, KeyAccess::Unknown(_)), "{told:?}");
        told == KeyAccess::Granted
    };
    assert!(!asked("istio-system", "gateway").await);
    cluster.apply(ROLE).await;
    assert!(asked("istio-system", "gateway").await);
    assert!(!asked("istio-system", "thief").await);
    assert!(!asked("default", "gateway").await);
}

/// As the problem says it is to be made.
const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gateway-keys, namespace: istio-system}
rules: [{apiGroups: [''], resources: [secrets], verbs: [get, watch, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gateway-keys, namespace: istio-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gateway-keys}
subjects: [{kind: ServiceAccount, name: gateway, namespace: istio-system}]
";
