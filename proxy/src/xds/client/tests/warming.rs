//! Listeners and clusters that wait for what they refer to.

use api::envoy::config::listener::v3 as lds;
use api::envoy::config::route::v3::RouteConfiguration;
use api::envoy::extensions::filters::http::router::v3::Router;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::prost_types::Any;
use http::http_connection_manager::RouteSpecifier;

use super::scripted::{self, ads_source, clusters, response};
use super::*;

/// A listener on a port of its own, with routes by name.
fn listener(port: u32, routes: &str, wait: Option<i64>) -> Any {
    use api::envoy::config::core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier};
    let mut source = ads_source();
    source.initial_fetch_timeout = wait.map(|seconds| api::prost_types::Duration { seconds, nanos: 0 });
    let manager = http::HttpConnectionManager {
        stat_prefix: "s".into(),
        route_specifier: Some(RouteSpecifier::Rds(http::Rds {
            config_source: Some(source),
            route_config_name: routes.into(),
        })),
        http_filters: vec![http::HttpFilter {
            name: "r".into(),
            config_type: Some(http::http_filter::ConfigType::TypedConfig(api::any(&Router::default()))),
            ..Default::default()
        }],
        ..Default::default()
    };
    let filter =
        lds::Filter { name: "h".into(), config_type: Some(lds::filter::ConfigType::TypedConfig(api::any(&manager))) };
    let port = Some(PortSpecifier::PortValue(port));
    let socket = SocketAddress { address: "127.0.0.1".into(), port_specifier: port, ..Default::default() };
    api::any(&lds::Listener {
        name: format!("with {routes}"),
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        filter_chains: vec![lds::FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    })
}

fn routes(name: &str) -> Any {
    api::any(&RouteConfiguration { name: name.into(), ..Default::default() })
}

async fn started(server: Server) -> (mpsc::UnboundedReceiver<Arc<Snapshot>>, Handle) {
    let (put, snapshots) = mpsc::unbounded_channel();
    let (listeners, clusters) = (Some(over_ads()), Some(over_ads()));
    let (server, resources) = (Some(server), Resources::default());
    let options = Options {
        node: Node::default(),
        server,
        listeners,
        clusters,
        names: false,
        copy: None,
        hold: Hold::Each,
        resources,
        stats: Arc::default(),
        counted_as: None,
    };
    let (client, handle, _) = Client::start(options, scripted::record(put)).await;
    tokio::spawn(client.run());
    (snapshots, handle)
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.listeners.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn nothing_serves_before_clusters_listeners_and_their_routes_are_there() {
    let (server, mut streams) = scripted::sotw().await;
    let (mut snapshots, _handle) = started(server).await;
    let mut stream = streams.recv().await.unwrap();
    stream.send(response(Kind::Listener, "1", vec![listener(1, "a", None)]));
    stream.send(response(Kind::Route, "1", vec![routes("a")]));
    while stream.next().await.type_url != Kind::Route.type_url() {}
    assert!(snapshots.try_recv().is_err(), "the clusters have not come");
    stream.send(clusters("1", &["c"]));
    let snapshot = snapshots.recv().await.unwrap();
    assert_eq!((names(&snapshot), snapshot.clusters.len(), snapshot.routes.len()), (vec!["with a"], 1, 1));
}

#[tokio::test]
async fn a_listener_that_waits_keeps_no_other_waiting() {
    let (server, mut streams) = scripted::sotw().await;
    let (mut snapshots, _handle) = started(server).await;
    let mut stream = streams.recv().await.unwrap();
    stream.send(clusters("1", &[]));
    stream.send(response(Kind::Listener, "1", vec![]));
    assert!(names(&snapshots.recv().await.unwrap()).is_empty());

    // The routes of `a` are waited for without end.
    stream.send(response(Kind::Listener, "2", vec![listener(1, "a", Some(0))]));
    stream.send(response(Kind::Route, "1", vec![routes("b")]));
    stream.send(response(Kind::Listener, "3", vec![listener(1, "a", Some(0)), listener(2, "b", None)]));
    let mut last = snapshots.recv().await.unwrap();
    while names(&last).is_empty() {
        last = snapshots.recv().await.unwrap();
    }
    assert_eq!(names(&last), ["with b"]);
    stream.send(response(Kind::Route, "2", vec![routes("a"), routes("b")]));
    while names(&last).len() < 2 {
        last = snapshots.recv().await.unwrap();
    }
    assert_eq!(names(&last), ["with a", "with b"]);
}

#[tokio::test]
async fn what_does_not_come_in_time_is_done_without() {
    let (server, mut streams) = scripted::sotw().await;
    let (mut snapshots, _handle) = started(server).await;
    let mut stream = streams.recv().await.unwrap();
    stream.send(clusters("1", &[]));
    stream.send(response(Kind::Listener, "1", vec![listener(1, "a", Some(1))]));
    let snapshot = snapshots.recv().await.unwrap();
    assert_eq!((names(&snapshot), snapshot.routes.len()), (vec!["with a"], 0));
}
