//! A workload of the cluster joins by the token of its service account, and needs no join token.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::TestCluster;
use crate::mesh::{Mesh, until};
use crate::process::Process;
use crate::server::ADMIN_TOKEN;
use crate::workload::spawn;

const ACCOUNT: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: reviews, namespace: default}
";
const SOON: Duration = Duration::from_secs(60);

fn sidecar(mesh: &Mesh, name: &str, token: &str) -> Process {
    let file = mesh.path().join(format!("{name}.token"));
    fs::write(&file, token).unwrap();
    let root = mesh.path().join("control-plane/ca/root.pem");
    let mut command = mesh.command(&["proxy", "--role", "sidecar", "--service-account", "reviews", "--name", name]);
    command.arg("--identity-token").arg(file).arg("--root-cert").arg(root);
    Process(spawn(command, mesh, name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_joins_by_its_service_account() {
    let cluster = TestCluster::start().await;
    cluster.apply(ACCOUNT).await;
    let for_us = cluster.token_for("default", "reviews", json!({ "audiences": ["istio-ca"] })).await;
    let for_others = cluster.token_for("default", "reviews", json!({ "audiences": ["vault"] })).await;
    let kubeconfig = cluster.kubeconfig("west", ADMIN_TOKEN);
    let mesh = Mesh::start(&["--no-sample", "--kubeconfig", kubeconfig.to_str().unwrap()]);

    let _joined = sidecar(&mesh, "reviews", &for_us);
    let told = || mesh.weft(&["cert", "reviews.default", "-o", "json"]).stdout;
    let chain = || serde_json::from_slice::<Value>(&told()).ok().filter(|told| told["holds"] == true);
    let mut held = None;
    until("its certificate", SOON, || {
        held = chain();
        held.is_some()
    });
    let id = "spiffe://cluster.local/ns/default/sa/reviews";
    assert_eq!(held.unwrap()["chain"][0]["names"], json!([id]));
    until("it is connected", SOON, || mesh.ok(&["proxy-status"]).contains("reviews.default"));

    for (name, token, why) in [("other", for_others.as_str(), "audience"), ("nobody", "no-token", "token")] {
        let mut refused = sidecar(&mesh, name, token);
        until("the refusal", SOON, || refused.0.try_wait().unwrap().is_some_and(|status| !status.success()));
        let log = mesh.log_of(name);
        let told = log.lines().find_map(|line| line.split_once("the cluster does not know the token: "));
        assert!(told.is_some_and(|(_, told)| told.contains(why)), "{log}");
    }
}
