//! What a registry told stands through a restart without its platform.

use store::Memory as MemoryStore;

use super::*;
use crate::MemoryRegistry;
use crate::model::*;

fn key(name: &str) -> ServiceKey {
    ServiceKey::new(api::Hostname::new(&format!("{name}.default.svc.cluster.local")).unwrap(), "default")
}

fn service(name: &str) -> Service {
    Service {
        guesses_port: false,
        key: key(name),
        aliases: vec![api::Hostname::new(&format!("{name}.service.consul")).unwrap()],
        ports: vec![ServicePort { name: "http-80".into(), number: 80, protocol: Protocol::Http }],
        addresses: vec!["240.0.0.1/32".parse().unwrap()],
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: vec![],
        labels: Default::default(),
        created: 0,
        provenance: Provenance { registry: "consul".into(), object: name.into() },
    }
}

fn endpoint(ip: &str) -> Endpoint {
    Endpoint {
        silent_since: None,
        address: Address::Ip(ip.parse().unwrap()),
        port: 80,
        service_port: "http-80".into(),
        health: Health::Healthy,
        weight: 3,
        tls: TlsMode::Istio,
        workload: Arc::new(Workload {
            hostname: String::new(),
            name: ip.into(),
            namespace: "default".into(),
            service_account: "default".into(),
            labels: [("app".to_owned(), "a".to_owned())].into(),
            locality: "eu/a".parse().unwrap(),
            network: String::new(),
            platform: Platform::Consul,
            cluster: "consul".into(),
        }),
        provenance: Provenance { registry: "consul".into(), object: ip.into() },
    }
}

/// Everything told until then, in the order of services.
async fn until(stream: &mut EventStream, last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut told = Vec::new();
    loop {
        let event = stream.next().await.unwrap();
        let ends = last(&event);
        told.push(event);
        if ends {
            return told;
        }
    }
}

/// A store that holds what a registry with these two services told.
async fn known() -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let platform = MemoryRegistry::new("consul");
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        platform.service(service(name));
        platform.endpoints(&key(name), vec![endpoint(ip)]);
    }
    platform.synced();
    let mut changes = store.watch("known/consul/");
    let mut stream = Remembered::new(Arc::new(platform), store.clone()).watch();
    until(&mut stream, |event| *event == Event::Synced).await;
    for _ in 0..2 {
        changes.next().await.unwrap();
    }
    store
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_is_away_at_the_start_is_remembered() {
    let store = known().await;
    let platform = MemoryRegistry::new("consul");
    platform.tell(Event::Lost("refused".into()));
    let mut stream = Remembered::new(Arc::new(platform.clone()), store).watch();
    let told = until(&mut stream, |event| matches!(event, Event::Lost(_))).await;
    let expected = [
        Event::Service(service("a")),
        Event::Endpoints(key("a"), vec![endpoint("10.0.0.1")]),
        Event::Service(service("b")),
        Event::Endpoints(key("b"), vec![endpoint("10.0.0.2")]),
        Event::Lost("refused".into()),
    ];
    assert_eq!(told, expected);

    // It is back, and `b` went meanwhile.
    platform.service(service("a"));
    platform.endpoints(&key("a"), vec![endpoint("10.0.0.9")]);
    platform.synced();
    let told = until(&mut stream, |event| *event == Event::Synced).await;
    assert_eq!(told[told.len() - 2], Event::ServiceGone(key("b")));
    assert!(told.contains(&Event::Endpoints(key("a"), vec![endpoint("10.0.0.9")])));
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_is_there_decides_alone() {
    let store = known().await;
    let platform = MemoryRegistry::new("consul");
    platform.service(service("c"));
    platform.synced();
    let mut stream = Remembered::new(Arc::new(platform.clone()), store.clone()).watch();
    let told = until(&mut stream, |event| *event == Event::Synced).await;
    assert_eq!(told, [Event::Service(service("c")), Event::Synced]);
    platform.tell(Event::Lost("refused".into()));
    assert_eq!(until(&mut stream, |event| matches!(event, Event::Lost(_))).await.len(), 1);

    // What went is forgotten by the store too.
    let mut changes = store.watch("known/consul/");
    platform.tell(Event::ServiceGone(key("c")));
    while !store.list("known/consul/").await.unwrap().entries.is_empty() {
        changes.next().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_soon_has_stored_what_it_was_told_first() {
    let started = tokio::time::Instant::now();
    let store = known().await;
    assert_eq!(store.list("known/consul/").await.unwrap().entries.len(), 2);
    assert!(started.elapsed() < GATHER, "the first notes waited");
}
