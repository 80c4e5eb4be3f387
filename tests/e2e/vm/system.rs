//! What the machine's own programs say: sshd of where it is reached, systemd of the unit that is written for it.

use std::fs;
use std::process::Command;

use super::kit::{ControlPlane, GROUP, Vm, tree};
use super::machine::{Machine, control_plane, token};
use crate::mesh::{text, weft};

#[test]
fn capture_leaves_alone_every_port_that_sshd_says_it_has() {
    let tools = tempfile::TempDir::new().unwrap();
    let sshd = tools.path().join("sshd");
    fs::write(&sshd, "#!/bin/sh\necho port 2201\necho listenaddress [::]:2202\n").unwrap();
    fs::set_permissions(&sshd, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    for (capture, inbound) in
        [("--capture", "WEFT_INBOUND -p tcp --dport PORT -j RETURN"), ("--capture=nftables", "tcp dport PORT return")]
    {
        let output = Command::new(weft())
            .args(["join", "https://127.0.0.1:1", capture, "--capture-gid", "1337", "--dry-run"])
            .env("PATH", &path)
            .env("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 2203")
            .output()
            .unwrap();
        let told = text(&output);
        for port in ["22", "2201", "2202", "2203"] {
            assert!(told.contains(&inbound.replace("PORT", port)), "{port}: {told}");
        }
    }
}

#[test]
fn systemd_accepts_the_unit() {
    let control_plane = ControlPlane::start(&[]);
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    for (number, capture) in [&[][..], &["--capture"]].into_iter().enumerate() {
        let root = control_plane.dir(&format!("a machine, 50% full {number}"));
        let vm = Vm::new(&control_plane, root.join("var/lib/weft"), &format!("127.7.12.{}", 7 + number));
        vm.join(&control_plane.token(&[]), &[&["--root", root.to_str().unwrap()], capture].concat());
        let unit = root.join("etc/systemd/system/weft.service");
        // It looks at the file, and neither starts nor asks anything.
        let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output() else {
            eprintln!("skipped: systemd-analyze is not installed");
            return;
        };
        let told = text(&output);
        assert!(output.status.success() && !told.contains("weft.service"), "{told}");
    }
}

/// A machine on which systemd seems to run: what it would be asked stands in a file, and it answers `stop` so.
fn with_systemd(tag: &str, network: &str, stopped: u8) -> Option<Machine> {
    let machine = Machine::make(tag, network, 24)?;
    fs::create_dir_all(machine.root.path().join("run/systemd/system")).unwrap();
    let calls = machine.root.path().join("calls");
    fs::write(&calls, "").unwrap();
    machine.tool("systemctl", &format!("echo \"$*\" >> {}; [ $1 != stop ] || exit {stopped}", calls.display()));
    Some(machine)
}

fn leave(machine: &Machine) -> (bool, String) {
    machine.try_run(&[weft(), "leave", "--state-dir", machine.state().to_str().unwrap()])
}

#[test]
fn a_unit_below_another_root_is_no_business_of_the_systemd_that_runs() {
    let Some(machine) = with_systemd("y1", "10.214.31.", 1) else {
        eprintln!("skipped: network namespaces need root");
        return;
    };
    let (control_plane, port) = control_plane(&["web"], "0.0.0.0");
    let image = machine.root.path().join("image");
    let below = ["--root", image.to_str().unwrap()];
    let state = machine.state();
    let (url, token) = (format!("https://10.214.31.1:{port}"), token(&control_plane, "web"));
    let join = [weft(), "join", &url, "--token", &token, "--state-dir", state.to_str().unwrap()];
    let told = machine.run(&[&join[..], &below].concat());
    assert!(told.contains(&format!("to undo it: weft leave --state-dir {}\n", state.display())), "{told}");
    assert!(image.join("etc/systemd/system/weft.service").exists());
    let (left, told) = leave(&machine);
    assert!(left, "{told}");
    assert_eq!(fs::read_to_string(machine.root.path().join("calls")).unwrap(), "");
    assert!(!image.exists() && !state.exists());
}

#[test]
fn systemd_is_left_as_it_was_also_where_it_does_not_know_the_unit() {
    const NOT_LOADED: u8 = 5;
    for (tag, network, stopped) in [("y2", "10.214.32.", 0), ("y3", "10.214.33.", NOT_LOADED), ("y4", "10.214.34.", 1)]
    {
        let Some(machine) = with_systemd(tag, network, stopped) else {
            eprintln!("skipped: network namespaces need root");
            return;
        };
        if !std::path::Path::new("/etc/systemd/system").is_dir() {
            eprintln!("skipped: there is no /etc/systemd/system to stand in for");
            return;
        }
        let (control_plane, port) = control_plane(&["web"], "0.0.0.0");
        let units = machine.root.path().join("etc/systemd/system");
        let before = tree(&units);
        let state = machine.state();
        let (url, token) = (format!("https://{network}1:{port}"), token(&control_plane, "web"));
        machine.run(&[weft(), "join", &url, "--token", &token, "--state-dir", state.to_str().unwrap()]);
        assert!(units.join("weft.service").exists());
        let calls = machine.root.path().join("calls");
        assert_eq!(fs::read_to_string(&calls).unwrap(), "daemon-reload\nrestart weft.service\n");
        fs::write(&calls, "").unwrap();
        let (left, told) = leave(&machine);
        assert!(left, "{told}");
        assert_eq!(fs::read_to_string(&calls).unwrap(), "stop weft.service\ndaemon-reload\n");
        assert_eq!(tree(&units), before);
        assert!(!state.exists() && !units.join("multi-user.target.wants").exists());
    }
}
