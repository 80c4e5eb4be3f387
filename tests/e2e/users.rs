//! Other users of the machine: a workload's way out is not theirs, and they cannot change its sidecar.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::mesh::{Mesh, address};

/// Runs nothing of the mesh.
const NOBODY: u32 = 65_534;

/// A request by curl, run as a user; the status and the body.
fn ask(user: u32, words: &[&str]) -> (u16, String) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "20", "-w", "\n%{http_code}"]).args(words).uid(user).current_dir("/");
    let output = String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned();
    let (body, status) = output.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn another_user_can_neither_call_as_a_workload_nor_change_its_sidecar() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: programs can be run as other users by root alone");
        return;
    }
    let mesh = Mesh::start(&[]);
    let workload = mesh.workload("productpage-v1");
    let way_out = workload["http_proxy"].as_str().unwrap();
    let call = |user| ask(user, &["--noproxy", "none", "--proxy", way_out, "http://ratings:9080/ratings/0"]);
    assert_eq!(call(0).0, 200);
    let (status, told) = call(NOBODY);
    assert_eq!(status, 403, "{told}");
    assert!(told.contains("user 65534 may not use this workload's proxy") && told.contains("--allow-user"), "{told}");

    let admin = format!("http://{}:15000", address(way_out).ip());
    let admin = |user, words: &[&str], path: &str| {
        ask(user, &[&["--noproxy", "*"], words, &[&*(admin.clone() + path)]].concat())
    };
    for path in ["/quitquitquit", "/logging?level=off", "/drain_listeners", "/healthcheck/fail"] {
        let (status, told) = admin(NOBODY, &["-X", "POST"], path);
        assert_eq!((status, told.contains("user 65534 may not")), (403, true), "{path}: {told}");
    }
    assert_eq!(admin(NOBODY, &[], "/ready").0, 200);
    assert_eq!(admin(0, &["-X", "POST"], "/healthcheck/ok").0, 200);
    assert_eq!(call(0).0, 200);
}
