//! The worst night: the control plane is gone, a sidecar dies meanwhile, certificates run out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::load::Load;
use crate::mesh::{Mesh, address, get, is_alive, kill, until};

#[test]
fn without_the_control_plane_traffic_goes_on_and_a_restarted_sidecar_serves() {
    let mut mesh = Mesh::start(&["--no-restart"]);
    until("all proxies synced", Duration::from_secs(60), || mesh.all_synced());
    let load = Load::start(mesh.gateway(), "/api/v1/products", 500);
    kill(mesh.control_plane());

    // A sidecar dies, is started again, and serves from its copy. Its own service is not under load.
    let details = mesh.pid_of("details-v1");
    kill(details);
    until("the end of the sidecar", Duration::from_secs(60), || !is_alive(details));
    let outcome = load.run_until(10_000);
    assert_eq!(outcome.failed(), 0, "{outcome:?}");

    // `weft up` starts what is missing: the control plane and the sidecar.
    mesh.bring_up(&["--no-restart"]);
    until("all proxies synced again", Duration::from_secs(60), || mesh.all_synced());
    until("details again", Duration::from_secs(60), || {
        mesh.call_from("productpage-v1", "http://details:9080/details/0", &[]).status == 200
    });
}

#[test]
fn a_sidecar_that_starts_without_a_control_plane_serves_from_its_copy() {
    let mesh = Mesh::start(&[]);
    until("all proxies synced", Duration::from_secs(60), || mesh.all_synced());
    // Stopped, not killed: nobody starts it again, and it answers nobody.
    let control_plane = mesh.control_plane().to_string();
    std::process::Command::new("kill").args(["-STOP", &control_plane]).status().unwrap();
    let details = mesh.pid_of("details-v1");
    kill(details);
    until("the end of the sidecar", Duration::from_secs(60), || !is_alive(details));
    until("details again", Duration::from_secs(120), || {
        let proxy = address(mesh.workload("productpage-v1")["http_proxy"].as_str().unwrap());
        get(proxy, "details:9080", "http://details:9080/details/0", &[]).is_ok_and(|answer| answer.status == 200)
    });
    std::process::Command::new("kill").args(["-CONT", &control_plane]).status().unwrap();
    until("all proxies synced again", Duration::from_secs(60), || mesh.all_synced());
}

#[test]
fn certificates_of_twenty_seconds_rotate_under_load_without_a_failed_request() {
    let mesh = Mesh::start(&["--cert-ttl", "20s"]);
    until("all proxies synced", Duration::from_secs(60), || mesh.all_synced());
    let serial = || {
        let admin = mesh.workload("productpage-v1")["admin"].as_str().unwrap().to_owned();
        let certs = get(address(&admin), "admin", "/certs", &[]).unwrap().json();
        certs["certificates"][0]["cert_chain"][0]["serial_number"].as_str().unwrap().to_owned()
    };
    let load = Load::start(mesh.gateway(), "/api/v1/products/0", 100);
    let mut serials = BTreeSet::new();
    until("six certificates", Duration::from_secs(180), || {
        serials.insert(serial());
        serials.len() >= 6
    });
    let outcome = load.run_until(5_000);
    assert_eq!(outcome.failed(), 0, "{outcome:?}");
}
