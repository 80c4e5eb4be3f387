//! What the machine's own programs say: sshd of where it is reached, systemd of the unit that is written for it.

use std::fs;
use std::process::Command;

use super::kit::{ControlPlane, GROUP, Vm};
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
