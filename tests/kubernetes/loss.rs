//! Bookinfo's reviews on three platforms: in a real Consul, in a cluster, and on a machine that joined. Each in turn serves
//! all, and then dies without a word to its registry.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;

use crate::bookinfo::{PATIENCE, RULES, put_into, put_into_consul};
use crate::cluster::TestCluster;
use crate::consul::Server as Consul;
use crate::load::Load;
use crate::mesh::{Mesh, get, until};
use crate::platforms::{items, own_port, pod};
use crate::server::ADMIN_TOKEN;
use crate::workload::{Workload, machine};

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_any_platform_moves_its_traffic_to_the_others() {
    let consul = Consul::start();
    let cluster = TestCluster::start().await;
    let kubeconfig = format!("east=kubernetes:{}", cluster.kubeconfig("context", ADMIN_TOKEN).display());
    let mesh = Mesh::start(&["--no-sample", "--consul", &consul.url(), "--registry", &kubeconfig]);
    mesh.apply_example("strict-mtls");
    mesh.apply_example("bookinfo-gateway");
    let productpage = Workload::start(&mesh, "productpage-v1", machine(0), false);
    let ratings = Workload::join(&mesh, "ratings-v1", machine(1));
    let v1 = Workload::start(&mesh, "reviews-v1", machine(2), true);
    let in_cluster = own_port();
    let v2 = Workload::start(&mesh, "reviews-v2", in_cluster, true);
    let v3 = Workload::join(&mesh, "reviews-v3", machine(3));
    let spare = Workload::start(&mesh, "reviews-v1-spare", machine(4), true);
    put_into_consul(&consul, "reviews-v1", &v1);
    put_into(&cluster, in_cluster).await;
    let meta = json!({ "protocol": "http", "version": "spare", "weft-identity": "bookinfo-reviews" });
    let settings = json!({ "Port": spare.at.port(), "Meta": meta, "Check": null });
    consul.register("reviews", "reviews-spare", &spare.at.ip().to_string(), settings);
    let endpoints = || items(&mesh, &["endpoints", "reviews", "-o", "json"]).len();
    until("all of reviews", PATIENCE, || endpoints() == 4);

    let path = "/api/v1/products/0/reviews";
    let through = || get(mesh.gateway(), "bookinfo.example", path, &[]).map(|answer| pod(&answer.body));
    for (platform, version, mut workload) in [("consul", "v1", v1), ("kubernetes", "v2", v2), ("vm", "v3", v3)] {
        let preferred = RULES.replace("topology.kubernetes.io/region=dc1", &format!("version={version}"));
        mesh.apply(&preferred.replace("SERVICE", "reviews"));
        let mine = format!("reviews-{version}");
        until(&format!("{mine} before all others"), PATIENCE, || prefers(&productpage, workload.at));
        until(&mine, PATIENCE, || (0..20).all(|_| through().is_ok_and(|pod| pod == mine)));
        let load = Load::start_for(mesh.gateway(), "bookinfo.example", path, 150);
        assert!((0..20).all(|_| through().is_ok_and(|pod| pod == mine)), "{platform} serves all");
        let died = Instant::now();
        workload.kill();
        until("the others", PATIENCE, || through().is_ok_and(|pod| pod != mine));
        println!("{platform}: traffic moved after {:?}", died.elapsed());
        let outcome = load.run_until(1_500);
        println!("{platform}: {outcome:?}");
        assert!(outcome.failed() * 1_000 < outcome.total(), "{platform}: {outcome:?}");
        // Who died is not in the way of the next turn.
        match platform {
            "consul" => consul.deregister("reviews-v1"),
            "kubernetes" => {
                cluster.delete("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/reviews-1").await
            }
            _ => break,
        }
        until("the end of what died", PATIENCE, || !knows(&productpage, workload.at));
    }
    assert!([&productpage, &ratings, &spare].iter().all(|workload| workload.is_strict()));
}

fn knows(caller: &Workload, at: SocketAddr) -> bool {
    caller.hosts_of_reviews().iter().any(|line| line.contains(&format!("::{at}::")))
}

/// Whether a caller has taken in that this host goes before all others, and would send it requests.
fn prefers(caller: &Workload, at: SocketAddr) -> bool {
    let lines = caller.hosts_of_reviews();
    let told = |what: &str| lines.iter().any(|line| line.ends_with(&format!("::{at}::{what}")));
    let first = lines.iter().filter(|line| line.ends_with("::priority::0")).count();
    told("priority::0") && told("health_flags::healthy") && first == 1
}
