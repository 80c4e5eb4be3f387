//! Who belongs, for how long, and what a grant lets through.

use super::*;
use crate::test_kit::Mesh;

fn redeemed(token: &str) -> Redeemed {
    let grant = Grant { services: vec!["reviews".into()], ..Grant::default() };
    Redeemed { token: token.into(), namespace: "default".into(), service_account: "reviews".into(), grant }
}

#[tokio::test]
async fn the_same_key_is_the_same_member_and_its_limits_survive_a_restart() {
    let mesh = Mesh::new();
    let first = mesh.members().admit(&redeemed("t1"), "0123456789").await.unwrap();
    assert_eq!(mesh.members().admit(&redeemed("t1"), "0123456789").await.unwrap(), first);
    assert_ne!(mesh.members().admit(&redeemed("t1"), "abcdef0123").await.unwrap().id, first.id);
    assert_eq!(mesh.members().find(&first.id).await.unwrap().grant.services, ["reviews"]);
}

#[tokio::test]
async fn who_left_or_was_evicted_does_not_come_back() {
    let mesh = Mesh::new();
    let (gone, thrown) = (redeemed("t1"), redeemed("t2"));
    let left = mesh.members().admit(&gone, "0123456789").await.unwrap();
    mesh.members().end(&left.id, Ended::Left).await.unwrap();
    assert!(matches!(mesh.members().find(&left.id).await, Err(MemberError::Left(_))));
    assert!(matches!(mesh.members().admit(&gone, "0123456789").await, Err(MemberError::Left(_))));
    let evicted = mesh.members().admit(&thrown, "0123456789").await.unwrap();
    assert_eq!(mesh.members().evict("t2").await.unwrap().len(), 1);
    assert!(matches!(mesh.members().find(&evicted.id).await, Err(MemberError::Evicted(_))));
    assert!(matches!(mesh.members().find("../token/x").await, Err(MemberError::Unknown(_))));
}

#[test]
fn a_grant_lets_through_what_it_names_and_says_what_to_do_about_the_rest() {
    let grant = Grant {
        services: vec!["reviews".into()],
        ports: vec![9080],
        addresses: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
        ..Grant::default()
    };
    let port = |service: &str, port| grant.check_port(service, port, "default", "cluster.local");
    assert_eq!(port("reviews", 9080), Ok(()));
    assert_eq!(port("reviews.default.svc.cluster.local", 9080), Ok(()));
    assert!(port("ratings", 9080).unwrap_err().contains("--allow-service ratings"));
    assert!(port("reviews", 22).unwrap_err().contains("the ports 9080, not 22"));
    assert_eq!(grant.check_address("10.1.2.3".parse().unwrap()), Ok(()));
    assert_eq!(grant.check_address("fd00::7".parse().unwrap()), Ok(()));
    assert!(grant.check_address("10.2.0.1".parse().unwrap()).unwrap_err().contains("10.1.0.0/16, fd00::/8"));
    assert_eq!(Grant::default().check_port("ratings", 1, "default", "cluster.local"), Ok(()));
}
