//! Control planes that agree, that do not, that go silent, and that go by the same name.

use rustls::pki_types::CertificateDer;
use store::Memory;

use super::*;
use crate::sha256;
use crate::test_kit::{Away, Mesh};
use crate::{Authority as _, IssueError, SelfSigned};

fn bundle(roots: &[&str]) -> TrustBundle {
    TrustBundle { roots: roots.iter().map(|root| CertificateDer::from(root.as_bytes().to_vec())).collect() }
}

async fn tell(who: &Agreement, roots: &[&str]) -> Result<(), Disagreement> {
    who.tell(&bundle(roots), 0).await
}

fn two(store: &Arc<Memory>) -> [Agreement; 2] {
    ["one", "other"].map(|name| Agreement::new(store.clone(), name))
}

/// Tells the same again and again, for ever.
fn goes_on(who: &Agreement, roots: &'static [&'static str]) -> tokio::task::JoinHandle<()> {
    let who = who.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(BEAT).await;
            tell(&who, roots).await.unwrap();
        }
    })
}

#[tokio::test(start_paused = true)]
async fn roots_change_in_steps_that_all_can_follow_and_in_no_others() {
    let store = Arc::new(Memory::shared());
    let [one, other] = two(&store);
    tell(&one, &["old"]).await.unwrap();
    let foreign = tell(&other, &["new"]).await.unwrap_err();
    assert!(matches!(&foreign, Disagreement::Untrusted { of, .. } if of == "one"), "{foreign}");
    tell(&other, &["old"]).await.unwrap();

    // The first signs; who signs with the new one too early is held back, and who drops the old one too early.
    tell(&one, &["old", "new"]).await.unwrap();
    assert!(matches!(tell(&one, &["new", "old"]).await, Err(Disagreement::Untrusted { .. })));
    tell(&other, &["old", "new"]).await.unwrap();
    tell(&one, &["new", "old"]).await.unwrap();
    let early = tell(&one, &["new"]).await.unwrap_err().to_string();
    assert!(early.contains("control plane other") && early.contains(&sha256(b"old")), "{early}");
    tell(&other, &["new", "old"]).await.unwrap();
    tell(&one, &["new"]).await.unwrap();
    tell(&other, &["new"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_gone_once_that_was_seen_for_thirty_seconds() {
    let store = Arc::new(Memory::shared());
    let [one, other] = two(&store);
    tell(&other, &["old"]).await.unwrap();
    tell(&one, &["old"]).await.unwrap();
    // Whoever did not look has not seen it.
    tokio::time::advance(Duration::from_secs(3600)).await;
    tell(&one, &["third"]).await.unwrap_err();
    for _ in 0..3 {
        tokio::time::advance(BEAT).await;
        tell(&one, &["third"]).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    tell(&one, &["third"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_ends_in_order_is_gone_at_once_and_tells_nothing_more() {
    let store = Arc::new(Memory::shared());
    let [one, other] = two(&store);
    tell(&other, &["old"]).await.unwrap();
    tell(&one, &["old"]).await.unwrap();
    other.leave().await.unwrap();
    tell(&one, &["third"]).await.unwrap();
    tell(&other, &["old"]).await.unwrap();
    assert_eq!(one.others().await.unwrap(), []);
    other.leave().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_is_refused_by_one_who_is_there_and_not_by_one_who_is_gone() {
    let store = Arc::new(Memory::shared());
    let [one, other] = two(&store);
    tell(&one, &["old"]).await.unwrap();
    let running = goes_on(&one, &["old"]);
    let begun = Instant::now();
    let refused = other.begin(&bundle(&["new"]), 0).await.unwrap_err();
    assert!(matches!(refused, Disagreement::Untrusted { .. }) && begun.elapsed() <= BEAT + LOOK);
    running.abort();
    let begun = Instant::now();
    Agreement::new(store, "third").begin(&bundle(&["new"]), 0).await.unwrap();
    assert!(begun.elapsed() > SILENCE && begun.elapsed() <= SILENCE + 2 * LOOK, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_copied_data_directory_is_told_and_a_restart_is_none() {
    let store = Arc::new(Memory::shared());
    let [one, _] = two(&store);
    tell(&one, &["old"]).await.unwrap();
    let again = Agreement::new(store.clone(), "one");
    tell(&again, &["old"]).await.unwrap();
    tell(&again, &["old"]).await.unwrap();
    assert_eq!(again.twin(), None, "the process before has ended");
    // It has not.
    tell(&one, &["old"]).await.unwrap();
    tell(&again, &["old"]).await.unwrap();
    for twin in [&one, &again] {
        let words = twin.twin().unwrap();
        assert!(words.contains("(one)") && words.contains("remove the file control-plane/replica"), "{words}");
    }
    let running = goes_on(&one, &["old"]);
    let refused = Agreement::new(store, "one").begin(&bundle(&["new"]), 0).await.unwrap_err().to_string();
    assert!(refused.contains("another process of this name"), "{refused}");
    running.abort();
    for _ in 0..5 {
        tokio::time::advance(BEAT).await;
        tell(&again, &["old"]).await.unwrap();
    }
    assert_eq!(again.twin(), None);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_at_odds_issues_nothing_until_it_agrees_again() {
    let (store, mesh) = (Arc::new(Memory::shared()), Mesh::new());
    let away = Arc::new(Away::new(store.clone()));
    let open = SelfSigned::open(&mesh.ca(), &mesh.trust_domain, away.clone(), mesh.time.clock()).unwrap();
    let one = open.agreeing(Agreement::new(away.clone(), "one")).await.unwrap();
    let order = || {
        let key = crate::SubjectKey::of(&rcgen::KeyPair::generate().unwrap());
        let (id, attested_by) = (mesh.id("reviews"), "test".to_owned());
        crate::IssueRequest { id, key, ttl: None, member: None, attested_by, renews: None, from: None }
    };
    one.issue(order()).await.unwrap();

    // The store is away for it alone, and another control plane takes it for gone.
    away.set(true);
    let refused = one.issue(order()).await.unwrap_err();
    assert!(matches!(refused, IssueError::Ledger(_)), "{refused}");
    let other = Agreement::new(store, "other");
    other.begin(&bundle(&["another"]), 0).await.unwrap();
    away.set(false);
    let refused = one.issue(order()).await.unwrap_err();
    assert!(matches!(refused, IssueError::AtOdds(_)), "{refused}");
    assert!(refused.to_string().contains("the control plane other") && one.at_odds().is_some());
    one.beat().await.unwrap_err();

    // Once the other one is gone it signs again.
    for _ in 0..3 {
        tokio::time::advance(BEAT).await;
        one.beat().await.unwrap_err();
        one.issue(order()).await.unwrap_err();
    }
    tokio::time::advance(BEAT).await;
    one.beat().await.unwrap();
    one.issue(order()).await.unwrap();
    assert_eq!(one.at_odds(), None);
}

#[tokio::test]
async fn new_dates_of_a_root_are_no_other_root_and_a_store_of_ones_own_asks_nobody() {
    let store = Arc::new(Memory::shared());
    let [one, other] = two(&store);
    let (key, params) = (rcgen::KeyPair::generate().unwrap(), rcgen::CertificateParams::default());
    let [dates, new_dates] = [2040, 2050].map(|year| {
        let mut params = params.clone();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        TrustBundle { roots: vec![params.self_signed(&key).unwrap().into()] }
    });
    assert_ne!(dates, new_dates);
    one.tell(&dates, 0).await.unwrap();
    other.tell(&new_dates, 0).await.unwrap();
    let own = Arc::new(Memory::new());
    for (who, name) in two(&own).iter().zip(["one", "other"]) {
        tell(who, &[name]).await.unwrap();
    }
}
