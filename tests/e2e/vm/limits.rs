//! What a token does not allow is refused, in words, also after a restart of the control plane.

use super::SOON;
use super::kit::{App, ControlPlane, GROUP, Vm};
use crate::mesh::until;

#[test]
fn addresses_ports_and_services_outside_the_token_are_refused() {
    let mut control_plane = ControlPlane::start(&[]);
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let refusal = |vm: &Vm, token: &str| {
        let (joined, told) = vm.try_join(token, &[]);
        assert!(!joined, "{told}");
        told
    };
    let vm = |name: &str| Vm::new(&control_plane, control_plane.dir(name), "127.7.8.7");
    let token = control_plane.token(&["--allow-service", "ratings"]);
    let told = refusal(&vm("a"), &token);
    assert!(told.contains("the join token allows the services ratings, not reviews"), "{told}");
    let token = control_plane.token(&["--allow-port", "22", "--allow-port", "80"]);
    let told = refusal(&vm("b"), &token);
    assert!(told.contains("the join token allows the ports 22, 80, not 9080"), "{told}");
    let token = control_plane.token(&["--allow-address", "10.0.0.0/8", "--allow-address", "127.7.8.8"]);
    let third = vm("c");
    let told = refusal(&third, &token);
    assert!(told.contains("the join token allows the addresses 10.0.0.0/8, 127.7.8.8/32, not 127.7.8.7"), "{told}");

    // The identity is there now, and its limits with it: a restart changes nothing, another address does.
    control_plane.take_down();
    control_plane.bring_up();
    let told = refusal(&third, "");
    assert!(told.contains("not 127.7.8.7"), "{told}");
    let moved = Vm::new(&control_plane, third.state.clone(), "127.7.8.8");
    let root = control_plane.dir("root");
    moved.join("", &["--root", root.to_str().unwrap()]);
}

#[test]
fn the_address_of_another_workload_is_refused_while_that_is_there() {
    let control_plane = ControlPlane::start(&["--registration-grace", "1s"]);
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let app = App::start();
    let mut first = Vm::new(&control_plane, control_plane.dir("first"), "127.7.10.7");
    first.join_and_start(&control_plane.token(&[]), &["--forward-to", &app.forward()]);
    until("its registration", SOON, || control_plane.endpoint().is_some());
    let second = Vm::new(&control_plane, control_plane.dir("second"), "127.7.10.7");
    let token = control_plane.token(&[]);
    let (joined, told) = second.try_join(&token, &[]);
    assert!(!joined && told.contains("127.7.10.7:9080 is registered by the workload reviews-127-7-10-7"), "{told}");
    first.leave();
    let root = control_plane.dir("root");
    second.join("", &["--root", root.to_str().unwrap()]);
}

#[test]
fn a_token_of_a_group_that_is_not_there_is_not_made() {
    let control_plane = ControlPlane::start(&[]);
    let output = std::process::Command::new(crate::mesh::weft())
        .args(["token", "create", "--workload-group", "reviews"])
        .env("WEFT_DATA_DIR", control_plane.dir(""))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let told = crate::mesh::text(&output);
    assert!(told.contains("there is no WorkloadGroup reviews in namespace default; apply it first"), "{told}");
}
