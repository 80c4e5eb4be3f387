//! What happens to configuration that is wrong, and to configuration that is right when the power goes.

use std::time::Duration;

use crate::mesh::{Mesh, kill, text, until};

const TO_V1: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: reviews
        subset: v1
";

#[test]
fn a_mistake_is_told_by_place_and_changes_nothing() {
    let mesh = Mesh::start(&[]);
    mesh.apply(TO_V1);
    let before = mesh.ok(&["get", "virtualservice", "reviews", "-o", "yaml"]);
    let cases = [
        (
            TO_V1.replace("subset: v1", "subst: v1"),
            vec!["<stdin>:11:9", "spec.http[0].route[0].destination.subst", "subset"],
        ),
        (
            TO_V1.replace("subset: v1", "subset: V_1"),
            vec!["<stdin>:11:", "spec.http[0].route[0].destination.subset", "V_1"],
        ),
        (TO_V1[..TO_V1.len() - 40].to_owned() + "\n  - route: [", vec!["<stdin>"]),
    ];
    for (yaml, parts) in cases {
        let output = mesh.pipe(&["apply", "-f", "-"], &yaml);
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
        for part in parts {
            assert!(text(&output).contains(part), "{part:?} is not told in: {}", text(&output));
        }
        assert_eq!(mesh.ok(&["get", "virtualservice", "reviews", "-o", "yaml"]), before);
    }
    let reviews = mesh.call_from("productpage-v1", "http://reviews:9080/reviews/0", &[]);
    assert_eq!(reviews.status, 200);
}

#[test]
fn a_directory_is_followed_and_a_broken_file_keeps_what_it_last_said() {
    let config = tempfile::TempDir::new().unwrap();
    let file = config.path().join("reviews.yaml");
    let rules =
        std::fs::read_to_string(crate::mesh::repository("examples/bookinfo/destination-rule-all.yaml")).unwrap();
    std::fs::write(config.path().join("rules.yaml"), rules).unwrap();
    // Nobody sees half a file.
    let put = |text: &str| {
        let next = config.path().join(".next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &file).unwrap();
    };
    put(TO_V1);
    let mesh = Mesh::start(&["--config", config.path().to_str().unwrap()]);
    let colour = || {
        let answer = mesh.call_from("productpage-v1", "http://reviews:9080/reviews/0", &[]);
        answer.json()["reviews"][0]["rating"]["color"].as_str().unwrap_or("none").to_owned()
    };
    until("v1 by the file", Duration::from_secs(60), || (0..10).all(|_| colour() == "none"));
    put(&TO_V1.replace("subset: v1", "subset: v3"));
    until("v3 by the changed file", Duration::from_secs(60), || (0..10).all(|_| colour() == "red"));
    put("apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: [");
    until("the problem", Duration::from_secs(60), || text(&mesh.weft(&["check"])).contains("reviews.yaml"));
    let kept = mesh.ok(&["get", "virtualservice", "reviews", "-o", "yaml"]);
    assert!(kept.contains("v3"), "{kept}");
    assert!((0..20).all(|_| colour() == "red"));
}

#[test]
fn what_was_applied_survives_a_kill_at_once() {
    let mesh = Mesh::start(&[]);
    mesh.apply_example("virtual-service-reviews-v3");
    kill(mesh.control_plane());
    until("the control plane again", Duration::from_secs(60), || {
        mesh.weft(&["get", "virtualservice", "reviews", "-o", "yaml"]).status.success()
    });
    assert!(mesh.ok(&["get", "virtualservice", "reviews", "-o", "yaml"]).contains("subset: v3"));
}
