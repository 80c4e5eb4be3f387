//! Many who change the same at the same time: exactly one wins each round.

use std::sync::Barrier;

use serde_json::json;

use crate::control_plane::ControlPlane;

const PATH: &str = "/api/v1/destinationrules/default/contended";

fn rule(host: &str) -> String {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": { "name": "contended" }, "spec": { "host": host },
    })
    .to_string()
}

#[test]
fn of_many_writers_who_saw_the_same_revision_exactly_one_wins() {
    const WRITERS: usize = 8;
    let mesh = ControlPlane::start();
    let made = mesh.send("PUT", PATH, &[("if-none-match", "*")], &rule("start"));
    assert_eq!((made.status, &made.body["change"]), (201, &json!("created")), "{made:?}");
    let mut tag = made.header("etag").unwrap().to_owned();
    for round in 0..10 {
        let together = Barrier::new(WRITERS);
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let write = |writer: usize| {
                let (mesh, tag, together) = (&mesh, &tag, &together);
                scope.spawn(move || {
                    let body = rule(&format!("writer-{writer}-{round}"));
                    together.wait();
                    mesh.send("PUT", PATH, &[("if-match", tag)], &body).status
                })
            };
            let writers: Vec<_> = (0..WRITERS).map(write).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let won = statuses.iter().filter(|status| **status == 200).count();
        let lost = statuses.iter().filter(|status| **status == 412).count();
        assert_eq!((won, lost), (1, WRITERS - 1), "{statuses:?}");
        tag = mesh.send("GET", PATH, &[], "").header("etag").unwrap().to_owned();
    }
}
