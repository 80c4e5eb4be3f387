//! The console in front of a mesh of 500 services, of which generated reports tell.

use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::fleet::{Fleet, Size};
use crate::scripts;

const SIZE: Size = Size { services: 500, copies: 1, calls: 10, namespaces: 10 };

#[test]
fn five_hundred_services_and_five_thousand_edges_can_be_worked_with() {
    let mesh = ControlPlane::start();
    let applied = mesh.send("POST", "/api/v1/_apply", &[], &SIZE.manifests());
    assert_eq!(applied.status, 200, "{applied:?}");
    let token = |namespace: u32| {
        let order = json!({ "namespace": SIZE.namespace(namespace), "service_account": "fleet" }).to_string();
        mesh.send("POST", "/api/v1/tokens", &[], &order).body["token"].as_str().unwrap().to_owned()
    };
    let tokens: Vec<String> = (0..SIZE.namespaces).map(token).collect();
    let _fleet = Fleet::start(SIZE, &mesh.xds, &tokens, mesh.data.path());
    let output = scripts::node("crowd.mjs", &[], &mesh.url, &mesh.token, mesh.data.path()).output().unwrap();
    let told = crate::mesh::text(&output);
    println!("{told}");
    assert!(output.status.success(), "{told}");
}
