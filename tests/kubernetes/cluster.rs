//! A cluster for one test: an API server, the wire to it, and a hand to change it.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use registry::kubernetes::{Cluster, Pace};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::relay::Relay;
use crate::server::{ADMIN_TOKEN, Server};

pub struct TestCluster {
    api: Api,
    /// Between the mesh and the server; the test's own requests do not pass it.
    pub relay: Relay,
    admin: Client,
    pub dir: TempDir,
}

/// What stands behind the address.
enum Api {
    Own(Server),
    /// etcd and kube-apiserver.
    Real {
        _processes: [Process; 2],
        address: SocketAddr,
    },
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long anything may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Fast, so that a test does not wait.
pub const PACE: Pace =
    Pace { first: Duration::from_millis(10), longest: Duration::from_millis(100), missing: Duration::from_millis(50) };

impl TestCluster {
    pub async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let api = match std::env::var_os("KUBEBUILDER_ASSETS") {
            Some(folder) => real(Path::new(&folder), dir.path()),
            None => Api::Own(Server::start().await),
        };
        let address = match &api {
            Api::Own(server) => server.address,
            Api::Real { address, .. } => *address,
        };
        let relay = Relay::to(address).await;
        let admin = client(kubeconfig(&api, address, "admin", ADMIN_TOKEN)).await;
        let cluster = Self { api, relay, admin, dir };
        cluster.ready().await;
        cluster
    }

    async fn ready(&self) {
        let start = Instant::now();
        while self.get("/api/v1/namespaces/default").await.is_none() {
            assert!(start.elapsed() < PATIENCE, "the API server does not come up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Our own server, for what Kubernetes' cannot be made to do; `None` with a plain message otherwise.
    pub fn own(&self) -> Option<&Server> {
        match &self.api {
            Api::Own(server) => Some(server),
            Api::Real { .. } => {
                eprintln!("not shown against kube-apiserver: it cannot be made to do this on demand");
                None
            }
        }
    }

    /// A kubeconfig whose context and cluster have this name, across the relay.
    pub fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.yaml"));
        std::fs::write(&path, kubeconfig(&self.api, self.relay.address, name, token).to_string()).unwrap();
        path
    }

    /// As the mesh sees it.
    pub async fn open(&self, name: &str) -> Cluster {
        Cluster::open(&self.kubeconfig(name, ADMIN_TOKEN)).await.unwrap()
    }

    /// Applies documents; each must be taken.
    pub async fn apply(&self, yaml: &str) {
        for object in documents(yaml) {
            self.write(&object, "force=true").await.unwrap_or_else(|error| panic!("{error}: {object}"));
        }
    }

    /// What the server says to an object without taking it.
    pub async fn dry_run(&self, object: &Value) -> Result<Value, String> {
        self.write(object, "force=true&dryRun=All&fieldValidation=Strict").await
    }

    async fn write(&self, object: &Value, query: &str) -> Result<Value, String> {
        let uri = format!("{}?fieldManager=test&{query}", path_of(object));
        self.ask("PATCH", &uri, "application/apply-patch+yaml", object).await
    }

    async fn ask(&self, method: &str, uri: &str, content_type: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let request = http::Request::builder().method(method).uri(uri).header("content-type", content_type);
        let request = request.body(body).unwrap();
        self.admin.request::<Value>(request).await.map_err(|error| error.to_string())
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        self.ask("GET", path, "application/json", &Value::Null).await.ok()
    }

    pub async fn delete(&self, path: &str) {
        self.ask("DELETE", path, "application/json", &Value::Null).await.unwrap();
    }

    pub async fn merge(&self, path: &str, patch: Value) {
        self.ask("PATCH", path, "application/merge-patch+json", &patch).await.unwrap();
    }

    /// A token of a service account.
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        self.token_for(namespace, account, json!({})).await
    }

    /// The same as a TokenRequest's spec wants it.
    pub async fn token_for(&self, namespace: &str, account: &str, spec: Value) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let made = self.ask("POST", &path, "application/json", &body).await.unwrap();
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Puts many objects there, in the namespace `default`.
    pub async fn load(&self, objects: Vec<(&str, Value)>) {
        match &self.api {
            Api::Own(server) => server.load(objects),
            Api::Real { .. } => {
                for (_, object) in objects {
                    self.write(&object, "force=true").await.unwrap();
                }
            }
        }
    }
}

/// The documents of a text.
pub fn documents(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// Where an object is.
pub fn path_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let lower = kind.to_lowercase();
    let plural = match lower.strip_suffix('y') {
        Some(stem) if !stem.ends_with('a') => format!("{stem}ies"),
        _ => format!("{lower}s"),
    };
    let name = text(&object["metadata"]["name"]);
    let cluster_wide = ["Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
    if cluster_wide.contains(&kind.as_str()) {
        return format!("{root}/{plural}/{name}");
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    format!("{root}/namespaces/{namespace}/{plural}/{name}")
}

fn kubeconfig(api: &Api, address: SocketAddr, name: &str, token: &str) -> Value {
    let mut cluster = json!({ "server": format!("https://{address}") });
    match api {
        Api::Own(server) => cluster["certificate-authority-data"] = BASE64.encode(&server.certificate).into(),
        // kube-apiserver makes itself a certificate that nothing signs.
        Api::Real { .. } => cluster["insecure-skip-tls-verify"] = true.into(),
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "clusters": [{ "name": name, "cluster": cluster }],
        "users": [{ "name": name, "user": { "token": token } }],
    })
}

async fn client(kubeconfig: Value) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Starts etcd and kube-apiserver out of the folder that envtest keeps them in.
fn real(folder: &Path, dir: &Path) -> Api {
    let free = || StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (client, peer, secure) = (free(), free(), free());
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    let start = |program: &str, arguments: Vec<String>| {
        let log = std::fs::File::create(dir.join(format!("{program}.log"))).unwrap();
        let mut command = Command::new(folder.join(program));
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Process(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", folder.join(program).display())))
    };
    let path = |name: &str| dir.join(name).display().to_string();
    let etcd = start(
        "etcd",
        vec![
            format!("--data-dir={}", path("etcd")),
            format!("--listen-client-urls={}", at(client)),
            format!("--advertise-client-urls={}", at(client)),
            format!("--listen-peer-urls={}", at(peer)),
            "--unsafe-no-fsync=true".into(),
        ],
    );
    std::fs::write(dir.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n")).unwrap();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(dir.join("account.key"), key).unwrap();
    let apiserver = start(
        "kube-apiserver",
        vec![
            format!("--etcd-servers={}", at(client)),
            format!("--secure-port={secure}"),
            "--bind-address=127.0.0.1".into(),
            format!("--cert-dir={}", path("certificates")),
            "--authorization-mode=RBAC".into(),
            format!("--token-auth-file={}", path("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", path("account.key")),
            format!("--service-account-signing-key-file={}", path("account.key")),
            "--service-cluster-ip-range=10.0.0.0/24".into(),
            "--disable-admission-plugins=ServiceAccount".into(),
        ],
    );
    Api::Real { _processes: [etcd, apiserver], address: SocketAddr::from(([127, 0, 0, 1], secure)) }
}
