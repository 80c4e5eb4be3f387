//! How requests are worded.

use super::*;

fn session() -> (Session, mpsc::UnboundedReceiver<DiscoveryRequest>) {
    let (requests, sent) = mpsc::unbounded_channel();
    (Session::new(Requests::Sotw(requests), Node::default(), false, oneshot::channel().0), sent)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn new_names_wait_for_the_answer_that_is_due() {
    let (mut session, mut sent) = session();
    session.subscribe(Kind::Endpoint, set(&["a"]), BTreeMap::new, "", false);
    assert_eq!(sent.try_recv().unwrap().resource_names, ["a"]);
    // A request with the nonce before would be taken for outdated, and one with the new nonce for an answer.
    let gone = session.subscribe(Kind::Endpoint, set(&["b"]), BTreeMap::new, "", true);
    assert_eq!(gone, ["a"]);
    assert!(sent.try_recv().is_err());
    session.answer(Kind::Endpoint, "n".into(), "1", None);
    let answer = sent.try_recv().unwrap();
    assert_eq!(
        (answer.resource_names, answer.response_nonce, answer.version_info),
        (vec!["b".into()], "n".into(), "1".into())
    );
    // Envoy's default is to name the node each time.
    assert!(answer.node.is_some());
}

#[test]
fn nothing_is_asked_for_that_nobody_wants() {
    let (mut session, mut sent) = session();
    session.subscribe(Kind::Route, set(&[]), BTreeMap::new, "", false);
    assert!(sent.try_recv().is_err());
}

#[test]
fn a_response_of_the_world_names_what_it_holds() {
    let cluster = api::envoy::config::cluster::v3::Cluster { name: "a".into(), ..Default::default() };
    let wrapped = Resource { name: "w".into(), resource: Some(api::any(&cluster)), ..Default::default() };
    let wrapped = api::prost_types::Any { type_url: WRAPPED.into(), value: wrapped.encode_to_vec() };
    let broken = api::prost_types::Any { type_url: Kind::Cluster.type_url().into(), value: vec![0xff] };
    let update = of_world(DiscoveryResponse {
        version_info: "1".into(),
        type_url: Kind::Cluster.type_url().into(),
        resources: vec![api::any(&cluster), wrapped, broken],
        ..Default::default()
    });
    assert_eq!(update.resources.iter().map(|resource| resource.name.as_str()).collect::<Vec<_>>(), ["a", "w"]);
    assert!(update.whole && update.errors[0].starts_with("resources[2]: this is no envoy.config.cluster.v3.Cluster: "));
}
