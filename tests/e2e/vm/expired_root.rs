//! A root of trust that expired under a mesh: what the operator types, and that nobody joins again.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::SOON;
use super::kit::{App, ControlPlane, GROUP, Vm};
use crate::authorities::openssl;
use crate::mesh::{text, until, weft};

/// Long enough to join below it on a machine that is busy.
const LIFE: Duration = Duration::from_secs(75);

/// A root as the control plane makes it, but for its dates.
fn root(folder: &Path, ends: SystemTime) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "weft root of a short life");
    params.subject_alt_names = vec![SanType::URI("spiffe://cluster.local".try_into().unwrap())];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (SystemTime::now() - Duration::from_secs(300)).into();
    params.not_after = ends.into();
    fs::write(folder.join("root.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join("root-key.pem"), key.serialize_pem()).unwrap();
}

fn join(control_plane: &ControlPlane, app: &App, address: &str) -> Vm {
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let mut vm = Vm::new(control_plane, control_plane.dir("vm"), address);
    vm.join_and_start(&control_plane.token(&[]), &["--forward-to", &app.forward()]);
    until("a call", SOON, || vm.calls("http://reviews:9080/"));
    vm
}

#[test]
fn a_mesh_whose_root_expired_is_back_after_one_command() {
    let mut control_plane = ControlPlane::start(&["--cert-ttl", "5s"]);
    control_plane.take_down();
    let ca = control_plane.dir("control-plane/ca");
    fs::remove_dir_all(&ca).unwrap();
    fs::create_dir(&ca).unwrap();
    let ends = SystemTime::now() + LIFE;
    root(&ca, ends);
    control_plane.bring_up();
    let app = App::start();
    let mut vm = join(&control_plane, &app, "127.7.21.7");
    assert!(SystemTime::now() < ends, "this machine is too slow for the test");
    until("the root's end", LIFE + SOON, || SystemTime::now() > ends);
    until("the end of all certificates", SOON, || vm.has_expired());
    until("the control plane's word", SOON, || control_plane.log().contains("`weft ca renew-root`"));

    let told = control_plane.mesh(&["ca", "renew-root"], "");
    assert!(told.contains("root.pem holds for"), "{told}");
    until("its certificate", SOON, || !vm.has_expired());
    until("its connection", SOON, || control_plane.mesh(&["proxy-status"], "").contains("reviews-127-7-21-7"));
    until("a call", SOON, || vm.calls("http://reviews:9080/"));
    assert!(vm.is_running(), "the agent was started once");
    let again = Command::new(weft()).args(["ca", "renew-root"]).env("WEFT_DATA_DIR", control_plane.dir("")).output();
    let again = again.unwrap();
    assert!(!again.status.success() && text(&again).contains("has not expired"), "{}", text(&again));
    // Who joins now trusts the new certificate of the root; and a restart finds all as it is.
    control_plane.take_down();
    control_plane.bring_up();
    until("its connection", SOON, || control_plane.mesh(&["proxy-status"], "").contains("reviews-127-7-21-7"));
    until("a call", SOON, || vm.calls("http://reviews:9080/"));
}

#[test]
fn a_root_from_files_that_expired_is_back_once_files_that_hold_are_there() {
    let files = tempfile::TempDir::new().unwrap();
    let ends = SystemTime::now() + LIFE;
    root(files.path(), ends);
    // It signs by itself; an authority between the two goes the same way.
    let name = |name: &str| files.path().join(name);
    fs::rename(name("root-key.pem"), name("ca-key.pem")).unwrap();
    fs::rename(name("root.pem"), name("root-cert.pem")).unwrap();
    fs::copy(name("root-cert.pem"), name("ca-cert.pem")).unwrap();
    let control_plane = ControlPlane::start(&["--cert-ttl", "5s", "--ca-dir", files.path().to_str().unwrap()]);
    let app = App::start();
    let mut vm = join(&control_plane, &app, "127.7.22.7");
    assert!(SystemTime::now() < ends, "this machine is too slow for the test");
    until("the root's end", LIFE + SOON, || SystemTime::now() > ends);
    until("the end of all certificates", SOON, || vm.has_expired());
    let again = ["x509", "-in", "root-cert.pem", "-signkey", "ca-key.pem", "-days", "30", "-out", "new.pem"];
    openssl(files.path(), &again);
    fs::copy(name("new.pem"), name("ca-cert.pem")).unwrap();
    fs::rename(name("new.pem"), name("root-cert.pem")).unwrap();
    until("its certificate", SOON, || !vm.has_expired());
    until("a call", SOON, || vm.calls("http://reviews:9080/"));
    assert!(vm.is_running(), "the agent was started once");
}
