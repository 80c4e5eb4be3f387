//! The real binary beside a cluster: its services are called by name, its objects rule the traffic.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{PATIENCE, TestCluster};
use crate::configuration::{RESOURCES, STRICT};
use crate::server::ADMIN_TOKEN;

const SERVICE: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/greeter";

/// A mesh that ends with the test.
struct Mesh<'a> {
    data: &'a Path,
    client: Option<Child>,
}

impl Mesh<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(arguments).env("WEFT_DATA_DIR", self.data).stdin(Stdio::null());
        command
    }

    fn weft(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

impl Drop for Mesh<'_> {
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            let _ = Command::new("kill").arg(client.id().to_string()).status();
            let _ = client.wait();
        }
        let _ = self.weft(&["down"]);
    }
}

/// An address of this machine outside of loopback, where it has one: Kubernetes takes no loopback endpoints.
pub fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Sends nothing; it only asks for the route.
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(address) => address.ip(),
        Err(_) => IpAddr::from([127, 0, 0, 1]),
    }
}

/// Answers every request with its name, until the test ends.
fn greeter(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// A GET through a workload's outbound proxy: status and body.
fn call(proxy: SocketAddr, url: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(proxy).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let host = url.trim_start_matches("http://").split('/').next()?;
    write!(stream, "GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_cluster_is_called_by_name_and_ruled_by_its_objects() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    let endpoint = |version: &str, at: SocketAddr| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("greeter-{version}"), "namespace": "default", "labels": { "version": version } },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("greeter-{version}"), "namespace": "default",
                "labels": { "kubernetes.io/service-name": "greeter" },
            },
            "endpoints": [{
                "addresses": [at.ip().to_string()],
                "targetRef": { "kind": "Pod", "name": format!("greeter-{version}"), "namespace": "default" },
            }],
            "ports": [{ "name": "http", "port": at.port(), "protocol": "TCP" }],
        });
        (pod, slice)
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "greeter", "namespace": "default" },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    });
    cluster.apply(&service.to_string()).await;
    let address: [SocketAddr; 2] = [greeter("one"), greeter("two")];
    for (version, at) in ["v1", "v2"].into_iter().zip(address) {
        let (pod, slice) = endpoint(version, at);
        cluster.apply(&pod.to_string()).await;
        cluster.apply(&slice.to_string()).await;
    }

    let kubeconfig = cluster.kubeconfig("east", ADMIN_TOKEN);
    let data = tempfile::TempDir::new().unwrap();
    let mut mesh = Mesh { data: data.path(), client: None };
    let up =
        ["up", "--detach", "--no-sample", "-o", "json", "--write-status", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let output = mesh.weft(&up);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let client = mesh.command(&["run", "--name", "client", "--", "sh", "-c", "echo $http_proxy; exec sleep 600"]);
    let (proxy, client) = run(client);
    mesh.client = Some(client);

    let both = |answers: &[&str]| {
        let heard: Vec<String> = (0..20)
            .filter_map(|_| call(proxy, "http://greeter/"))
            .filter(|(status, _)| *status == 200)
            .map(|(_, body)| body)
            .collect();
        heard.len() == 20
            && answers.iter().all(|answer| heard.iter().any(|body| body == answer))
            && heard.iter().all(|body| answers.contains(&body.as_str()))
    };
    until("both versions by the service's name", || both(&["one", "two"]));
    let services = mesh.weft(&["services", "-o", "json"]);
    let services = String::from_utf8_lossy(&services.stdout).into_owned();
    assert!(services.contains("greeter.default.svc.cluster.local") && services.contains("east"), "{services}");

    cluster
        .apply(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: greeter\nspec:\n  \
             host: greeter\n  subsets:\n  - name: v2\n    labels: { version: v2 }\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: greeter\nspec:\n  \
             hosts: [greeter]\n  http:\n  - route:\n    - destination: { host: greeter, subset: v2 }\n",
        )
        .await;
    until("the second version alone", || both(&["two"]));
    let is_well = |status: &Value| {
        let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        status["observedGeneration"] == 1
            && !conditions.is_empty()
            && conditions.iter().all(|condition| condition["status"] == "True")
            && status["validationMessages"] == Value::Array(Vec::new())
    };
    let start = Instant::now();
    loop {
        // Each kind is read by itself: a first status may be of before the subset was known.
        let object = cluster.get(SERVICE).await.unwrap();
        if is_well(&object["status"]) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "no status, or a bad one: {object}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_policy_outlives_a_restart_of_the_control_plane_without_the_cluster() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    cluster.apply(STRICT).await;
    let kubeconfig = cluster.kubeconfig("east", ADMIN_TOKEN);
    let options = ["--no-sample", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let mut mesh = crate::mesh::Mesh::start(&options);
    let program = greeter("one").to_string();
    let agent = ["agent", "--service", "greeter", "--port", "8000", "--forward-to", &program];
    let mut agent = mesh.command(&agent).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let listing = |mesh: &crate::mesh::Mesh, words: &[&str]| -> Vec<Value> {
        let output = mesh.weft(&[words, &["-o", "json"]].concat());
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        listing["items"].as_array().cloned().unwrap_or_default()
    };
    until("the workload", || !listing(&mesh, &["endpoints", "greeter"]).is_empty());
    let address: IpAddr = listing(&mesh, &["endpoints", "greeter"])[0]["address"].as_str().unwrap().parse().unwrap();
    let at = SocketAddr::new(address, 8000);
    let plain = || crate::mesh::get(at, "greeter", "/", &[]).is_ok_and(|answer| answer.status == 200);
    // The port is open, and serves nobody who does not prove who he is.
    let refused = || TcpStream::connect(at).is_ok() && !plain();
    until("the sidecar's port", refused);

    cluster.relay.sever().await;
    mesh.take_down();
    mesh.bring_up(&options);
    until("the cluster to be told as out of reach", || {
        let states = listing(&mesh, &["registry", "status"]);
        states.iter().any(|state| state["name"] == "east" && state["state"] == "stale")
    });
    let synced = |proxy: &Value| {
        let listeners = &proxy["types"]["LDS"]["state"];
        proxy.to_string().contains("greeter") && listeners == "SYNCED"
    };
    until("the sidecar's return", || listing(&mesh, &["proxy-status"]).iter().any(synced));
    assert!(refused(), "the policy must stay in force");

    // The cluster's word counts once it is there.
    cluster.delete("/apis/security.istio.io/v1/namespaces/istio-system/peerauthentications/default").await;
    cluster.relay.mend();
    until("plaintext", plain);
    Command::new("kill").arg(agent.id().to_string()).status().unwrap();
    agent.wait().unwrap();
}

/// Starts a workload that says where its outbound proxy is.
pub fn run(mut command: Command) -> (SocketAddr, Child) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let address = line.trim().trim_start_matches("http://").trim_end_matches('/').parse();
    (address.unwrap_or_else(|_| panic!("no proxy in {line:?}")), child)
}
