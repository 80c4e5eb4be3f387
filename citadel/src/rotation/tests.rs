//! The change of roots, with holders who follow and holders who do not.

mod shared;

use std::time::Duration;

use store::Store as _;

use super::*;
use crate::test_kit::{Mesh, issue, renew};
use crate::{Issued, verify_peer};

/// Whoever joined with a certificate, and is no member.
fn holder(joined: &Issued) -> Holder {
    let svid = X509Svid::parse(&joined.chain[0]).unwrap();
    Holder { identity: svid.id.to_string(), member: None, lineage: Some(svid.serial) }
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
    let reviews = issue(&authority, &mesh.id("reviews"), None).await;
    let ratings = issue(&authority, &mesh.id("ratings"), None).await;
    let old = authority.signing_root();

    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Staged);
    assert_eq!(rotation.bundles().borrow().roots.len(), 1, "nobody knows the next root yet");
    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Distributed);
    assert_eq!(rotation.bundles().borrow().pin(), old, "the old root signs on");

    follows(&rotation, holder(&reviews)).await;
    let waits = rotation.advance(false).await.unwrap_err().to_string();
    assert!(
        waits.starts_with("1 of 2 holders of certificates are behind: spiffe://cluster.local/ns/default/sa/ratings"),
        "{waits}"
    );
    assert_eq!(rotation.progress().await.unwrap().percent(), 50);
    follows(&rotation, holder(&ratings)).await;
    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Signing);
    assert_ne!(authority.signing_root(), old);

    let waits = rotation.advance(false).await.unwrap_err().to_string();
    assert!(waits.contains("2 of 2 holders") && waits.contains(OLD), "{waits}");
    mesh.time.advance(Duration::from_secs(1));
    let reviews = renew(&authority, &reviews).await;
    // Whose certificate ends is waited for no longer.
    mesh.time.advance(Duration::from_secs(3601));
    renew(&authority, &reviews).await;
    assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Idle);
    let bundle = rotation.bundles().borrow().clone();
    assert_eq!((bundle.roots.len(), bundle.pin() == authority.signing_root()), (1, true));
}

/// Two workloads of one service account that joined without membership, of which one does not follow.
#[tokio::test]
async fn each_workload_of_one_identity_is_waited_for() {
    for shared in [false, true] {
        let mesh = Mesh::new();
        let authority = Arc::new(mesh.authority());
        let rotation = Rotation::new(authority.clone(), shared);
        let [first, frozen] =
            [issue(&authority, &mesh.id("reviews"), None).await, issue(&authority, &mesh.id("reviews"), None).await];
        mesh.time.advance(Duration::from_secs(1));
        // The latest word and the latest certificate of the identity are of the one that follows.
        let second = renew(&authority, &first).await;
        assert_eq!(rotation.holder(&X509Svid::parse(&second.chain[0]).unwrap(), "").await.unwrap(), holder(&first));
        for _ in 0..2 {
            rotation.advance(false).await.unwrap();
        }
        follows(&rotation, holder(&first)).await;
        let waits = |refused: String, reason: &str| {
            let words = format!("1 of 2 holders of certificates are behind: {} {reason}", holder(&frozen));
            assert!(refused.starts_with(&words), "{refused}");
            assert!(refused.contains(&format!("(certificates from {})", &frozen.serial[..8])), "{refused}");
        };
        waits(rotation.advance(false).await.unwrap_err().to_string(), UNTOLD);
        follows(&rotation, holder(&frozen)).await;
        assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Signing);
        let third = renew(&authority, &second).await;
        waits(rotation.advance(false).await.unwrap_err().to_string(), OLD);
        mesh.time.advance(Duration::from_secs(1800));
        renew(&authority, &third).await;
        assert_eq!(rotation.progress().await.unwrap().waiting.len(), 1);
        // A pod that died is waited for until its last certificate ends.
        mesh.time.advance(Duration::from_secs(1801));
        assert_eq!(rotation.progress().await.unwrap().holders, 1);
        assert_eq!(rotation.advance(false).await.unwrap().phase, Phase::Idle);
    }
}

/// Entries that do not say of which lineage they are.
#[tokio::test]
async fn certificates_of_before_are_lineages_until_they_are_renewed() {
    let mesh = Mesh::new();
    let authority = Arc::new(mesh.authority());
    let rotation = Rotation::new(authority.clone(), false);
    let first = issue(&authority, &mesh.id("reviews"), None).await;
    let other = issue(&authority, &mesh.id("reviews"), None).await;
    let second = renew(&authority, &first).await;
    for entry in authority.ledger().entries().await.unwrap() {
        authority.ledger().enter(&LedgerEntry { lineage: None, ..entry }).await.unwrap();
    }
    let all = async || rotation.holders().await.unwrap().into_keys().collect::<BTreeSet<_>>();
    let expected = BTreeSet::from([holder(&second), holder(&other)]);
    assert_eq!(all().await, expected);
    let third = renew(&authority, &second).await;
    assert_eq!(rotation.holder(&X509Svid::parse(&third.chain[0]).unwrap(), "").await.unwrap(), holder(&second));
    assert_eq!(all().await, expected);
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
    let reviews = issue(&authority, &mesh.id("reviews"), None).await;
    for _ in 0..2 {
        authority.advance().unwrap();
    }
    let [one, other] = [authority, Arc::new(mesh.authority())].map(|authority| Rotation::new(authority, true));
    assert_eq!(one.progress().await.unwrap().percent(), 0);
    follows(&other, holder(&reviews)).await;
    follows(&other, Holder { lineage: Some("01".to_owned()), ..holder(&reviews) }).await;
    for rotation in [&one, &other] {
        assert_eq!(rotation.progress().await.unwrap().percent(), 100);
    }
    let kept = async || mesh.store.list("ca/trusted/").await.unwrap().entries.len();
    assert_eq!(kept().await, 1, "who holds no certificate is not kept");
    other.told(holder(&reviews), BTreeSet::from([one.authority.signing_root()])).await;
    assert_eq!(one.progress().await.unwrap().percent(), 0, "it went back");
}
