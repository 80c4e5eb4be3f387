//! The root of trust is replaced under load.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::load::Load;
use crate::mesh::{Mesh, text, until};

fn authority(mesh: &Mesh) -> Value {
    serde_json::from_str(&mesh.ok(&["ca", "status", "-o", "json"])).unwrap()
}

fn roots(mesh: &Mesh) -> Vec<String> {
    let authority = authority(mesh);
    authority["roots"].as_array().unwrap().iter().map(|root| root["fingerprint"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_root_is_replaced_under_load_without_a_failed_request() {
    let mesh = Mesh::start(&[]);
    until("all are in step", Duration::from_secs(60), || mesh.all_synced());
    let before = roots(&mesh);
    let load = Load::start(mesh.gateway(), "/api/v1/products/0/reviews", 50);

    // A sidecar that stands still is waited for, and named.
    let frozen = Pid::from_raw(mesh.pid_of("reviews-v2") as i32);
    kill(frozen, Signal::SIGSTOP).unwrap();
    mesh.ok(&["ca", "rotate", "--to", "distributed"]);
    let waiting = || authority(&mesh)["rotation"]["waiting"].as_array().unwrap().clone();
    until("only one is behind", Duration::from_secs(60), || waiting().len() == 1);
    let refused = mesh.weft(&["ca", "rotate", "--no-wait"]);
    kill(frozen, Signal::SIGCONT).unwrap();
    assert!(!refused.status.success());
    let told = text(&refused);
    assert!(told.contains("sa/bookinfo-reviews") && told.contains("--force"), "{told}");

    let told = mesh.ok(&["ca", "rotate"]);
    assert!(told.contains("signing: the new root signs") && told.contains("one root is trusted"), "{told}");
    let after = roots(&mesh);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    let outcome = load.run_until(1000);
    assert_eq!(outcome.failed(), 0, "{outcome:?}");
    // Whoever joins now joins under the new root.
    assert!(mesh.ok(&["token", "create", "--service-account", "late"]).trim().ends_with(&after[0]));
}
