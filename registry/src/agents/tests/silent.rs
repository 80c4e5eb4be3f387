//! Workloads whose agent vanished without a goodbye.

use super::*;

/// After the time in which a control plane that has just started takes nobody for gone.
async fn settled_agents(store: &Arc<Memory>) -> Agents {
    let agents = agents(store).await;
    agents.settled().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    agents
}

/// Of each endpoint that was told last, whether it is shown as silent, and its health.
async fn last(agents: &Agents, events: &mut EventStream) -> Option<Vec<(bool, Health)>> {
    told(agents, events).await.into_iter().rev().find_map(|event| match event {
        Event::Endpoints(_, endpoints) => {
            Some(endpoints.iter().map(|endpoint| (endpoint.silent_since.is_some(), endpoint.health)).collect())
        }
        _ => None,
    })
}

async fn after(agents: &Agents, events: &mut EventStream, seconds: u64) -> Option<Vec<(bool, Health)>> {
    agents.settled().await;
    tokio::time::advance(Duration::from_secs(seconds)).await;
    last(agents, events).await
}

#[tokio::test(start_paused = true)]
async fn a_vanished_agent_is_shown_at_once_and_takes_no_traffic_well_before_its_grace_ends() {
    let agents = settled_agents(&Arc::default()).await;
    let mut events = agents.watch();
    let vanishing = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    let _staying = agents.register(reviews("reviews-v2", "127.0.10.12")).await.unwrap();
    told(&agents, &mut events).await;
    drop(vanishing);
    let (lively, silent, gone) = ((false, Health::Healthy), (true, Health::Healthy), (true, Health::Unhealthy));
    assert_eq!(after(&agents, &mut events, 1).await, Some(vec![silent, lively]));
    assert_eq!(after(&agents, &mut events, 8).await, None);
    assert_eq!(after(&agents, &mut events, 1).await, Some(vec![gone, lively]));
    let _back = agents.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    assert_eq!(last(&agents, &mut events).await, Some(vec![lively, lively]));
    assert_eq!(after(&agents, &mut events, 3600).await, None);
}

#[tokio::test(start_paused = true)]
async fn where_most_vanish_together_nobody_is_taken_for_gone() {
    let agents = settled_agents(&Arc::default()).await;
    let mut events = agents.watch();
    let mut attachments = Vec::new();
    for number in 1..=5 {
        attachments.push(agents.register(reviews(&format!("r{number}"), &format!("127.0.10.{number}"))).await.unwrap());
    }
    told(&agents, &mut events).await;
    attachments.truncate(2);
    let (lively, silent, gone) = ((false, Health::Healthy), (true, Health::Healthy), (true, Health::Unhealthy));
    assert_eq!(after(&agents, &mut events, 1).await, Some(vec![lively, lively, silent, silent, silent]));
    assert_eq!(after(&agents, &mut events, 30).await, None);
    // The way to them is there again, for one: the others are by themselves.
    attachments.push(agents.register(reviews("r3", "127.0.10.3")).await.unwrap());
    assert_eq!(last(&agents, &mut events).await, Some(vec![lively, lively, lively, gone, gone]));
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_has_just_started_takes_nobody_for_gone() {
    let store = Arc::default();
    let before = agents(&store).await;
    let _there = before.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    before.settled().await;
    let restarted = agents(&store).await;
    let mut events = restarted.watch();
    told(&restarted, &mut events).await;
    // One has not come yet, another came and went.
    drop(restarted.register(reviews("reviews-v2", "127.0.10.12")).await.unwrap());
    let (lively, silent) = ((false, Health::Healthy), (true, Health::Healthy));
    assert_eq!(after(&restarted, &mut events, 30).await, Some(vec![lively, silent]));
    assert_eq!(after(&restarted, &mut events, 29).await, None);
}

#[tokio::test(start_paused = true)]
async fn who_was_taken_for_gone_is_so_after_a_restart_until_it_comes() {
    let store = Arc::default();
    let before = settled_agents(&store).await;
    drop(before.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap());
    let mut events = before.watch();
    after(&before, &mut events, 1).await;
    after(&before, &mut events, 10).await;
    let restarted = agents(&store).await;
    let mut events = restarted.watch();
    assert_eq!(last(&restarted, &mut events).await, Some(vec![(true, Health::Unhealthy)]));
    let _back = restarted.register(reviews("reviews-v1", "127.0.10.11")).await.unwrap();
    assert_eq!(last(&restarted, &mut events).await, Some(vec![(false, Health::Healthy)]));
    let again = agents(&store).await;
    let mut events = again.watch();
    assert_eq!(last(&again, &mut events).await, Some(vec![(false, Health::Healthy)]));
}
