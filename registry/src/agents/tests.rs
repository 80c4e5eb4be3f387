//! Registrations over restarts and disconnects, with a paused clock.

mod silent;

use futures_util::{FutureExt as _, StreamExt as _};
use store::Memory;

use super::*;
use crate::model::TlsMode;
use crate::source::Event;

fn reviews(name: &str, address: &str) -> Registration {
    Registration {
        member: None,
        workload: name.into(),
        namespace: "default".into(),
        service_account: "bookinfo-reviews".into(),
        labels: BTreeMap::from([("app".into(), "reviews".into())]),
        address: address.parse().unwrap(),
        locality: Locality::default(),
        network: String::new(),
        cluster: "weft".into(),
        weight: 1,
        health: Health::Healthy,
        ports: vec![RegisteredPort {
            service: "reviews".into(),
            port: 9080,
            shared: None,
            name: String::new(),
            protocol: Protocol::Http,
        }],
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
    let _first = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    let _second = agents.register(reviews("reviews-v1", "127.0.10.12")).await.unwrap();
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
    let attachment = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    told(&agents, &mut events).await;
    drop(attachment);
    agents.settled().await;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(endpoint_counts(&told(&agents, &mut events).await), [1]);
    tokio::time::advance(Duration::from_secs(2)).await;
    let events = told(&agents, &mut events).await;
    assert!(matches!(events[..], [Event::ServiceGone(_)]), "{events:?}");
    assert!(store.list(PREFIX).await.unwrap().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_changes_nothing() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    drop(agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap());
    told(&agents, &mut events).await;
    tokio::time::advance(Duration::from_millis(900)).await;
    let _back = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    agents.settled().await;
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(told(&agents, &mut events).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_keeps_the_workload_when_the_first_ends() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    let old = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    let _new = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
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
    let _attachment = before.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
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
    let _old = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    told(&agents, &mut events).await;
    let mut changed = reviews("reviews-v1", "127.0.10.11");
    changed.ports[0].service = "opinions".into();
    let _new = agents.register(changed).await.unwrap();
    let events = told(&agents, &mut events).await;
    assert!(
        events.iter().any(|event| matches!(event, Event::ServiceGone(key) if key.host.as_str().starts_with("reviews")))
    );
    assert_eq!(endpoint_counts(&events), [1]);
}

fn member(id: &str, address: &str) -> Registration {
    Registration { member: Some(id.into()), ..reviews(&format!("vm-{id}"), address) }
}

#[tokio::test(start_paused = true)]
async fn the_address_of_a_connected_workload_is_refused_to_another_and_free_once_it_is_gone() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    let holder = agents.register(member("a", "10.0.0.1")).await.unwrap();
    let refused = agents.register(member("b", "10.0.0.1")).await.err().unwrap();
    assert!(refused.to_string().starts_with("10.0.0.1:9080 is registered by the workload vm-a.default"), "{refused}");
    assert!(agents.check(member("b", "10.0.0.1")).await.is_err());
    let mut elsewhere = member("b", "10.0.0.1");
    elsewhere.ports[0].port = 9081;
    assert_eq!(agents.check(elsewhere).await, Ok(()));
    drop(holder);
    let _next = agents.register(member("b", "10.0.0.1")).await.unwrap();
    let events = told(&agents, &mut events).await;
    let Some(Event::Endpoints(_, endpoints)) = events.last() else { panic!("{events:?}") };
    assert_eq!(endpoints.iter().map(|e| e.workload.name.as_str()).collect::<Vec<_>>(), ["vm-b"]);
}

#[tokio::test(start_paused = true)]
async fn workloads_behind_one_port_of_a_machine_are_told_apart_by_their_service() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    let behind = |name: &str, service: &str| {
        let mut registration = reviews(name, "10.0.0.1");
        (registration.ports[0].service, registration.ports[0].shared) = (service.into(), Some(4141));
        registration
    };
    let _one = agents.register(behind("reviews-v1", "reviews")).await.unwrap();
    let _two = agents.register(behind("ratings-v1", "ratings")).await.unwrap();
    let taken = agents.check(behind("reviews-v2", "reviews")).await.unwrap_err().to_string();
    assert!(taken.starts_with("10.0.0.1:4141 is registered by the workload reviews-v1.default"), "{taken}");
    let mut alone = behind("other", "other");
    (alone.ports[0].port, alone.ports[0].shared) = (4141, None);
    assert!(agents.check(alone).await.is_err(), "all that comes to 4141 would be taken for it");
    let endpoints = told(&agents, &mut events).await.into_iter().filter_map(|event| match event {
        Event::Endpoints(key, endpoints) => Some((key.host.to_string(), endpoints.iter().map(|e| e.port).collect())),
        _ => None,
    });
    let endpoints: BTreeMap<String, Vec<u16>> = endpoints.collect();
    let host = |name: &str| format!("{name}.default.svc.cluster.local");
    assert_eq!(endpoints, BTreeMap::from(["reviews", "ratings"].map(|name| (host(name), vec![4141]))));
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_address_changed_is_at_the_new_one_only() {
    let agents = agents(&Arc::default()).await;
    let mut events = agents.watch();
    let _hanging = agents.register(member("a", "10.0.0.1")).await.unwrap();
    let _moved = agents.register(member("a", "fd00::1")).await.unwrap();
    let events = told(&agents, &mut events).await;
    let Some(Event::Endpoints(_, endpoints)) = events.last() else { panic!("{events:?}") };
    assert_eq!(endpoints.iter().map(|e| e.address.to_string()).collect::<Vec<_>>(), ["fd00::1"]);
    agents.forget("a").await;
    let mut events = agents.watch();
    assert_eq!(told(&agents, &mut events).await, [Event::Synced]);
}

#[tokio::test(start_paused = true)]
async fn health_is_what_was_last_reported_also_after_a_reconnect_and_a_restart() {
    let store = Arc::default();
    let before = agents(&store).await;
    let waiting = || Registration { health: Health::Unhealthy, ..member("a", "10.0.0.1") };
    let first = before.register(waiting()).await.unwrap();
    let health = |events: &[Event]| match events.iter().rfind(|event| matches!(event, Event::Endpoints(..))) {
        Some(Event::Endpoints(_, endpoints)) => endpoints[0].health,
        _ => panic!("{events:?}"),
    };
    let mut events = before.watch();
    assert_eq!(health(&told(&before, &mut events).await), Health::Unhealthy);
    first.report(Health::Healthy);
    assert_eq!(health(&told(&before, &mut events).await), Health::Healthy);
    drop(first);
    let _second = before.register(waiting()).await.unwrap();
    assert_eq!(told(&before, &mut events).await, []);
    let after = agents(&store).await;
    let mut events = after.watch();
    assert_eq!(health(&told(&after, &mut events).await), Health::Healthy);
}

async fn replica(store: &Arc<Memory>, name: &str) -> Agents {
    let options = AgentsOptions { replica: name.into(), ..AgentsOptions::default() };
    Agents::open(store.clone(), options).await.unwrap()
}

/// The next number of endpoints that is told.
async fn next_count(events: &mut EventStream) -> usize {
    loop {
        match events.next().await.unwrap() {
            Event::Endpoints(_, endpoints) => return endpoints.len(),
            Event::ServiceGone(_) => return 0,
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn control_planes_on_one_store_show_each_others_workloads() {
    let store = Arc::new(Memory::shared());
    let (one, other) = (replica(&store, "one").await, replica(&store, "other").await);
    let mut events = other.watch();
    assert_eq!(told(&other, &mut events).await, [Event::Synced]);
    let attachment = one.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    assert_eq!(next_count(&mut events).await, 1);
    // It is not the other's to expire, however long it runs.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(told(&other, &mut events).await, []);
    let stranger = other.register(reviews("stranger", "127.0.10.11")).await;
    assert_eq!(stranger.map(drop).unwrap_err().workload, "reviews-v1.default");
    // A third that starts meanwhile leaves it alone as well.
    let _third = replica(&store, "third").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(told(&other, &mut events).await, []);
    drop(attachment);
    assert_eq!(next_count(&mut events).await, 1, "taken for gone");
    assert_eq!(next_count(&mut events).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_control_plane_held_goes_unless_the_workload_comes_here() {
    let store = Arc::new(Memory::shared());
    let (one, other) = (replica(&store, "one").await, replica(&store, "other").await);
    let mut events = other.watch();
    assert_eq!(told(&other, &mut events).await, [Event::Synced]);
    let attachments = [
        one.register(reviews("reviews-v1", "127.0.10.11")).await,
        one.register(reviews("reviews-v2", "127.0.10.12")).await,
    ];
    one.settled().await;
    while next_count(&mut events).await != 2 {}
    drop((attachments, one));
    let here = other.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    assert_eq!(next_count(&mut events).await, 1);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(told(&other, &mut events).await, []);
    drop(here);
    while next_count(&mut events).await != 0 {}
}
