//! Reboots, certificates that expired meanwhile, and control planes that were away for longer than those live.

use super::SOON;
use super::kit::{App, ControlPlane, GROUP, Vm};
use crate::mesh::until;

/// A machine that serves.
fn running(control_plane: &ControlPlane, address: &str, app: &App) -> Vm {
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let mut vm = Vm::new(control_plane, control_plane.dir("vm"), address);
    vm.join_and_start(&control_plane.token(&[]), &["--forward-to", &app.forward()]);
    serves(&vm);
    vm
}

fn serves(vm: &Vm) {
    until("a call", SOON, || vm.calls("http://reviews:9080/"));
}

#[test]
fn a_machine_whose_registration_ended_meanwhile_needs_no_token_to_come_back() {
    let control_plane = ControlPlane::start(&["--registration-grace", "1s"]);
    let app = App::start();
    let mut vm = running(&control_plane, "127.7.3.7", &app);
    vm.stop();
    until("the end of its registration", SOON, || control_plane.endpoint().is_none());
    vm.start();
    serves(&vm);
    // It serves from its copy already before it is registered anew.
    let healthy = || control_plane.endpoint().is_some_and(|endpoint| endpoint["health"] == "healthy");
    until("its registration", SOON, healthy);
}

#[test]
fn a_machine_that_is_stopped_takes_no_traffic_from_then_on_and_again_when_it_is_back() {
    let control_plane = ControlPlane::start(&["--registration-grace", "1h"]);
    let app = App::start();
    let mut vm = running(&control_plane, "127.7.11.7", &app);
    let health = || control_plane.endpoint().and_then(|endpoint| endpoint["health"].as_str().map(str::to_owned));
    until("it takes traffic", SOON, || health().as_deref() == Some("healthy"));
    vm.stop();
    until("its word", SOON, || health().as_deref() == Some("unhealthy"));
    vm.start();
    until("it takes traffic again", SOON, || health().as_deref() == Some("healthy"));
}

#[test]
fn a_machine_that_slept_longer_than_its_certificate_comes_back_by_its_key() {
    let mut control_plane = ControlPlane::start(&["--cert-ttl", "5s"]);
    let app = App::start();
    let mut vm = running(&control_plane, "127.7.4.7", &app);
    vm.stop();
    until("the end of the certificate", SOON, || vm.has_expired());
    vm.start();
    serves(&vm);
    until("the word of it", SOON, || control_plane.log().contains("came back with an expired certificate"));

    // A restart of the control plane forgets none of it, and who was evicted stays out.
    vm.stop();
    until("the end of the certificate", SOON, || vm.has_expired());
    control_plane.take_down();
    control_plane.bring_up();
    let tokens = control_plane.mesh(&["token", "list", "-o", "json"], "");
    let tokens: serde_json::Value = serde_json::from_str(&tokens).unwrap();
    let id = tokens["items"][0]["id"].as_str().unwrap().to_owned();
    let told = control_plane.mesh(&["token", "revoke", &id, "--evict"], "");
    assert!(told.contains("1 workloads evicted"), "{told}");
    vm.start();
    vm.ended();
    assert!(vm.log().contains("was evicted by an operator"), "{}", vm.log());
    assert_eq!(control_plane.endpoint(), None);
}

#[test]
fn an_expired_certificate_is_of_no_use_after_the_grace() {
    let control_plane = ControlPlane::start(&["--cert-ttl", "20s", "--rejoin-grace", "0s"]);
    let app = App::start();
    let mut vm = running(&control_plane, "127.7.5.7", &app);
    vm.stop();
    until("the end of the certificate", SOON, || vm.has_expired());
    vm.start();
    vm.ended();
    assert!(vm.log().contains("join again with a new token"), "{}", vm.log());
    // Which is all that it takes.
    vm.join_and_start(&control_plane.token(&[]), &["--forward-to", &app.forward()]);
    serves(&vm);
}

#[test]
fn a_control_plane_away_for_longer_than_the_certificates_live_is_found_again() {
    let mut control_plane = ControlPlane::start(&["--cert-ttl", "5s"]);
    let app = App::start();
    let mut vm = running(&control_plane, "127.7.6.7", &app);
    control_plane.take_down();
    until("the end of the certificate", SOON, || vm.has_expired());
    assert!(vm.is_running());
    control_plane.bring_up();
    until("a certificate for the expired one", SOON, || control_plane.log().contains(", expired for "));
    until("its connection", SOON, || control_plane.mesh(&["proxy-status"], "").contains("reviews-127-7-6-7"));
    serves(&vm);
    assert!(vm.is_running());
}

#[test]
fn a_machine_that_starts_before_the_control_plane_waits_for_it() {
    let mut control_plane = ControlPlane::start(&["--cert-ttl", "5s"]);
    let app = App::start();
    let mut vm = running(&control_plane, "127.7.7.7", &app);
    vm.stop();
    control_plane.take_down();
    until("the end of the certificate", SOON, || vm.has_expired());
    vm.start();
    until("its patience", SOON, || vm.log().contains("there is no valid identity yet"));
    control_plane.bring_up();
    serves(&vm);
}
