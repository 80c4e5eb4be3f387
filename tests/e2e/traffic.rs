//! Istio's own Bookinfo tasks: shares, a user of one's own, faults, and how fast a change takes effect.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::mesh::{Mesh, until};

const SOON: Duration = Duration::from_secs(60);

/// Share of answers of reviews in percent that carry stars of this colour (`none`: no stars).
fn share(mesh: &Mesh, requests: u32, colour: &str) -> f64 {
    let hits = (0..requests).filter(|_| colour_of(mesh, &[]) == colour).count();
    100.0 * hits as f64 / f64::from(requests)
}

fn colour_of(mesh: &Mesh, headers: &[(&str, &str)]) -> String {
    let answer = mesh.call_from("productpage-v1", "http://reviews:9080/reviews/0", headers);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["reviews"][0]["rating"]["color"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn weights_users_and_faults_do_what_they_say() {
    let mesh = Mesh::start(&[]);

    // 90/10 between v1 (no stars) and v2 (black), within two points over 5,000 requests.
    mesh.apply_example("virtual-service-all-v1");
    mesh.apply_example("virtual-service-reviews-90-10");
    // Without any rule v2 has its share as well, and v3 too.
    until("the share of v2", SOON, || {
        let colours: BTreeSet<_> = (0..50).map(|_| colour_of(&mesh, &[])).collect();
        colours.contains("black") && !colours.contains("red")
    });
    let black = share(&mesh, 5000, "black");
    assert!((black - 10.0).abs() <= 2.0, "{black} % went to v2");

    // jason always lands on v2, everybody else on v3.
    mesh.apply_example("virtual-service-reviews-jason-v2-v3");
    until("everybody's version", SOON, || colour_of(&mesh, &[]) == "red");
    for _ in 0..100 {
        assert_eq!(colour_of(&mesh, &[("end-user", "jason")]), "black");
        assert_eq!(colour_of(&mesh, &[]), "red");
        assert_eq!(colour_of(&mesh, &[("end-user", "jasonx")]), "red");
    }

    // The abort hits jason's calls to ratings and nobody else's.
    mesh.apply_example("virtual-service-ratings-test-abort");
    let rating = |user: &[(&str, &str)]| mesh.call_from("reviews-v2", "http://ratings:9080/ratings/0", user);
    until("the abort", SOON, || rating(&[("end-user", "jason")]).status == 500);
    let aborted = rating(&[("end-user", "jason")]);
    assert_eq!((aborted.status, aborted.body.as_str()), (500, "fault filter abort"));
    assert_eq!(rating(&[]).status, 200);

    // The delay holds jason up for seven seconds; on the page his reviews time out, as Istio's task has it.
    mesh.apply_example("virtual-service-ratings-test-delay");
    let mut taken = Duration::ZERO;
    until("the end of the abort", SOON, || {
        let start = Instant::now();
        let answered = rating(&[("end-user", "jason")]).status == 200;
        taken = start.elapsed();
        answered
    });
    assert!(taken >= Duration::from_secs(7), "delayed by {taken:?} only");
    let start = Instant::now();
    assert_eq!(rating(&[]).status, 200);
    assert!(start.elapsed() < Duration::from_secs(7));

    for (example, colour) in [("virtual-service-all-v1", "none"), ("virtual-service-reviews-v3", "red")] {
        mesh.apply_example(example);
        let taken = until(colour, SOON, || colour_of(&mesh, &[]) == colour);
        println!("{example}: the first request that follows it came {taken:?} after it was applied");
    }
}

#[test]
fn metrics_carry_istios_labels_on_both_sides() {
    let mesh = Mesh::start(&[]);
    for _ in 0..20 {
        mesh.get("/productpage", &[]);
    }
    let metrics = |workload: &str| {
        let url = mesh.workload(workload)["metrics"].as_str().unwrap();
        let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
        crate::mesh::get(crate::mesh::address(url), "metrics", &path, &[]).unwrap().body
    };
    // A request is counted once its answer is gone.
    let tells = |workload: &str, wanted: &[&str]| {
        until(&format!("what {workload} counts of {wanted:?}"), SOON, || {
            let is =
                |line: &str| line.starts_with("istio_requests_total{") && wanted.iter().all(|part| line.contains(part));
            metrics(workload).lines().any(is)
        });
    };
    let wanted = [
        "reporter=\"source\"",
        "source_workload=\"productpage-v1\"",
        "destination_service=\"details.default.svc.cluster.local\"",
        "destination_workload=\"details-v1\"",
        "response_code=\"200\"",
        "request_protocol=\"http\"",
    ];
    tells("productpage-v1", &wanted);
    let wanted = [
        "reporter=\"destination\"",
        "source_workload=\"productpage-v1\"",
        "source_principal=\"spiffe://cluster.local/ns/default/sa/bookinfo-productpage\"",
        "destination_workload=\"details-v1\"",
        "destination_version=\"v1\"",
        "connection_security_policy=\"mutual_tls\"",
    ];
    tells("details-v1", &wanted);
}
