//! The first minute: the mesh comes up, the page is there, it changes, it goes down and comes back as it was.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::mesh::{Mesh, is_alive, until, weft};

#[test]
fn the_sample_runs_goes_down_without_a_trace_and_comes_back_as_it_was() {
    let mut mesh = Mesh::start(&[]);
    let page = mesh.get("/productpage", &[]);
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("The Comedy of Errors") && page.body.contains("Reviewer1"), "{}", page.body);

    // The three versions of reviews take turns, and each shows its own stars.
    let mut colours = BTreeSet::new();
    until("all three versions of reviews", Duration::from_secs(60), || {
        let reviews = mesh.get("/api/v1/products/0/reviews", &[]).json();
        colours.insert(reviews["reviews"][0]["rating"]["color"].as_str().unwrap_or("none").to_owned());
        colours.len() == 3
    });
    assert_eq!(colours.into_iter().collect::<Vec<_>>(), ["black", "none", "red"]);

    // Every proxy is in step, and every workload is named with its addresses.
    until("all proxies synced", Duration::from_secs(60), || mesh.all_synced());
    let names: BTreeSet<_> =
        mesh.up["workloads"].as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap()).collect();
    let expected = ["details-v1", "productpage-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    let table = mesh.ok(&["services"]);
    assert!(table.contains("reviews.default.svc.cluster.local"), "{table}");

    // What an operator applied is there after a restart; the processes are not.
    mesh.apply_example("virtual-service-reviews-v3");
    let pids = mesh.processes();
    assert!(pids.len() >= 15, "only {pids:?} run");
    mesh.take_down();
    assert_eq!(mesh.processes(), [0u32; 0], "processes outlived weft down");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    mesh.bring_up(&[]);
    for _ in 0..10 {
        let reviews = mesh.get("/api/v1/products/0/reviews", &[]).json();
        assert_eq!(reviews["reviews"][0]["rating"]["color"], "red", "{reviews}");
    }
}

#[test]
fn a_mesh_whose_page_is_kept_from_callers_by_a_rule_comes_up_and_says_so() {
    let mesh = Mesh::start(&[]);
    mesh.apply(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: closed}\nspec:\n  \
         selector: {matchLabels: {app: productpage}}\n",
    );
    until("the rule", Duration::from_secs(60), || mesh.get("/productpage", &[]).status == 403);
    mesh.take_down();
    let up = mesh.weft(&["up", "--detach"]);
    let told = crate::mesh::text(&up);
    assert!(up.status.success() && told.contains("/productpage answers 403"), "{told}");
    assert_eq!(mesh.get("/productpage", &[]).status, 403);
}

#[test]
fn interrupting_it_stops_everything() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut up = std::process::Command::new(weft())
        .args(["up", "--no-sample"])
        .env("WEFT_DATA_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ready = dir.path().join("control-plane/address.json");
    until("the control plane", Duration::from_secs(60), || ready.exists());
    let address: serde_json::Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    let control_plane = address["pid"].as_u64().unwrap() as u32;
    assert!(is_alive(control_plane));
    std::process::Command::new("kill").args(["-INT", &up.id().to_string()]).status().unwrap();
    until("the end of weft up", Duration::from_secs(60), || up.try_wait().unwrap().is_some());
    assert!(!is_alive(control_plane), "the control plane outlived weft up");
}
