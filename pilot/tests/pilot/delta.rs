//! Incremental xDS as a proxy sees it. Time is paused: it passes when nothing else can happen.

use std::time::Duration;

use pilot::{Kind, Options, SyncState};
use tokio::time::Instant;

use crate::mesh::Mesh;
use crate::proxy::{Proxy, RATINGS, REVIEWS};

#[tokio::test(start_paused = true)]
async fn a_proxy_that_accepts_everything_is_synced() {
    let mesh = Mesh::new();
    let proxy = Proxy::up_to_date(&mesh).await;
    let status = mesh.status();
    assert_eq!((status.id.as_str(), status.workload.as_str()), ("productpage-v1.default", "productpage-v1"));
    let states: Vec<_> = status.types.iter().map(|(name, status)| (*name, status.state.as_str())).collect();
    assert_eq!(states, [("CDS", "SYNCED"), ("EDS", "SYNCED"), ("LDS", "SYNCED"), ("RDS", "SYNCED")]);
    assert_eq!(proxy.has[&Kind::Cluster].len(), 2);
    assert_eq!(proxy.has[&Kind::Listener].keys().collect::<Vec<_>>(), ["http_proxy"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_and_not_answered_is_stale() {
    let mesh = Mesh::new();
    let mut proxy = Proxy::connect(&mesh).await;
    proxy.ask(Kind::Cluster, &[]).await;
    proxy.response(Kind::Cluster).await;
    proxy.silence().await;
    let types = mesh.status().types;
    assert_eq!(types["CDS"].state, SyncState::Stale);
    assert_eq!(types["RDS"].state, SyncState::NotSent);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_behind_from_the_moment_of_a_change_until_it_is_compiled_for_it() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    assert!(!mesh.status().behind);
    mesh.route_reviews("/a");
    // Nothing was sent yet, so that all that was sent is accepted.
    let status = mesh.status();
    assert_eq!((status.behind, status.types["RDS"].state), (true, SyncState::Synced));
    proxy.response(Kind::Route).await;
    let status = mesh.status();
    assert_eq!((status.behind, status.types["RDS"].state), (false, SyncState::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_refused_resource_keeps_its_status_and_is_not_sent_again_until_it_changes() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    mesh.route_reviews("/a");
    let refused = proxy.response(Kind::Route).await;
    proxy.nack(&refused, "no such route action").await;
    proxy.silence().await;
    let route = mesh.status().types["RDS"].clone();
    assert_eq!((route.state, route.error.as_deref()), (SyncState::Nacked, Some("no such route action")));

    mesh.add_service("details");
    assert_eq!(proxy.take(Kind::Cluster).await.0, ["outbound|9080||details.default.svc.cluster.local"]);
    let changed = proxy.response(Kind::Route).await;
    assert_eq!(mesh.status().types["RDS"].state, SyncState::Nacked);
    proxy.ack(&changed).await;
    proxy.silence().await;
    assert_eq!(mesh.status().types["RDS"].state, SyncState::Synced);
    let rejects = mesh.discovery.metrics().rejects;
    assert!(rejects.contains(&(Kind::Route, 1)), "{rejects:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_nothing_that_was_asked_is_ignored() {
    let mesh = Mesh::new();
    let mut proxy = Proxy::connect(&mesh).await;
    proxy.ask(Kind::Cluster, &[]).await;
    let response = proxy.response(Kind::Cluster).await;
    proxy.answer(&response.type_url, "no-such-nonce", Some("refused")).await;
    proxy.silence().await;
    assert_eq!(mesh.status().types["CDS"].state, SyncState::Stale);
    proxy.ack(&response).await;
    proxy.silence().await;
    assert_eq!(mesh.status().types["CDS"].state, SyncState::Synced);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_goes_is_removed_after_the_routes_to_it() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    mesh.remove_service("ratings");
    assert_eq!(proxy.take(Kind::Endpoint).await, (vec![], vec![RATINGS.to_owned()]));
    assert_eq!(proxy.take(Kind::Route).await.0, ["http_proxy"]);
    assert_eq!(proxy.take(Kind::Cluster).await, (vec![], vec![RATINGS.to_owned()]));
    proxy.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_goes_out_in_the_order_of_what_refers_to_what() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    let details = "outbound|9080||details.default.svc.cluster.local";
    proxy.ask(Kind::Endpoint, &[details]).await;
    assert_eq!(proxy.take(Kind::Endpoint).await, (vec![], vec![details.to_owned()]));
    mesh.add_service("details");
    assert_eq!(proxy.take(Kind::Cluster).await.0, [details]);
    assert_eq!(proxy.take(Kind::Endpoint).await.0, [details]);
    assert_eq!(proxy.take(Kind::Route).await.0, ["http_proxy"]);
    proxy.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_endpoints_sends_only_them_and_does_not_wait() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    let before = Instant::now();
    mesh.endpoints("reviews", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(proxy.take(Kind::Endpoint).await.0, [REVIEWS]);
    assert!(before.elapsed() <= Duration::from_millis(10), "waited {:?}", before.elapsed());
    proxy.silence().await;
}

#[tokio::test(start_paused = true)]
async fn changes_of_configuration_wait_for_quiet_and_go_out_together() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    let before = Instant::now();
    mesh.route_reviews("/a");
    tokio::time::sleep(Duration::from_millis(60)).await;
    mesh.route_reviews("/b");
    proxy.take(Kind::Route).await;
    let waited = before.elapsed();
    assert!((160..200).contains(&waited.as_millis()), "waited {waited:?}");
    proxy.silence().await;
}

#[tokio::test(start_paused = true)]
async fn changes_without_end_go_out_after_the_longest_wait() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    let before = Instant::now();
    for turn in 0..200 {
        mesh.route_reviews(&format!("/{turn}"));
        tokio::time::sleep(Duration::from_millis(60)).await;
        if before.elapsed() > Duration::from_millis(10_100) {
            break;
        }
    }
    proxy.take(Kind::Route).await;
    assert!(before.elapsed() < Duration::from_millis(10_300), "waited {:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_comes_back_gets_only_what_changed() {
    let mut mesh = Mesh::new();
    let has = Proxy::up_to_date(&mesh).await.has;
    mesh.add_service("details");
    mesh.remove_service("ratings");
    let mut proxy = Proxy::connect(&mesh).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.has = has;
    proxy.ask(Kind::Cluster, &[]).await;
    let (changed, removed) = proxy.take(Kind::Cluster).await;
    assert_eq!(changed, ["outbound|9080||details.default.svc.cluster.local"]);
    assert_eq!(removed, [RATINGS]);
    proxy.ask(Kind::Endpoint, &[REVIEWS]).await;
    assert_eq!(proxy.take(Kind::Endpoint).await, (vec![], vec![]));
    proxy.ask(Kind::Listener, &[]).await;
    assert_eq!(proxy.take(Kind::Listener).await, (vec![], vec![]));
    proxy.silence().await;
}

#[tokio::test(start_paused = true)]
async fn only_subscribed_names_are_sent() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    proxy.unsubscribe(Kind::Endpoint, &[RATINGS]).await;
    proxy.silence().await;
    mesh.endpoints("ratings", &["10.0.0.7"]);
    proxy.silence().await;
    proxy.ask(Kind::Endpoint, &[RATINGS]).await;
    assert_eq!(proxy.take(Kind::Endpoint).await.0, [RATINGS]);
    proxy.ask(Kind::Endpoint, &["outbound|1||nowhere"]).await;
    assert_eq!(proxy.take(Kind::Endpoint).await, (vec![], vec!["outbound|1||nowhere".to_owned()]));
    proxy.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_asked_for_again_is_sent_again() {
    let mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    proxy.has.clear();
    proxy.ask(Kind::Endpoint, &[REVIEWS]).await;
    assert_eq!(proxy.take(Kind::Endpoint).await.0, [REVIEWS]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_cluster_brings_its_endpoints_along() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    mesh.endpoints("reviews", &[]);
    // Without endpoints there are no identities to expect: the cluster changes as well.
    assert_eq!(proxy.take(Kind::Cluster).await.0, [REVIEWS]);
    assert_eq!(proxy.take(Kind::Endpoint).await.0, [REVIEWS]);
    proxy.silence().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_before_the_world_is_known() {
    let mesh = Mesh::unready(Options { allow_unauthenticated: true, ..Options::default() });
    let mut proxy = Proxy::connect(&mesh).await;
    proxy.ask(Kind::Cluster, &[]).await;
    proxy.silence().await;
    assert_eq!(mesh.attached.now(), 0, "what it claims cannot be judged yet");
    mesh.publish();
    assert_eq!(proxy.take(Kind::Cluster).await.0.len(), 2);
    assert_eq!(mesh.attached.now(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_blocks_nobody_else() {
    let mut mesh = Mesh::new();
    let mut slow = Proxy::connect(&mesh).await;
    slow.ask(Kind::Cluster, &[]).await;
    slow.ask(Kind::Route, &["http_proxy"]).await;
    let mut proxy = Proxy::up_to_date(&mesh).await;
    for turn in 0..50 {
        mesh.route_reviews(&format!("/{turn}"));
        proxy.take(Kind::Route).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_given_no_more_until_it_does() {
    let mut mesh = Mesh::new();
    let mut proxy = Proxy::connect(&mesh).await;
    proxy.ask(Kind::Route, &["http_proxy"]).await;
    let mut last = proxy.response(Kind::Route).await;
    let mut sent = 1;
    for turn in 0..20 {
        mesh.route_reviews(&format!("/{turn}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    while sent < 8 {
        last = proxy.response(Kind::Route).await;
        sent += 1;
    }
    proxy.silence().await;
    proxy.ack(&last).await;
    let newest = proxy.response(Kind::Route).await;
    proxy.ack(&newest).await;
    proxy.silence().await;
    assert_eq!(mesh.status().types["RDS"].state, SyncState::Synced);
}

#[tokio::test(start_paused = true)]
async fn a_peer_gets_only_its_own_configuration() {
    let mesh = Mesh::unready(Options::default());
    mesh.publish();
    let refused = Proxy::open(mesh.client(None).await).await.err().expect("no certificate, no service");
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    for identity in [
        "spiffe://cluster.local/ns/other/sa/bookinfo-productpage",
        "spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
    ] {
        let mut proxy = Proxy::open(mesh.client(Some(identity)).await).await.unwrap();
        proxy.ask(Kind::Cluster, &[]).await;
        let status = proxy.refusal().await;
        assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status:?}");
        assert!(status.message().contains(identity), "{status:?}");
    }
    let own = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
    let mut proxy = Proxy::open(mesh.client(Some(own)).await).await.unwrap();
    proxy.ask(Kind::Cluster, &[]).await;
    assert_eq!(proxy.take(Kind::Cluster).await.0.len(), 2);
    assert_eq!(mesh.status().identity.map(|id| id.to_string()).as_deref(), Some(own));
}

#[tokio::test(start_paused = true)]
async fn what_is_attached_to_a_proxy_goes_when_it_does() {
    let mesh = Mesh::new();
    let proxy = Proxy::up_to_date(&mesh).await;
    assert_eq!((mesh.attached.now(), mesh.discovery.metrics().connected), (1, 1));
    drop(proxy);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((mesh.attached.now(), mesh.discovery.metrics().connected), (0, 0));
    assert!(mesh.discovery.proxies().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_proxy_tells_of_its_workloads_health() {
    let mesh = Mesh::new();
    let mut proxy = Proxy::up_to_date(&mesh).await;
    let mut told = mesh.attached.told.subscribe();
    proxy.answer(api::type_url::HEALTH, "", Some("the probe failed: 503")).await;
    proxy.answer(api::type_url::HEALTH, "", None).await;
    let told = told.wait_for(|told| told.len() == 2).await.unwrap();
    assert_eq!(*told, [Some("the probe failed: 503".to_owned()), None]);
    drop(told);
    proxy.silence().await;
}
