//! One Bookinfo on three platforms, with mutual TLS throughout: productpage and details on a machine, reviews v1 in a
//! real Consul and v2 in a cluster, ratings on a machine and in Consul. Callers know one hostname of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::TestCluster;
use crate::consul::Server as Consul;
use crate::load::Load;
use crate::mesh::{Mesh, get, until};
use crate::platforms::{items, own_port, pod};
use crate::server::ADMIN_TOKEN;
use crate::workload::{Workload, machine};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Consul's endpoints before all others, whoever fails is left out for a while, and a request that lost its connection
/// is tried again.
pub const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: SERVICE}
spec:
  host: SERVICE
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
metadata: {name: SERVICE}
spec:
  hosts: [SERVICE]
  http:
  - route: [{destination: {host: SERVICE}}]
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

/// Service, service account's pod and slice of reviews v2: the pod says that a sidecar of the mesh is beside it.
pub async fn put_into(cluster: &TestCluster, at: SocketAddr) {
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "reviews", "namespace": "default" },
            "spec": { "ports": [{ "name": "http", "port": 9080, "targetPort": at.port() }] },
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "reviews-v2", "namespace": "default",
                "labels": { "app": "reviews", "version": "v2", "security.istio.io/tlsMode": "istio" },
            },
            "spec": { "serviceAccountName": "bookinfo-reviews", "containers": [{ "name": "app", "image": "app" }] },
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

pub fn put_into_consul(consul: &Consul, name: &str, workload: &Workload) {
    let (service, version) = name.split_once('-').unwrap();
    let meta = json!({ "protocol": "http", "version": version, "weft-identity": format!("bookinfo-{service}") });
    let settings = json!({ "Port": workload.at.port(), "Meta": meta, "Check": null });
    consul.register(service, name, &workload.at.ip().to_string(), settings);
}

#[tokio::test(flavor = "multi_thread")]
async fn bookinfo_on_three_platforms_is_one_mesh_with_mutual_tls_throughout() {
    let consul = Consul::start();
    let cluster = TestCluster::start().await;
    let kubeconfig = format!("east=kubernetes:{}", cluster.kubeconfig("context", ADMIN_TOKEN).display());
    let mesh = Mesh::start(&["--no-sample", "--consul", &consul.url(), "--registry", &kubeconfig]);
    mesh.apply_example("strict-mtls");
    mesh.apply_example("bookinfo-gateway");
    for service in ["reviews", "ratings"] {
        mesh.apply(&RULES.replace("SERVICE", service));
    }
    let productpage = Workload::start(&mesh, "productpage-v1", machine(0), false);
    let details = Workload::start(&mesh, "details-v1", machine(1), false);
    let ratings = Workload::start(&mesh, "ratings-v1", machine(2), false);
    let mut ratings_in_consul = Workload::start(&mesh, "ratings-v1-consul", machine(3), true);
    let mut v1 = Workload::start(&mesh, "reviews-v1", machine(4), true);
    let in_cluster = own_port();
    let v2 = Workload::start(&mesh, "reviews-v2", in_cluster, true);
    assert!(
        items(&mesh, &["endpoints", "reviews", "-o", "json"]).is_empty(),
        "no sidecar registers what Consul tells of"
    );
    put_into_consul(&consul, "reviews-v1", &v1);
    put_into_consul(&consul, "ratings-v1", &ratings_in_consul);
    put_into(&cluster, in_cluster).await;

    // One host each, on the platforms where it is.
    let healthy = |service: &str| -> BTreeMap<String, u64> {
        let counts = items(&mesh, &["endpoints", service, "--by-platform", "-o", "json"]);
        let count = |count: &Value| Some((count["platform"].as_str()?.to_owned(), count["healthy"].as_u64()?));
        counts.iter().filter_map(count).filter(|(_, healthy)| *healthy > 0).collect()
    };
    let on = |platforms: [&str; 2]| BTreeMap::from(platforms.map(|platform| (platform.to_owned(), 1)));
    until("reviews on two platforms", PATIENCE, || healthy("reviews") == on(["consul", "kubernetes"]));
    until("ratings on two platforms", PATIENCE, || healthy("ratings") == on(["consul", "vm"]));
    let hosts = || -> Vec<String> {
        items(&mesh, &["services", "-o", "json"])
            .iter()
            .filter_map(|service| Some(service["host"].as_str()?.to_owned()))
            .filter(|host| ["productpage", "details", "reviews", "ratings"].iter().any(|name| host.starts_with(name)))
            .collect()
    };
    let expected =
        ["details", "productpage", "ratings", "reviews"].map(|name| format!("{name}.default.svc.cluster.local"));
    // Each sidecar registers its service when it gets to it.
    until("one host of each service", PATIENCE, || hosts() == expected);

    // Mutual TLS throughout: nothing else is taken, and yet everything is reached.
    let all = [&productpage, &details, &ratings, &ratings_in_consul, &v1, &v2];
    for workload in all {
        until("mutual TLS alone", PATIENCE, || workload.is_strict());
    }
    let page = |path: &str| get(mesh.gateway(), "bookinfo.example", path, &[]);
    let works = |path: &str| page(path).is_ok_and(|answer| answer.status == 200);
    until("the page", PATIENCE, || works("/productpage") && works("/api/v1/products/0/reviews"));
    let shown = page("/productpage").unwrap().body;
    assert!(shown.contains("Reviewer1") && shown.contains("Publisher") && !shown.contains("Sorry"), "{shown}");

    // Weights and headers choose between the platforms.
    mesh.apply(WEIGHTS);
    let ask = |headers: &[(&str, &str)]| {
        let answer = get(productpage.proxy(), "reviews:9080", "http://reviews:9080/reviews/0", headers);
        answer.ok().filter(|answer| answer.status == 200).map(|answer| pod(&answer.body)).unwrap_or_default()
    };
    let jason = || (0..10).all(|_| ask(&[("end-user", "jason")]) == "reviews-v2");
    until("the rule for jason", PATIENCE, jason);
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    (0..200).for_each(|_| *heard.entry(ask(&[])).or_default() += 1);
    // 150 of 200 are expected, with a standard deviation of 6.
    let v1_heard = heard.get("reviews-v1").copied().unwrap_or(0);
    assert!((115..=185).contains(&v1_heard) && heard.len() == 2, "{heard:?}");
    // The stars of the cluster's reviews come from Consul while it has ratings.
    until("Consul's ratings to be asked", PATIENCE, || jason() && ratings_in_consul.served() > 0);

    // All that Consul has dies, and is then taken out of Consul.
    mesh.apply(&RULES.replace("SERVICE", "reviews"));
    until("Consul's alone", PATIENCE, || (0..20).all(|_| ask(&[]) == "reviews-v1"));
    let through = || page("/api/v1/products/0/reviews").map(|answer| pod(&answer.body));
    let load = Load::start_for(mesh.gateway(), "bookinfo.example", "/api/v1/products/0/reviews", 150);
    assert!((0..20).all(|_| through().is_ok_and(|pod| pod == "reviews-v1")), "the preferred platform serves all");
    let before = ratings.served();
    let died = Instant::now();
    v1.kill();
    ratings_in_consul.kill();
    consul.deregister("reviews-v1");
    consul.deregister("ratings-v1");
    until("the cluster's", PATIENCE, || through().is_ok_and(|pod| pod == "reviews-v2"));
    println!("traffic moved after {:?}", died.elapsed());
    until("Consul's endpoints to go", PATIENCE, || healthy("reviews").len() == 1 && healthy("ratings").len() == 1);
    until("the cluster's alone", PATIENCE, || (0..10).all(|_| ask(&[]) == "reviews-v2"));
    let outcome = load.run_until(1_500);
    println!("{outcome:?}");
    assert!(outcome.failed() * 1_000 < outcome.total(), "{outcome:?}");
    until("the machine's ratings to serve", PATIENCE, || ask(&[]) == "reviews-v2" && ratings.served() > before);
    let stars = page("/api/v1/products/0/reviews").unwrap().body;
    assert!(stars.contains("\"stars\"") && !stars.contains("error"), "{stars}");
    assert!([&productpage, &details, &ratings, &v2].iter().all(|workload| workload.is_strict()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_who_its_registry_says_gets_no_traffic() {
    let consul = Consul::start();
    let mesh = Mesh::start(&["--no-sample", "--consul", &consul.url()]);
    mesh.apply_example("strict-mtls");
    let caller = Workload::start(&mesh, "details-v1", machine(5), false);
    let ratings = Workload::start(&mesh, "ratings-v1", machine(6), true);
    let ask = || get(caller.proxy(), "ratings:9080", "http://ratings:9080/ratings/0", &[]).map(|answer| answer.status);
    let put = |identity: &str| {
        let meta = json!({ "protocol": "http", "weft-identity": identity });
        let settings = json!({ "Port": 9080, "Meta": meta, "Check": null });
        consul.register("ratings", "ratings-v1", &ratings.at.ip().to_string(), settings);
    };
    put("bookinfo-ratings");
    until("ratings", PATIENCE, || ask().is_ok_and(|status| status == 200));
    put("somebody-else");
    until("the refusal", PATIENCE, || ask().is_ok_and(|status| status == 503));
    put("bookinfo-ratings");
    until("ratings again", PATIENCE, || ask().is_ok_and(|status| status == 200));
}
