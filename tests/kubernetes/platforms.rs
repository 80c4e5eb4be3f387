//! One Bookinfo on three platforms: productpage on a machine with an agent, reviews v1 in a real Consul, v2 in a
//! cluster. Callers know one hostname, and rules reach across.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::TestCluster;
use crate::consul::Server as Consul;
use crate::end_to_end::{own_address, run};
use crate::load::Load;
use crate::mesh::{Mesh, get, until, weft};
use crate::server::ADMIN_TOKEN;
use crate::workload::machine;

/// Consul's endpoints before all others, whoever fails is left out for a while, and the gateway has a way to reviews of its own.
const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 100}
    loadBalancer:
      localityLbSetting:
        failoverPriority: [topology.kubernetes.io/region=dc1]
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews-from-outside}
spec:
  hosts: [reviews.example]
  gateways: [bookinfo-gateway]
  http:
  - route: [{destination: {host: reviews, port: {number: 9080}}}]
    retries: {attempts: 3, retryOn: 'connect-failure,refused-stream,reset,5xx'}
";

/// Three of four requests to Consul, one to the cluster; one user always to the cluster.
const WEIGHTS: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 75}
    - {destination: {host: reviews, subset: v2}, weight: 25}
";

const PATIENCE: Duration = Duration::from_secs(60);

/// A program of the sample without a sidecar; it ends with the test.
struct Plain(Child);

impl Plain {
    fn reviews(version: &str, at: SocketAddr) -> Self {
        let mut command = Command::new(weft());
        command.args(["sample", "bookinfo", "reviews", "--version", version, "--listen", &at.to_string()]);
        // Nobody has ratings here, and finding that out should take no time.
        command.args(["--ratings", "http://127.0.0.1:9"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let plain = Self(process);
        until("reviews", PATIENCE, || get(at, "reviews", "/health", &[]).is_ok_and(|answer| answer.status == 200));
        plain
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A workload of the mesh and its program; both end with the test.
struct Joined(Child);

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A port of this test's own outside of loopback. The system hands out those from 32768 on, to whoever comes first.
pub fn own_port() -> SocketAddr {
    SocketAddr::new(own_address(), 20_000 + (std::process::id() % 10_000) as u16)
}

/// Service, pod and slice of reviews v2.
async fn put_into(cluster: &TestCluster, at: SocketAddr) {
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "reviews", "namespace": "default" },
            "spec": { "ports": [{ "name": "http", "port": 9080 }] },
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "reviews-v2", "namespace": "default", "labels": { "app": "reviews", "version": "v2" } },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "reviews-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "reviews" },
            },
            "endpoints": [{
                "addresses": [at.ip().to_string()],
                "targetRef": { "kind": "Pod", "name": "reviews-v2", "namespace": "default" },
            }],
            "ports": [{ "name": "http", "port": at.port(), "protocol": "TCP" }],
        }),
    ];
    for object in objects {
        cluster.apply(&object.to_string()).await;
    }
}

/// Who answered, by the name that reviews gives itself; nothing where nobody did.
pub fn pod(body: &str) -> String {
    let page: Value = serde_json::from_str(body).unwrap_or_default();
    page["podname"].as_str().unwrap_or_default().to_owned()
}

pub fn items(mesh: &Mesh, arguments: &[&str]) -> Vec<Value> {
    let listing: Value = serde_json::from_str(&mesh.ok(arguments)).unwrap();
    listing["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_on_two_platforms_is_called_from_a_third() {
    let consul = Consul::start();
    let in_consul = SocketAddr::from((consul.address, 9080));
    let mut v1 = Plain::reviews("v1", in_consul);
    let settings = json!({ "Port": 9080, "Meta": { "protocol": "http", "version": "v1" }, "Check": null });
    consul.register("reviews", "reviews-v1", &consul.address.to_string(), settings);

    let cluster = TestCluster::start().await;
    let in_cluster = own_port();
    let _v2 = Plain::reviews("v2", in_cluster);
    put_into(&cluster, in_cluster).await;

    let kubeconfig = format!("east=kubernetes:{}", cluster.kubeconfig("context", ADMIN_TOKEN).display());
    let mesh = Mesh::start(&["--no-sample", "--consul", &consul.url(), "--registry", &kubeconfig]);
    mesh.apply(RULES);
    mesh.apply_example("bookinfo-gateway");
    let application = machine(7).to_string();
    let program = format!("echo $http_proxy; exec {} sample bookinfo productpage --listen {application} >&2", weft());
    let arguments = ["run", "--service", "productpage", "--port", "9080", "--forward-to", &application];
    let (proxy, productpage) = run(mesh.command(&[&arguments[..], &["--", "sh", "-c", &program]].concat()));
    let _productpage = Joined(productpage);

    // One host, and each endpoint with its platform.
    let by_platform = || items(&mesh, &["endpoints", "reviews", "--by-platform", "-o", "json"]);
    let healthy = |platform: &str| by_platform().iter().any(|c| c["platform"] == platform && c["healthy"] == 1);
    until("reviews on both platforms", PATIENCE, || healthy("consul") && healthy("kubernetes"));
    let is_synced = |name: &str| {
        let registries = items(&mesh, &["registry", "status", "-o", "json"]);
        registries.iter().any(|registry| registry["name"] == name && registry["state"] == "synced")
    };
    until("both registries in step", PATIENCE, || is_synced("consul") && is_synced("east"));

    // Weights and headers choose between the platforms.
    mesh.apply(WEIGHTS);
    let ask = |headers: &[(&str, &str)]| {
        let answer = get(proxy, "reviews:9080", "http://reviews:9080/reviews/0", headers);
        answer.ok().filter(|answer| answer.status == 200).map(|answer| pod(&answer.body)).unwrap_or_default()
    };
    let jason = || (0..10).all(|_| ask(&[("end-user", "jason")]) == "reviews-v2");
    until("the rule for jason", PATIENCE, jason);
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    (0..200).for_each(|_| *heard.entry(ask(&[])).or_default() += 1);
    // 150 of 200 are expected, with a standard deviation of 6.
    let v1_heard = heard.get("reviews-v1").copied().unwrap_or(0);
    assert!((115..=185).contains(&v1_heard) && heard.len() == 2, "{heard:?}");
    let page = || get(mesh.gateway(), "bookinfo.example", "/api/v1/products/0/reviews", &[]);
    until("the page through the gateway", PATIENCE, || page().is_ok_and(|answer| answer.status == 200));

    // All that Consul has dies, and is then taken out of Consul.
    mesh.ok(&["delete", "virtualservice", "reviews"]);
    let outside = || get(mesh.gateway(), "reviews.example", "/reviews/0", &[]).map(|answer| pod(&answer.body));
    until("Consul's through the gateway", PATIENCE, || outside().is_ok_and(|pod| pod == "reviews-v1"));
    // The control plane knows of an endpoint before it has told the proxies.
    let admin = SocketAddr::new(mesh.gateway().ip(), 15000);
    let known = || get(admin, "admin", "/clusters", &[]).map(|clusters| clusters.body).unwrap_or_default();
    until("the gateway to know both", PATIENCE, || {
        [in_consul, in_cluster].iter().all(|endpoint| known().contains(&format!("{endpoint}::")))
    });
    let load = Load::start_for(mesh.gateway(), "reviews.example", "/reviews/0", 300);
    assert!((0..50).all(|_| outside().is_ok_and(|pod| pod == "reviews-v1")), "the preferred platform serves all");
    let died = Instant::now();
    v1.kill();
    consul.deregister("reviews-v1");
    until("the cluster's", PATIENCE, || outside().is_ok_and(|pod| pod == "reviews-v2"));
    println!("traffic moved after {:?}", died.elapsed());
    until("Consul's endpoint to go", PATIENCE, || !healthy("consul"));
    until("the cluster's alone", PATIENCE, || (0..10).all(|_| ask(&[]) == "reviews-v2"));
    let outcome = load.run_until(1_000);
    assert!(outcome.failed() * 1_000 < outcome.total(), "{outcome:?}");
    println!("{outcome:?}");
}
