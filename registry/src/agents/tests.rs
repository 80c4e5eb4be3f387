//! Registrations over restarts and disconnects, with a paused clock.

use futures_util::{FutureExt as _, StreamExt as _};
use store::Memory;

use super::*;
use crate::model::TlsMode;
use crate::source::Event;

fn reviews(name: &str, address: &str) -> Registration {
    Registration {
        workload: name.into(),
        namespace: "default".into(),
        service_account: "bookinfo-reviews".into(),
        labels: BTreeMap::from([("app".into(), "reviews".into())]),
        address: address.parse().unwrap(),
        locality: Locality::default(),
        cluster: "weft".into(),
        ports: vec![RegisteredPort { service: "reviews".into(), port: 9080, protocol: Protocol::Http }],
    }
}

async fn agents(store: &Arc<Memory>) -> Agents {
    Agents::open(store.clone(), AgentsOptions::default()).await.unwrap()
}

/// What has been told and not been read yet.
async fn told(agents: &Agents, events: &mut EventStream) -> Vec<Event> {
    agents.settled().await;
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

fn endpoint_counts(events: &[Event]) -> Vec<usize> {
    let counts = events.iter().filter_map(|event| match event {
        Event::Endpoints(_, endpoints) => Some(endpoints.len()),
        _ => None,
    });
    counts.collect()
}

#[tokio::test(start_paused = true)]
async fn replicas_of_one_service_are_its_endpoints() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    let _first = agents.register(reviews("reviews-v1", "127.0.10.11"));
    let _second = agents.register(reviews("reviews-v1", "127.0.10.12"));
    let events = told(&agents, &mut events).await;
    let service = events.iter().find_map(|event| match event {
        Event::Service(service) => Some(service),
        _ => None,
    });
    let service = service.unwrap();
    assert_eq!(service.host().as_str(), "reviews.default.svc.cluster.local");
    assert_eq!(service.ports[0].protocol, Protocol::Http);
    let Some(Event::Endpoints(_, endpoints)) = events.last() else { panic!("{events:?}") };
    assert_eq!(endpoints.len(), 2);
    assert_eq!((endpoints[0].port, endpoints[0].tls), (9080, TlsMode::Istio));
    assert_eq!(endpoints[0].workload.service_account, "bookinfo-reviews");
}

#[tokio::test(start_paused = true)]
async fn a_workload_goes_when_its_grace_is_over() {
    let store = Arc::default();
    let agents = agents(&store).await;
    let mut events = agents.watch();
    let attachment = agents.register(reviews("reviews-v1", "127.0.10.11"));
    told(&agents, &mut events).await;
    drop(attachment);
    agents.settled().await;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(told(&agents, &mut events).await, []);
    tokio::time::advance(Duration::from_secs(2)).await;
    let events = told(&agents, &mut events).await;
    assert!(matches!(events[..], [Event::ServiceGone(_)]), "{events:?}");
    assert!(store.list(PREFIX).await.unwrap().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_changes_nothing() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    drop(agents.register(reviews("reviews-v1", "127.0.10.11")));
    told(&agents, &mut events).await;
    tokio::time::advance(Duration::from_secs(30)).await;
    let _back = agents.register(reviews("reviews-v1", "127.0.10.11"));
    agents.settled().await;
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(told(&agents, &mut events).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_keeps_the_workload_when_the_first_ends() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    let old = agents.register(reviews("reviews-v1", "127.0.10.11"));
    let _new = agents.register(reviews("reviews-v1", "127.0.10.11"));
    told(&agents, &mut events).await;
    drop(old);
    agents.settled().await;
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(told(&agents, &mut events).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_the_workloads_and_waits_for_them() {
    let store = Arc::default();
    let before = agents(&store).await;
    let _attachment = before.register(reviews("reviews-v1", "127.0.10.11"));
    before.settled().await;

    let after = agents(&store).await;
    let mut events = after.watch();
    let known = told(&after, &mut events).await;
    assert_eq!(endpoint_counts(&known), [1]);
    assert_eq!(known.last(), Some(&Event::Synced));
    tokio::time::advance(Duration::from_secs(121)).await;
    assert!(matches!(told(&after, &mut events).await[..], [Event::ServiceGone(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_serves_something_else_now_leaves_its_old_service() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    let _old = agents.register(reviews("reviews-v1", "127.0.10.11"));
    told(&agents, &mut events).await;
    let mut changed = reviews("reviews-v1", "127.0.10.11");
    changed.ports[0].service = "opinions".into();
    let _new = agents.register(changed);
    let events = told(&agents, &mut events).await;
    assert!(
        events.iter().any(|event| matches!(event, Event::ServiceGone(key) if key.host.as_str().starts_with("reviews")))
    );
    assert_eq!(endpoint_counts(&events), [1]);
}
