//! What is said on a stream, in both protocols: names, versions, nonces, refusals.

use api::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use api::prost::Message as _;

use super::scripted::{self, clusters, eds_cluster, endpoints, named, response, static_cluster};
use super::*;

fn each(server: Server) -> Options {
    let node = Node { id: "n".into(), cluster: "c".into(), ..Default::default() };
    let (listeners, clusters) = (Some(over_ads()), Some(over_ads()));
    let resources = Resources::default();
    Options {
        node,
        server: Some(server),
        listeners,
        clusters,
        names: false,
        copy: None,
        hold: Hold::Each,
        resources,
        stats: Arc::default(),
        counted_as: None,
    }
}

async fn started(server: Server) -> mpsc::UnboundedReceiver<Arc<Snapshot>> {
    let (put, snapshots) = mpsc::unbounded_channel();
    let (client, handle, _) = Client::start(each(server), scripted::record(put)).await;
    tokio::spawn(async move {
        client.run().await;
        drop(handle);
    });
    snapshots
}

#[tokio::test]
async fn the_state_of_the_world_is_asked_for_accepted_and_refused_by_version() {
    let (server, mut streams) = scripted::sotw().await;
    let mut snapshots = started(server).await;
    let mut stream = streams.recv().await.unwrap();
    let first = stream.next().await;
    assert_eq!(first.node.as_ref().unwrap().id, "n");
    assert_eq!(words(&first), r#"Cluster [] version """#);
    let second = stream.next().await;
    assert_eq!((second.node.is_none(), words(&second)), (true, r#"Listener [] version """#.to_owned()));

    stream.send(response(Kind::Cluster, "1", vec![api::any(&eds_cluster("a"))]));
    let mut told = vec![words(&stream.next().await), words(&stream.next().await)];
    told.sort();
    assert_eq!(told, [r#"Cluster [] version "1" nonce "Cluster-1""#, r#"Endpoint ["a"] version """#]);
    stream.send(response(Kind::Endpoint, "7", vec![api::any(&endpoints("a"))]));
    assert_eq!(words(&stream.next().await), r#"Endpoint ["a"] version "7" nonce "Endpoint-7""#);
    stream.send(response(Kind::Listener, "1", vec![]));
    assert!(snapshots.recv().await.unwrap().clusters.contains_key("a"));
    assert_eq!(words(&stream.next().await), r#"Listener [] version "1" nonce "Listener-1""#);

    // One cluster is wrong: the other is taken, the response as a whole is not.
    let mut wrong = static_cluster("b");
    wrong.alt_stat_name = "x".into();
    stream.send(response(Kind::Cluster, "2", vec![api::any(&wrong), api::any(&static_cluster("c"))]));
    let snapshot = snapshots.recv().await.unwrap();
    assert_eq!(snapshot.clusters.keys().collect::<Vec<_>>(), ["c"]);
    // Without the cluster, its endpoints are wanted no more.
    let mut told = vec![words(&stream.next().await), words(&stream.next().await)];
    told.sort();
    assert!(
        told[0].starts_with(r#"Cluster [] version "1" nonce "Cluster-2" refuses: b: cluster.alt_stat_name: "#),
        "{told:?}"
    );
    assert_eq!(told[1], r#"Endpoint [] version "7" nonce "Endpoint-7""#);

    // A new stream begins with the versions that were accepted.
    drop(stream);
    let mut stream = streams.recv().await.unwrap();
    assert_eq!(words(&stream.next().await), r#"Cluster [] version "1""#);
    assert_eq!(words(&stream.next().await), r#"Listener [] version "1""#);
}

#[tokio::test]
async fn the_incremental_protocol_tells_differences_and_what_is_held() {
    let (server, mut streams) = scripted::delta().await;
    let mut snapshots = started(server).await;
    let mut stream = streams.recv().await.unwrap();
    for kind in [Kind::Cluster, Kind::Listener] {
        let request = stream.next().await;
        assert_eq!((Kind::of(&request.type_url), request.resource_names_subscribe.len()), (Some(kind), 0));
        assert_eq!(request.node.is_some(), kind == Kind::Cluster);
    }
    let answer = |kind: Kind, nonce: &str, resources, removed: &[&str]| DeltaDiscoveryResponse {
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    stream.send(answer(Kind::Listener, "l", vec![], &[]));
    assert_eq!(stream.next().await.response_nonce, "l");
    let both = vec![named("a", "1", api::any(&static_cluster("a"))), named("b", "2", api::any(&static_cluster("b")))];
    stream.send(answer(Kind::Cluster, "c", both, &[]));
    assert_eq!(snapshots.recv().await.unwrap().clusters.len(), 2);
    assert_eq!(stream.next().await.response_nonce, "c");
    stream.send(answer(Kind::Cluster, "d", vec![], &["a"]));
    assert_eq!(snapshots.recv().await.unwrap().clusters.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(stream.next().await.response_nonce, "d");

    drop(stream);
    let mut stream = streams.recv().await.unwrap();
    let request = stream.next().await;
    assert_eq!(request.initial_resource_versions, [("b".to_owned(), "2".to_owned())].into());
}

#[tokio::test]
async fn what_stands_in_the_file_is_not_replaced_from_elsewhere() {
    use api::envoy::config::bootstrap::v3::{Bootstrap, bootstrap::StaticResources};
    let (server, mut streams) = scripted::sotw().await;
    let clusters_of_file = vec![static_cluster("mine")];
    let given = StaticResources { clusters: clusters_of_file, ..Default::default() };
    let file = Bootstrap { static_resources: Some(given), ..Default::default() };
    let (put, mut snapshots) = mpsc::unbounded_channel();
    let options = Options { resources: Resources::of_file(&file.encode_to_vec().into()), ..each(server) };
    let (client, _handle, _) = Client::start(options, scripted::record(put)).await;
    tokio::spawn(client.run());
    let mut stream = streams.recv().await.unwrap();
    stream.send(response(Kind::Listener, "1", vec![]));
    let other = api::any(&eds_cluster("mine"));
    stream.send(response(Kind::Cluster, "1", vec![other, api::any(&static_cluster("new"))]));
    let snapshot = snapshots.recv().await.unwrap();
    assert!(matches!(snapshot.clusters["mine"].discovery, crate::config::Discovery::Static(_)));
    stream.send(clusters("2", &[]));
    assert_eq!(snapshots.recv().await.unwrap().clusters.keys().collect::<Vec<_>>(), ["mine"]);
}
