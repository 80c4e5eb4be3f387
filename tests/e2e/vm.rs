//! Machines that join with one command, and heal without a hand.

mod away;
mod capture;
mod dns;
mod expired_root;
mod killed;
pub mod kit;
mod limits;
mod machine;
mod namespace;
mod past;
mod reboot;
mod system;
mod users;

use std::fs;
use std::time::Duration;

use kit::{App, ControlPlane, GROUP, Vm, tree};

use crate::mesh::{text, until, weft};
use crate::ports::free;

pub const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_machine_joins_with_one_command_serves_and_leaves_without_a_trace() {
    let control_plane = ControlPlane::start(&["--registration-grace", "1h"]);
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let app = App::start();
    let machine = tempfile::TempDir::new().unwrap();
    fs::create_dir_all(machine.path().join("etc/systemd/system")).unwrap();
    fs::write(machine.path().join("etc/systemd/system/other.service"), "[Unit]\n").unwrap();
    let before = tree(machine.path());
    let mut vm = Vm::new(&control_plane, machine.path().join("var/lib/weft"), "127.7.1.7");

    let root = machine.path().to_str().unwrap().to_owned();
    let told = vm.join(&control_plane.token(&[]), &["--root", &root, "--forward-to", &app.forward()]);
    assert!(told.contains("joined as reviews-127-7-1-7 of the group reviews"), "{told}");
    assert!(told.contains("spiffe://cluster.local/ns/default/sa/bookinfo-reviews"), "{told}");
    assert!(told.contains("serves reviews.default on 127.7.1.7:9080"), "{told}");
    let unit = fs::read_to_string(machine.path().join("etc/systemd/system/weft.service")).unwrap();
    let state = vm.state.to_str().unwrap();
    assert!(unit.contains(&format!("ExecStart=\"{}\" agent --state-dir \"{state}\"", weft())), "{unit}");
    assert!(machine.path().join("etc/systemd/system/multi-user.target.wants/weft.service").is_symlink());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&vm.state).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);

    vm.start();
    until("a call through the machine's own proxy", SOON, || vm.calls("http://reviews:9080/"));
    let healthy = || control_plane.endpoint().is_some_and(|endpoint| endpoint["health"] == "healthy");
    until("its word that it serves", SOON, healthy);
    let endpoint = control_plane.endpoint().unwrap();
    assert_eq!(endpoint["address"], "127.7.1.7");
    assert_eq!(endpoint["labels"]["version"], "v1");
    assert_eq!(endpoint["locality"], "eu/a");
    assert_eq!(endpoint["weight"], 3);
    assert_eq!(endpoint["mtls"], true);

    // Joining again changes nothing, and needs no token.
    let joined = tree(machine.path());
    vm.join("", &["--root", &root, "--forward-to", &app.forward()]);
    let same = |(path, _): &&(String, Vec<u8>)| !path.contains("snapshot");
    assert!(tree(machine.path()).iter().filter(same).eq(joined.iter().filter(same)));

    let left = vm.leave();
    assert!(left.contains("left the mesh"), "{left}");
    assert_eq!(control_plane.endpoint(), None, "it is deregistered at once");
    vm.ended();
    let rest: Vec<String> = tree(machine.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(tree(machine.path()), before, "{rest:?}");
    assert!(vm.leave().contains("nothing has joined"));
}

#[test]
fn a_machine_whose_probe_fails_gets_no_traffic_until_it_succeeds() {
    let control_plane = ControlPlane::start(&[]);
    let app = App::start();
    app.answer(503);
    let probe = format!(
        "  probe:\n    periodSeconds: 1\n    failureThreshold: 1\n    httpGet: {{path: /health, port: {}}}\n",
        app.port
    );
    control_plane.mesh(&["apply", "-f", "-"], &format!("{GROUP}{probe}"));
    let mut vm = Vm::new(&control_plane, control_plane.dir("vm"), "127.7.2.7");
    vm.join_and_start(&control_plane.token(&[]), &["--forward-to", &app.forward()]);
    let health = |wanted: &str| {
        until(wanted, SOON, || control_plane.endpoint().is_some_and(|endpoint| endpoint["health"] == wanted));
    };
    health("unhealthy");
    app.answer(200);
    health("healthy");
    until("a call", SOON, || vm.calls("http://reviews:9080/"));
    app.answer(500);
    health("unhealthy");
    let table = control_plane.mesh(&["endpoints", "reviews"], "");
    assert!(table.contains("unhealthy"), "{table}");
}

#[test]
fn nonsense_is_refused_in_words() {
    let refused = |arguments: &[&str]| {
        let state = tempfile::TempDir::new().unwrap();
        let state = state.path().join("weft");
        let output = std::process::Command::new(weft())
            .args(["join", "--state-dir", state.to_str().unwrap()])
            .args(arguments)
            .env_remove("WEFT_TOKEN")
            .output()
            .unwrap();
        assert!(!output.status.success());
        text(&output)
    };
    let elsewhere = ["https://127.0.0.1:1", "--capture", "--capture-dns", "--listen-dns", "off"];
    assert!(refused(&elsewhere).contains("leave --listen-dns out"));
    assert!(refused(&["https://127.0.0.1:1", "--dry-run"]).contains("--capture"));
    assert!(refused(&["http://127.0.0.1:15012"]).contains("write it as https://HOST:15012"));
    assert!(refused(&["https://127.0.0.1:1", "--token", "weft_pat_a_b"]).contains("this is no join token"));
    assert!(refused(&["https://127.0.0.1:1"]).contains("give a join token"));
}

#[test]
fn whoever_joins_an_unreachable_control_plane_is_told_at_once_what_is_tried_and_why_it_fails() {
    let control_plane = ControlPlane::start(&[]);
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let token = control_plane.token(&[]);
    let nobody = free([127, 0, 0, 1]);
    let log = control_plane.dir("join.log");
    let (url, state) = (format!("https://{nobody}"), control_plane.dir("vm"));
    let join = ["join", &url, "--token", &token, "--state-dir", state.to_str().unwrap()];
    let mut joining = kit::Process::start(&[], &join, &control_plane.dir(""), &log);
    let told = || fs::read_to_string(&log).unwrap();
    until("why it fails", SOON, || told().contains("cannot be reached: ") && told().contains("; trying again for "));
    assert!(told().starts_with(&format!("asking the control plane at {url} for an identity\n")), "{}", told());
    assert!(!joining.has_ended());
}
