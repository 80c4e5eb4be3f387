//! A server that is away: nothing is emptied, and what changed meanwhile is known once it is back.

use registry::{Event, RegistryState};
use serde_json::json;

use crate::followed::{Followed, endpoints, entry};
use crate::relay::{Line, Relay};
use crate::server::Server;

/// Nothing told so far took an endpoint or a service away.
fn assert_nothing_was_taken(events: &[Event]) {
    let taken = events.iter().find(|event| match event {
        Event::ServiceGone(_) => true,
        Event::Endpoints(_, endpoints) => endpoints.is_empty(),
        _ => false,
    });
    assert_eq!(taken, None, "{events:#?}");
}

#[tokio::test]
async fn a_restarted_server_changes_nothing() {
    let mut server = Server::start();
    for number in 1..=5 {
        // Without a check of time to live, which an agent that restarts may find critical by itself.
        let (id, address) = (format!("reviews-{number}"), format!("10.0.0.{number}"));
        server.register("reviews", &id, &address, json!({ "Check": null }));
    }
    let mut followed = Followed::new(&server.url());
    followed.synced().await;
    let before = followed.endpoints("reviews");
    assert_eq!(before.len(), 5);

    server.stop();
    followed.lost().await;
    assert_eq!(followed.endpoints("reviews"), before);
    followed.events.clear();
    server.run();
    followed.synced().await;
    assert_eq!(followed.endpoints("reviews"), before);
    assert_nothing_was_taken(&followed.events);

    server.register("reviews", "reviews-6", "10.0.0.6", json!({}));
    followed.until("a change after the restart", |catalog| endpoints(catalog, "reviews").len() == 6).await;
}

#[tokio::test]
async fn a_server_that_lost_everything_is_read_from_the_start() {
    let mut server = Server::start();
    for number in 1..=20 {
        server.register(&format!("old-{number}"), &format!("old-{number}"), "10.0.0.1", json!({}));
    }
    let mut followed = Followed::new(&server.url());
    followed.synced().await;
    server.stop();
    followed.lost().await;
    std::fs::remove_dir_all(server.path("data")).unwrap();
    server.run();
    // Its indexes are far below those seen before.
    server.register("reviews", "reviews-1", "10.0.0.1", json!({}));
    followed
        .until("the new state", |catalog| {
            endpoints(catalog, "reviews") == ["10.0.0.1 healthy"] && entry(catalog, "old-1").is_none()
        })
        .await;
}

#[tokio::test]
async fn a_cut_line_keeps_what_was_known_and_heals() {
    let server = Server::start();
    server.register("reviews", "reviews-1", "10.0.0.1", json!({}));
    server.register("reviews", "reviews-2", "10.0.0.2", json!({}));
    server.register("details", "details-1", "10.0.1.1", json!({}));
    let relay = Relay::to(server.at()).await;
    let mut followed = Followed::new(&relay.url());
    followed.synced().await;

    followed.events.clear();
    relay.set(Line::Cut);
    let reason = followed.lost().await;
    assert!(reason.starts_with(&relay.url()), "{reason}");
    server.deregister("reviews-2");
    server.register("ratings", "ratings-1", "10.0.2.1", json!({}));
    assert_eq!(followed.endpoints("reviews").len(), 2);
    assert_nothing_was_taken(&followed.events);

    relay.set(Line::Open);
    followed.synced().await;
    assert_nothing_was_taken(&followed.events);
    assert_eq!(followed.endpoints("reviews"), ["10.0.0.1 healthy"]);
    assert_eq!(followed.endpoints("ratings"), ["10.0.2.1 healthy"]);
    assert_eq!(followed.endpoints("details"), ["10.0.1.1 healthy"]);
}

#[tokio::test]
async fn a_line_that_falls_silent_is_noticed() {
    let server = Server::start();
    server.register("reviews", "reviews-1", "10.0.0.1", json!({}));
    let relay = Relay::to(server.at()).await;
    let mut followed = Followed::new(&format!("{}?wait=1s", relay.url()));
    followed.synced().await;
    relay.set(Line::Frozen);
    followed.events.clear();
    let reason = followed.lost().await;
    assert!(reason.contains("no answer within"), "{reason}");
    server.check("fail", "reviews-1");
    server.register("reviews", "reviews-2", "10.0.0.2", json!({}));
    // It stays so for longer than any query waits: each of these attempts gave up after that.
    let attempts = relay.connections() + 3;
    followed.until("attempts in vain", |_| relay.connections() >= attempts).await;
    assert!(matches!(followed.catalog().registries[0].state, RegistryState::Stale(_)));
    let found = followed.events.iter().find(|event| matches!(event, Event::Findings(_)));
    assert_eq!(found, None, "the loss of the server is all there is to say");
    assert_eq!(followed.endpoints("reviews"), ["10.0.0.1 healthy"]);
    relay.set(Line::Open);
    followed.synced().await;
    assert_nothing_was_taken(&followed.events);
    assert_eq!(followed.endpoints("reviews"), ["10.0.0.1 unhealthy", "10.0.0.2 healthy"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_holds_up_nobody() {
    let relay = Relay::to(([127, 0, 0, 1], 1).into()).await;
    let mut followed = Followed::new(&relay.url());
    followed.lost().await;
    assert!(followed.catalog().synced(), "the rest of the mesh goes on");
}
