//! Who is denied, until when, and what an operator is told.

use std::time::Duration;

use super::*;
use crate::test_kit::{Mesh, issue, renew};

const GRACE: Duration = Duration::from_secs(600);

async fn denials(mesh: &Mesh) -> Denials {
    Denials::open(mesh.store.clone(), mesh.time.clock(), mesh.id("control-plane"), &[], GRACE).await.unwrap()
}

fn order(kind: DeniedKind, value: &str) -> NewDenial {
    NewDenial { kind, value: value.to_owned(), reason: String::new(), lasts: None }
}

#[tokio::test]
async fn a_denial_is_in_force_at_once_outlives_a_restart_and_can_be_taken_back() {
    let mesh = Mesh::new();
    let denials = self::denials(&mesh).await;
    let mut list = denials.watch();
    let reviews = mesh.id("reviews").to_string();
    let made = denials.deny(order(DeniedKind::Identity, &reviews)).await.unwrap();
    assert!(list.has_changed().unwrap() && list.borrow_and_update().len() == 1);
    denials.deny(order(DeniedKind::Identity, &reviews)).await.unwrap();

    let again = self::denials(&mesh).await;
    assert_eq!((again.watch().borrow().len(), again.all().await.unwrap()), (1, vec![made.clone()]));
    again.allow(&made.id).await.unwrap();
    assert!(self::denials(&mesh).await.watch().borrow().is_empty());
    assert!(matches!(again.allow(&made.id).await, Err(DenialError::Unknown(_))));
}

#[tokio::test]
async fn a_serial_number_is_denied_until_nothing_comes_of_its_certificate_any_more() {
    let mesh = Mesh::new();
    let denials = self::denials(&mesh).await;
    let issued = issue(&mesh.authority(), &mesh.id("reviews"), None).await;
    let capitals = issued.serial.to_uppercase();
    let shown: Vec<_> = capitals.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
    let made = denials.deny(order(DeniedKind::Serial, &shown.join(":"))).await.unwrap();
    let end = issued.not_after.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + GRACE.as_secs();
    assert_eq!((made.value, made.until), (issued.serial.clone(), Some(end)));
    let sooner = NewDenial { lasts: Some(Duration::from_secs(5)), ..order(DeniedKind::Serial, &issued.serial) };
    assert!(denials.deny(sooner).await.unwrap().until.unwrap() < end);

    mesh.time.advance(Duration::from_secs(6));
    denials.refresh().await.unwrap();
    assert!(denials.watch().borrow().is_empty() && denials.all().await.unwrap().is_empty());
    assert_eq!(mesh.store.list(PREFIX).await.unwrap().entries, [], "what has ended is deleted");
}

/// Of two workloads of one identity that are no members.
#[tokio::test]
async fn by_any_serial_number_of_its_certificates_a_workload_is_denied_with_all_of_them() {
    let mesh = Mesh::new();
    let (authority, denials) = (mesh.authority(), self::denials(&mesh).await);
    let first = issue(&authority, &mesh.id("reviews"), None).await;
    let other = issue(&authority, &mesh.id("reviews"), None).await;
    mesh.time.advance(Duration::from_secs(1800));
    let second = renew(&authority, &first).await;
    let listed = |issued: &crate::Issued| {
        denials.watch().borrow().denies(&api::X509Svid::parse(&issued.chain[0]).unwrap()).is_some()
    };
    for serial in [&first.serial, &second.serial] {
        let made = denials.deny(order(DeniedKind::Serial, serial)).await.unwrap();
        let end = second.not_after.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + GRACE.as_secs();
        assert_eq!((&made.value, made.until), (serial, Some(end)));
        assert_eq!([&first, &second, &other].map(listed), [true, true, false]);
        denials.allow(&made.id).await.unwrap();
        assert_eq!([&first, &second, &other].map(listed), [false; 3]);
    }
    // The name under which a workload is waited for does once its first certificate is forgotten, too.
    mesh.time.advance(Duration::from_secs(1805));
    authority.ledger().prune().await.unwrap();
    assert_eq!(authority.ledger().entry(&first.serial).await.unwrap(), None);
    let made = denials.deny(order(DeniedKind::Serial, &first.serial)).await.unwrap();
    assert_eq!((made.value, listed(&second)), (first.serial.clone(), true));
    // What was signed at that very moment is on the list when it is read next.
    let third = renew(&authority, &second).await;
    assert!(!listed(&third));
    denials.refresh().await.unwrap();
    assert!(listed(&third));
}

#[tokio::test]
async fn what_cannot_be_denied_is_refused_with_the_reason() {
    let mesh = Mesh::new();
    let denials = self::denials(&mesh).await;
    let refused = async |kind, value: &str| denials.deny(order(kind, value)).await.unwrap_err().to_string();
    assert!(refused(DeniedKind::Serial, "xyz").await.contains("hexadecimal"));
    assert!(refused(DeniedKind::Serial, "0a").await.contains("no live certificate"));
    assert!(refused(DeniedKind::Identity, "reviews").await.contains("no SPIFFE ID"));
    assert!(refused(DeniedKind::Identity, "spiffe://other/ns/a/sa/b").await.contains("not of this mesh"));
    assert!(refused(DeniedKind::Identity, &mesh.id("control-plane").to_string()).await.contains("own identity"));
    assert!(refused(DeniedKind::Agent, "a b").await.contains("no agent"));
    assert!(denials.watch().borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_another_control_plane_denies_is_denied_here() {
    let mesh = Mesh::new();
    let (here, there) = (self::denials(&mesh).await, self::denials(&mesh).await);
    let mut list = here.watch();
    tokio::spawn(here.run());
    tokio::task::yield_now().await;
    there.deny(order(DeniedKind::Agent, "a-1")).await.unwrap();
    list.wait_for(|list| list.len() == 1).await.unwrap();
}

#[tokio::test]
async fn who_is_evicted_is_denied_as_long_as_a_certificate_of_his_holds() {
    let mesh = Mesh::new();
    let denials = self::denials(&mesh).await;
    let key = crate::SubjectKey::of(&rcgen::KeyPair::generate().unwrap());
    let member = Some("t1-00".to_owned());
    let (id, attested_by) = (mesh.id("reviews"), "test".to_owned());
    let order = crate::IssueRequest { id, key, ttl: None, member, attested_by, renews: None, from: None };
    crate::Authority::issue(&mesh.authority(), order).await.unwrap();
    assert_eq!(denials.cut_off("another", "evicted").await.unwrap(), None, "who holds none needs no entry");
    let made = denials.cut_off("t1-00", "evicted").await.unwrap().unwrap();
    assert_eq!((made.kind, made.reason.as_str()), (DeniedKind::Agent, "evicted"));
    assert_eq!(denials.cut_off("t1-00", "again").await.unwrap(), Some(made), "an entry is not shortened");
    mesh.time.advance(Duration::from_secs(3600));
    assert_eq!(denials.all().await.unwrap().len(), 1);
    mesh.time.advance(Duration::from_secs(120));
    assert!(denials.all().await.unwrap().is_empty());
}

#[tokio::test]
async fn who_is_denied_is_so_under_each_name_of_the_mesh() {
    let mesh = Mesh::new();
    let aliases = ["old.example", "older.example"].map(|name| TrustDomain::new(name).unwrap());
    let own = mesh.id("control-plane");
    let denials = Denials::open(mesh.store.clone(), mesh.time.clock(), own.clone(), &aliases, GRACE).await.unwrap();
    let reviews = mesh.id("reviews");
    let made = denials.deny(order(DeniedKind::Identity, &reviews.within(&aliases[0]).to_string())).await.unwrap();
    assert_eq!(made.value, reviews.to_string());
    let list = denials.watch().borrow().clone();
    for id in [reviews.clone(), reviews.within(&aliases[0]), reviews.within(&aliases[1])] {
        assert!(list.denies_parts("", || id.to_string(), None).is_some(), "{id}");
    }
    let elsewhere = order(DeniedKind::Identity, "spiffe://another.example/ns/default/sa/reviews");
    assert!(matches!(denials.deny(elsewhere).await, Err(DenialError::Foreign { .. })));
    let itself = order(DeniedKind::Identity, &own.within(&aliases[1]).to_string());
    assert!(matches!(denials.deny(itself).await, Err(DenialError::Own(_))));
}
