//! The change of roots, with holders who follow and holders who do not.

mod shared;

use std::time::Duration;

use store::Store as _;

use super::*;
use crate::test_kit::{Mesh, issue};
use crate::verify_peer;

fn holder(mesh: &Mesh, service_account: &str) -> Holder {
    Holder { identity: mesh.id(service_account).to_string(), member: None }
}

/// A holder trusts what the bundle has.
async fn follows(rotation: &Rotation, holder: Holder) {
    let roots = rotation.bundles().borrow().roots.iter().map(|root| sha256(root)).collect();
    rotation.told(holder, roots).await;
}

#[tokio::test]
async fn each_step_waits_for_whoever_is_behind_and_says_for_whom() {
    let mesh = Mesh::new();
    let authority = Arc::new(mesh.authority());
    let rotation = Rotation::new(authority.clone(), false);
    issue(&authority, &mesh.id("reviews"), None).await;
    issue(&authority, &mesh.id("ratings"), None).await;
    let old = authority.signing_root();

    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Staged);
    assert_eq!(rotation.bundles().borrow().roots.len(), 1, "nobody knows the next root yet");
    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Distributed);
    assert_eq!(rotation.bundles().borrow().pin(), old, "the old root signs on");

    follows(&rotation, holder(&mesh, "reviews")).await;
    let waits = rotation.advance(false).await.unwrap_err().to_string();
    assert!(
        waits.starts_with("1 of 2 holders of certificates are behind: spiffe://cluster.local/ns/default/sa/ratings"),
        "{waits}"
    );
    assert_eq!(rotation.progress().await.unwrap().percent(), 50);
    follows(&rotation, holder(&mesh, "ratings")).await;
    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Signing);
    assert_ne!(authority.signing_root(), old);

    let waits = rotation.advance(false).await.unwrap_err().to_string();
    assert!(waits.contains("2 of 2 holders") && waits.contains(OLD), "{waits}");
    mesh.time.advance(Duration::from_secs(1));
    issue(&authority, &mesh.id("reviews"), None).await;
    // Whose certificate ends is waited for no longer.
    mesh.time.advance(Duration::from_secs(3601));
    issue(&authority, &mesh.id("reviews"), None).await;
    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Idle);
    let bundle = rotation.bundles().borrow().clone();
    assert_eq!((bundle.roots.len(), bundle.pin() == authority.signing_root()), (1, true));
}

#[tokio::test]
async fn certificates_of_both_roots_are_good_while_the_bundle_has_both() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    let before = issue(&authority, &mesh.id("reviews"), None).await;
    authority.advance().unwrap();
    authority.advance().unwrap();
    assert_eq!(authority.advance().unwrap(), Phase::Signing);
    let after = issue(&authority, &mesh.id("reviews"), None).await;
    let good = |issued: &crate::Issued, bundle: &TrustBundle| {
        verify_peer(&issued.chain[..2], bundle, mesh.time.clock().now()).is_ok()
    };
    let both = authority.trust_bundle().borrow().clone();
    assert!(good(&before, &both) && good(&after, &both));
    assert_eq!(authority.advance().unwrap(), Phase::Idle);
    let new = authority.trust_bundle().borrow().clone();
    assert!(!good(&before, &new) && good(&after, &new));
}

#[tokio::test]
async fn each_step_outlives_a_restart_and_has_a_way_back() {
    let mesh = Mesh::new();
    let first = mesh.authority().signing_root();
    let state = |authority: &SelfSigned| (authority.phase(), authority.trust_bundle().borrow().roots.len());
    for (phase, roots) in [(Phase::Staged, 1), (Phase::Distributed, 2), (Phase::Signing, 2)] {
        assert_eq!(mesh.authority().advance().unwrap(), phase);
        assert_eq!(state(&mesh.authority()), (phase, roots));
    }
    for (phase, roots) in [(Phase::Distributed, 2), (Phase::Staged, 1), (Phase::Idle, 1)] {
        assert_eq!(mesh.authority().step_back().unwrap(), phase);
        assert_eq!((state(&mesh.authority()), mesh.authority().signing_root()), ((phase, roots), first.clone()));
    }
    assert!(matches!(mesh.authority().step_back(), Err(StepError::NothingToUndo)));
}

#[tokio::test]
async fn a_root_whose_certificates_are_in_use_is_withdrawn_by_force_only() {
    let mesh = Mesh::new();
    let authority = Arc::new(mesh.authority());
    let rotation = Rotation::new(authority.clone(), false);
    for _ in 0..3 {
        rotation.advance(false).await.unwrap();
    }
    issue(&authority, &mesh.id("reviews"), None).await;
    assert_eq!(rotation.step_back(false).await.unwrap().phase, Phase::Distributed);
    let refused = rotation.step_back(false).await.unwrap_err().to_string();
    assert!(refused.contains("sa/reviews"), "{refused}");
    assert_eq!(rotation.step_back(true).await.unwrap().phase, Phase::Staged);
}

#[tokio::test]
async fn what_a_holder_told_one_control_plane_of_a_store_all_know() {
    let mesh = Mesh::new();
    let authority = Arc::new(mesh.authority());
    issue(&authority, &mesh.id("reviews"), None).await;
    for _ in 0..2 {
        authority.advance().unwrap();
    }
    let [one, other] = [authority, Arc::new(mesh.authority())].map(|authority| Rotation::new(authority, true));
    assert_eq!(one.progress().await.unwrap().percent(), 0);
    follows(&other, holder(&mesh, "reviews")).await;
    follows(&other, holder(&mesh, "nobody")).await;
    for rotation in [&one, &other] {
        assert_eq!(rotation.progress().await.unwrap().percent(), 100);
    }
    let kept = async || mesh.store.list("ca/trusted/").await.unwrap().entries.len();
    assert_eq!(kept().await, 1, "who holds no certificate is not kept");
    other.told(holder(&mesh, "reviews"), BTreeSet::from([one.authority.signing_root()])).await;
    assert_eq!(one.progress().await.unwrap().percent(), 0, "it went back");
}
