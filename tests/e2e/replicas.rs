//! Two control planes on one etcd: what one is told the other knows, workloads of one are endpoints of both, and a
//! restart of etcd in between loses nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::authorities::cacerts;
use crate::control_plane::{ControlPlane, LIMIT};
use crate::etcd::Server;
use crate::mesh::{text, until};
use crate::process::Process;

#[test]
fn two_control_planes_on_one_etcd_are_one_mesh() {
    let mut server = Server::start();
    let (mut one, mut other) = (ControlPlane::new(), ControlPlane::new());
    let place = server.place();
    let store = ["--store", &*place];
    one.start(&store);

    // With a root of its own, a second one would sign what nobody verifies.
    let refused = other.prepared(&store).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("another root of trust"), "{}", text(&refused));
    std::fs::remove_dir_all(other.path().join("control-plane/ca")).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(one.path().join("control-plane/ca")).arg(other.path().join("control-plane"));
    assert!(copy.status().unwrap().success());
    other.start(&store);

    let applied = one.apply("first");
    assert!(applied.status.success(), "{}", text(&applied));
    let begun = Instant::now();
    until("the other control plane to know", LIMIT, || other.host() == "first");
    println!("the other control plane knew after at most {:?}", begun.elapsed());
    let revisions = || other.json(&["history", "-o", "json"])["items"].as_array().unwrap().len();
    until("the other control plane to know since when", LIMIT, || revisions() == 1);

    // A workload that is connected to one is an endpoint of both.
    let address = one.address();
    let xds = address["xds"].as_str().unwrap();
    let agent = one
        .command(&[
            "agent",
            "--service",
            "quotes",
            "--port",
            "9080",
            "--forward-to",
            "127.0.0.1:9",
            "--address",
            "127.0.99.7",
            "--control-plane",
            xds,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let agent = Process(agent.unwrap());
    until("the workload at one", LIMIT, || one.endpoints("quotes") == 1);
    until("the workload at the other", LIMIT, || other.endpoints("quotes") == 1);

    // etcd is away and comes back: what is told meanwhile waits for it.
    server.stop();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| one.apply("second"));
        server.run();
        let applied = waiting.join().unwrap();
        assert!(applied.status.success(), "{}", text(&applied));
    });
    for control_plane in [&one, &other] {
        until("each to know again", LIMIT, || {
            control_plane.host() == "second" && control_plane.endpoints("quotes") == 1
        });
    }
    drop(agent);
}

/// Files of an authority, in place of those that are there.
fn put(folder: &Path, from: &Path, roots: &[&Path]) {
    fs::create_dir_all(folder).unwrap();
    for name in ["ca-cert.pem", "ca-key.pem", "cert-chain.pem"] {
        fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    let roots = roots.iter().map(|root| fs::read_to_string(root.join("root-cert.pem")).unwrap());
    fs::write(folder.join("root-cert.pem"), roots.collect::<String>()).unwrap();
}

#[test]
fn control_planes_of_one_store_change_roots_step_by_step_and_none_goes_alone() {
    let (server, files) = (Server::start(), TempDir::new().unwrap());
    let [old, new, a, b] = ["old", "new", "a", "b"].map(|name| files.path().join(name));
    for folder in [&old, &new] {
        cacerts(folder, "basicConstraints=critical,CA:TRUE,pathlen:0");
    }
    let both = [old.as_path(), new.as_path()];
    put(&a, &old, &[&old]);
    put(&b, &old, &[&old]);
    let place = server.place();
    let (mut one, mut other) = (ControlPlane::new(), ControlPlane::new());
    let [of_a, of_b, of_new] =
        [&a, &b, &new].map(|folder| ["--store", &*place, "--cert-ttl", "20s", "--ca-dir", folder.to_str().unwrap()]);
    one.start(&of_a);
    let alone = ControlPlane::new();
    let refused = alone.prepared(&of_new).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("does not trust the root"), "{}", text(&refused));
    other.start(&of_b);

    // A workload that is connected to the other one.
    let address = other.address();
    let xds = address["xds"].as_str().unwrap();
    let served = ["agent", "--service", "quotes", "--port", "9080", "--forward-to", "127.0.0.1:9"];
    let mut agent = other.command(&[&served[..], &["--address", "127.0.99.8", "--control-plane", xds]].concat());
    let _agent = Process(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the workload", LIMIT, || one.endpoints("quotes") == 1);
    let told = |from: &ControlPlane| from.json(&["ca", "status", "-o", "json"]);
    let pin = |from: &ControlPlane| told(from)["roots"][0]["fingerprint"].clone();
    let count = |from: &ControlPlane| told(from)["roots"].as_array().unwrap().len();
    let waiting = |from: &ControlPlane| told(from)["rotation"]["waiting"].as_array().unwrap().len();
    let before = pin(&one);

    // The workload is told of the new root before it signs, whichever control plane it is connected to.
    let pending = |from: &ControlPlane| told(from)["rotation"]["pending"].as_str().unwrap_or_default().to_owned();
    put(&a, &new, &both);
    until("it is held back", LIMIT, || pending(&one).contains("put both roots into root-cert.pem first"));
    until("the workload is waited for", LIMIT, || waiting(&one) == 1);
    assert_eq!((pin(&one), count(&one)), (before.clone(), 1));
    put(&a, &old, &both);
    until("one trusts both", LIMIT, || count(&one) == 2 && pending(&one).is_empty());
    put(&a, &new, &both);
    until("it is held back", LIMIT, || pending(&one).contains("sa/quotes"));
    let problems = || text(&one.weft(&["check"]));
    until("the problem", LIMIT, || problems().contains("WFT1406"));
    assert_eq!((pin(&one), told(&one)["rotation"]["percent"].as_u64()), (before.clone(), Some(0)));
    put(&b, &old, &both);
    until("the new root signs at one", LIMIT, || pin(&one) != before && count(&one) == 2);
    let after = pin(&one);

    // The old one goes from one before the other stops to sign with it.
    put(&a, &new, &[&new]);
    let reason = "still has a certificate under the other root";
    until("it is held back", LIMIT, || pending(&one).contains(reason));
    assert_eq!(count(&one), 2);
    put(&b, &new, &both);
    until("one takes up the new root alone", LIMIT, || count(&one) == 1);
    until("all have followed", LIMIT, || pin(&other) == after && waiting(&other) == 0);
    put(&b, &new, &[&new]);
    until("the other does too", LIMIT, || count(&other) == 1);
    until("the workload is there", LIMIT, || one.endpoints("quotes") == 1 && other.endpoints("quotes") == 1);

    // Whoever ends in order is gone at once: a third one of another root need not wait to see that.
    one.stop();
    other.stop();
    let mut third = ControlPlane::new();
    put(&a, &old, &[&old]);
    third.start(&of_a);
    let log = fs::read_to_string(third.log()).unwrap();
    assert!(!log.contains("whether that control plane is still there"), "{log}");
}

#[test]
fn two_control_planes_on_one_etcd_change_roots_together() {
    let server = Server::start();
    let (mut one, mut other) = (ControlPlane::new(), ControlPlane::new());
    let place = server.place();
    let store = ["--store", &*place, "--cert-ttl", "20s"];
    one.start(&store);
    let ca = |of: &ControlPlane| of.path().join("control-plane/ca");
    fs::create_dir_all(ca(&other).parent().unwrap()).unwrap();
    let mut copy = Command::new("cp");
    assert!(copy.arg("-a").arg(ca(&one)).arg(ca(&other)).status().unwrap().success());
    other.start(&store);
    let address = other.address();
    let served = ["agent", "--service", "quotes", "--port", "9080", "--forward-to", "127.0.0.1:9", "--address"];
    let mut agent =
        other.command(&[&served[..], &["127.0.99.9", "--control-plane", address["xds"].as_str().unwrap()]].concat());
    let _agent = Process(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the workload", LIMIT, || one.endpoints("quotes") == 1);
    let told = |from: &ControlPlane| from.json(&["ca", "status", "-o", "json"]);
    let before = told(&one)["roots"][0]["fingerprint"].clone();

    one.ok(&["ca", "rotate", "--to", "distributed"]);
    until("the other one trusts both", LIMIT, || told(&other)["roots"].as_array().unwrap().len() == 2);
    // The workload hears of the new root from that one alone.
    let waiting = || told(&one)["rotation"]["waiting"].as_array().unwrap().len();
    until("the workload trusts both", LIMIT, || waiting() == 0);
    // One that is down meanwhile follows when it is back.
    other.stop();
    one.ok(&["ca", "rotate", "--to", "signing"]);
    other.start(&store);
    until("it has followed", LIMIT, || told(&other)["rotation"]["phase"] == "signing");
    let done = other.ok(&["ca", "rotate"]);
    assert!(done.contains("one root is trusted"), "{done}");
    let root = |from: &ControlPlane| told(from)["roots"].clone();
    until("one is there, too", LIMIT, || root(&one) == root(&other));
    let after = root(&one);
    assert!(after.as_array().unwrap().len() == 1 && after[0]["fingerprint"] != before, "{after}");
    until("the workload is there", LIMIT, || one.endpoints("quotes") == 1 && other.endpoints("quotes") == 1);
}

#[test]
fn a_copied_data_directory_is_told_at_both_control_planes() {
    let server = Server::start();
    let (mut one, mut other) = (ControlPlane::new(), ControlPlane::new());
    let place = server.place();
    let store = ["--store", &*place];
    one.start(&store);
    fs::create_dir_all(other.path().join("control-plane")).unwrap();
    for name in ["ca", "replica"] {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(one.path().join("control-plane").join(name)).arg(other.path().join("control-plane"));
        assert!(copy.status().unwrap().success());
    }
    other.start(&store);
    for control_plane in [&one, &other] {
        let words = "remove the file control-plane/replica from the copy";
        until("it is told", LIMIT, || control_plane.ok(&["ca", "status"]).contains(words));
        until("it is a problem", LIMIT, || text(&control_plane.weft(&["check"])).contains("WFT1409"));
    }
    other.stop();
    fs::remove_file(other.path().join("control-plane/replica")).unwrap();
    other.start(&store);
    for control_plane in [&one, &other] {
        until("all is well", LIMIT, || !text(&control_plane.weft(&["check"])).contains("WFT1409"));
    }
}
