//! How fresh what is read is, beside another who writes to the same store.

use galley::{Author, Galley, GalleyOptions};

use super::*;

#[tokio::test]
async fn a_consistent_read_shows_what_another_control_plane_just_wrote() {
    let mesh = Mesh::start().await;
    let options =
        GalleyOptions { store: mesh.state.store.clone(), directories: Vec::new(), domain: "cluster.local".into() };
    let other = Galley::open(options).await.unwrap();
    let author = Author { name: "other".into(), message: String::new(), expecting: None };
    other.apply(&rule("a").to_string(), "x", author).await.unwrap();

    assert_eq!(mesh.get(PATH).await.0, StatusCode::NOT_FOUND, "nothing is followed here");
    assert_eq!(mesh.get(&format!("{PATH}?stale")).await.0, StatusCode::NOT_FOUND);
    let (status, read) = mesh.get(&format!("{PATH}?consistent")).await;
    assert_eq!((status, &read["object"]["spec"]["host"]), (StatusCode::OK, &json!("a")), "{read}");
    let (_, list) = mesh.get("/api/v1/destinationrules?consistent=true").await;
    assert_eq!(list["total"], 1, "{list}");
}

#[tokio::test]
async fn a_stale_read_says_how_old_it_may_be() {
    let mesh = Mesh::start().await;
    for (path, told) in [("/api/v1/destinationrules?stale", Some("0")), ("/api/v1/destinationrules", None)] {
        let answer = mesh.answer(mesh.request("GET", path).body(Body::empty()).unwrap()).await;
        let contact = answer.headers().get("x-consul-lastcontact").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status(), contact), (StatusCode::OK, told), "{path}");
    }
}

#[tokio::test]
async fn what_excludes_each_other_or_is_no_configuration_is_refused() {
    let mesh = Mesh::start().await;
    for wrong in ["destinationrules?stale&consistent", "destinationrules?stale=maybe", "services?consistent"] {
        let (status, problem) = mesh.get(&format!("/api/v1/{wrong}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
    }
}
