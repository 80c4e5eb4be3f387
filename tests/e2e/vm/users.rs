//! Other users of a machine that joined: its way out is the workload's.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::SOON;
use super::kit::{App, ControlPlane, GROUP, Vm};
use crate::mesh::until;

const WORKLOAD: u32 = 64_021;
const NAMED: u32 = 64_022;
const NOBODY: u32 = 64_023;

/// A request by curl, run as a user; the status and the body.
fn ask(user: u32, words: &[&str]) -> (u16, String) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "20", "-w", "\n%{http_code}"]).args(words).uid(user).current_dir("/");
    let output = String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned();
    let (body, status) = output.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn the_way_out_of_a_machine_is_for_the_workloads_users_and_those_who_are_named() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: programs can be run as other users by root alone");
        return;
    }
    let control_plane = ControlPlane::start(&[]);
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let (app, machine) = (App::start(), tempfile::TempDir::new().unwrap());
    let mut vm = Vm::new(&control_plane, machine.path().join("var/lib/weft"), "127.7.13.7");
    let (forward, socket) =
        (app.forward(), format!("--workload-socket={}/run/workload.sock", machine.path().display()));
    let (workload, named) = (WORKLOAD.to_string(), NAMED.to_string());
    let users = [&socket, "--workload-user", &workload, "--allow-user", &named];
    vm.join_and_start(&control_plane.token(&[]), &[&["--forward-to", &forward][..], &users].concat());
    let state = fs::read_to_string(vm.state.join("join.json")).unwrap();
    assert!(state.contains(&named), "{state}");

    let call = |user| {
        let proxy = format!("http://{}:15088", vm.address);
        ask(user, &["--noproxy", "none", "--proxy", &proxy, "http://reviews:9080/"])
    };
    until("a call by root", SOON, || call(0).0 == 200);
    for user in [WORKLOAD, NAMED] {
        assert_eq!(call(user).0, 200, "{user}");
    }
    let (status, told) = call(NOBODY);
    assert_eq!(status, 403, "{told}");
    assert!(told.contains("user 64023 may not") && told.contains("users 0 and 64021 and 64022 may"), "{told}");

    // Who calls as the workload does not change its proxy by that.
    let change = format!("http://{}:15000/healthcheck/ok", vm.address);
    let change = |user| ask(user, &["--noproxy", "*", "-X", "POST", &change]).0;
    assert_eq!([0, NAMED, WORKLOAD, NOBODY].map(change), [200, 200, 403, 403]);
}
