//! Hosts over check-ins, restarts and the end of their time, with a paused clock.

use std::time::SystemTime;

use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use store::Memory;

use super::*;
use crate::model::Endpoint;
use crate::source::Event;

const HOUR: Duration = Duration::from_secs(3600);

async fn opened(store: &Arc<Memory>) -> Discovery {
    let clock = Clock::with_tokio(SystemTime::UNIX_EPOCH + HOUR);
    let options = DiscoveryOptions {
        domain: "cluster.local".into(),
        namespace: "default".into(),
        time_to_live: Duration::from_secs(600),
    };
    Discovery::open(store.clone(), options, clock).await.unwrap()
}

fn said(address: [u8; 4]) -> CheckIn {
    let Value::Object(tags) = json!({ "az": "b", "region": "eu", "instance_id": "i-1" }) else { unreachable!() };
    CheckIn {
        address: address.into(),
        port: 9211,
        by_port: false,
        repository: "webs".into(),
        revision: "sha".into(),
        tags,
    }
}

/// The endpoints as last told, once the service with that many has been told.
async fn told(events: &mut EventStream, number: usize) -> Vec<Endpoint> {
    while let Some(event) = events.next().await {
        match event {
            Event::Endpoints(_, endpoints) if endpoints.len() == number => return endpoints,
            Event::ServiceGone(_) if number == 0 => return Vec::new(),
            _ => {}
        }
    }
    panic!("the registry ended")
}

#[tokio::test(start_paused = true)]
async fn a_host_becomes_an_endpoint_with_its_place_and_weight() {
    let discovery = opened(&Arc::default()).await;
    let mut events = discovery.watch();
    let mut heavy = said([10, 0, 0, 1]);
    heavy.tags.insert(WEIGHT.into(), 40.into());
    discovery.check_in("web", heavy).await.unwrap();
    let [endpoint] = &told(&mut events, 1).await[..] else { panic!("one endpoint") };
    assert_eq!((endpoint.address.to_string(), endpoint.port, endpoint.weight), ("10.0.0.1".into(), 9211, 40));
    assert_eq!(endpoint.workload.locality.to_string(), "eu/b");
    assert_eq!(endpoint.workload.name, "i-1");
}

#[tokio::test(start_paused = true)]
async fn a_weight_outlives_the_next_check_in_and_reaches_the_endpoints() {
    let discovery = opened(&Arc::default()).await;
    let mut events = discovery.watch();
    for last in [1, 2] {
        discovery.check_in("web", said([10, 0, 0, last])).await.unwrap();
    }
    discovery.set_weight("web", None, 7).await.unwrap();
    discovery.set_weight("web", Some("10.0.0.2".parse().unwrap()), 100).await.unwrap();
    discovery.check_in("web", said([10, 0, 0, 2])).await.unwrap();
    let weights = |endpoints: Vec<Endpoint>| endpoints.iter().map(|endpoint| endpoint.weight).collect::<Vec<_>>();
    assert_eq!(weights(told(&mut events, 2).await), [1, 1]);
    assert_eq!(weights(told(&mut events, 2).await), [7, 7]);
    assert_eq!(weights(told(&mut events, 2).await), [7, 100]);
    // Checking in again changed nothing that the mesh sees.
    assert!(events.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_check_in_again_is_gone_from_everywhere() {
    let store = Arc::default();
    let discovery = opened(&store).await;
    let mut events = discovery.watch();
    discovery.check_in("web", said([10, 0, 0, 1])).await.unwrap();
    told(&mut events, 1).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(discovery.hosts("web").await.unwrap().len(), 1, "it lives for all of its time");
    // The clock goes on by itself while nothing else is to do.
    told(&mut events, 0).await;
    assert!(discovery.hosts("web").await.unwrap().is_empty());
    assert!(store.list(PREFIX).await.unwrap().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_address_has_one_host_unless_it_checks_in_by_port() {
    let store = Arc::default();
    let discovery = opened(&store).await;
    let on = |port, by_port| CheckIn { port, by_port, ..said([10, 0, 0, 1]) };
    let ports = async |discovery: &Discovery| {
        let hosts = discovery.hosts("web").await.unwrap();
        hosts.iter().map(|host| (host.port, host.by_port)).collect::<Vec<_>>()
    };
    discovery.check_in("web", on(80, false)).await.unwrap();
    discovery.check_in("web", on(81, false)).await.unwrap();
    assert_eq!(ports(&discovery).await, [(81, false)], "the other port takes its place");
    discovery.check_in("web", on(82, true)).await.unwrap();
    discovery.check_in("web", on(83, true)).await.unwrap();
    discovery.check_in("web", on(80, false)).await.unwrap();
    assert_eq!(ports(&discovery).await, [(80, false), (82, true), (83, true)]);
    // The same port is the same host, and keeps what was set from outside.
    discovery.set_weight("web", Some("10.0.0.1:80".parse().unwrap()), 9).await.unwrap();
    discovery.check_in("web", on(80, true)).await.unwrap();
    assert_eq!(discovery.hosts("web").await.unwrap()[0].tags[WEIGHT], 9);
    let again = opened(&store).await;
    assert_eq!(ports(&again).await, [(80, true), (82, true), (83, true)]);
    again.remove("web", "10.0.0.1:82".parse().unwrap()).await.unwrap();
    assert_eq!(ports(&again).await, [(80, true), (83, true)]);
    again.remove("web", "10.0.0.1".parse().unwrap()).await.unwrap();
    assert!(ports(&again).await.is_empty() && store.list(PREFIX).await.unwrap().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn hosts_survive_a_restart() {
    let store = Arc::default();
    opened(&store).await.check_in("web", said([10, 0, 0, 1])).await.unwrap();
    let again = opened(&store).await;
    assert_eq!(again.hosts_of_repository("webs").await.unwrap()[0].service, "web");
    told(&mut again.watch(), 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_not_whole_is_refused() {
    let discovery = opened(&Arc::default()).await;
    let place: Place = "10.0.0.1".parse().unwrap();
    assert!(matches!(discovery.remove("web", place).await, Err(Refused::Unknown { .. })));
    assert!(matches!(discovery.set_weight("web", Some(place), 3).await, Err(Refused::Unknown { .. })));
    discovery.set_weight("web", None, 3).await.unwrap();
    for tag in ["az", "region", "instance_id"] {
        let mut lacking = said([10, 0, 0, 1]);
        lacking.tags.remove(tag);
        assert!(matches!(discovery.check_in("web", lacking).await, Err(Refused::Invalid(text)) if text.contains(tag)));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_checks_in_under_a_name_that_may_be_anothers() {
    let discovery = opened(&Arc::default()).await;
    for name in ["*", "10.96.0.10", "reviews.prod", "reviews.prod.svc", "api.example.com", "*.svc.cluster.local"] {
        let told = discovery.check_in(name, said([10, 0, 0, 1])).await;
        assert!(matches!(&told, Err(Refused::Invalid(text)) if text.contains(name)), "{name}: {told:?}");
        assert!(discovery.hosts(name).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_no_hostname_is_listed_but_not_routed() {
    let discovery = opened(&Arc::default()).await;
    let mut events = discovery.watch();
    discovery.check_in("my service", said([10, 0, 0, 1])).await.unwrap();
    discovery.check_in("web", said([10, 0, 0, 1])).await.unwrap();
    assert_eq!(discovery.hosts("my service").await.unwrap().len(), 1);
    let first = events.by_ref().filter_map(|event| async move {
        match event {
            Event::Service(service) => Some(service.host().to_string()),
            _ => None,
        }
    });
    assert_eq!(std::pin::pin!(first).next().await.unwrap(), "web.default.svc.cluster.local");
}
