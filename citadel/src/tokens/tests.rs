//! Join tokens used once, again, too late, by others, and after they were revoked.

use super::*;
use crate::test_kit::Mesh;

const WINDOW: Duration = Duration::from_secs(RETRY_WINDOW_S);

#[tokio::test]
async fn a_token_has_the_promised_shape_and_grants_its_service_account() {
    let mesh = Mesh::new();
    let text = mesh.token("reviews").await;
    let parts: Vec<&str> = text.split('_').collect();
    assert_eq!((parts[0], parts[1], parts.len()), ("weft", "join", 5));
    assert!(parts[3].len() >= 22, "22 characters of base 62 are 130 bits");
    assert_eq!(parts[4], mesh.authority().signing_root());
    let redeemed = mesh.tokens().redeem(&text, "key 1").await.unwrap();
    assert_eq!((redeemed.namespace.as_str(), redeemed.service_account.as_str()), ("default", "reviews"));
}

#[tokio::test]
async fn the_same_key_may_ask_again_for_a_while_and_another_may_not() {
    let mesh = Mesh::new();
    let text = mesh.token("reviews").await;
    let first = mesh.tokens().redeem(&text, "key 1").await.unwrap();
    mesh.time.advance(WINDOW);
    assert_eq!(mesh.tokens().redeem(&text, "key 1").await.unwrap(), first);
    assert!(matches!(mesh.tokens().redeem(&text, "key 2").await, Err(TokenError::UsedByAnotherKey)));
    mesh.time.advance(Duration::from_secs(1));
    assert!(matches!(mesh.tokens().redeem(&text, "key 1").await, Err(TokenError::Spent)));
}

#[tokio::test]
async fn of_many_keys_at_once_one_wins() {
    let mesh = Mesh::new();
    let text = mesh.token("reviews").await;
    let tokens = mesh.tokens();
    let keys: Vec<String> = (0..8).map(|number| format!("key {number}")).collect();
    let answers = futures_util::future::join_all(keys.iter().map(|key| tokens.redeem(&text, key))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_token_expires_but_a_lost_answer_may_still_be_asked_for() {
    let mesh = Mesh::new();
    let (used, unused) = (mesh.token("reviews").await, mesh.token("ratings").await);
    mesh.time.advance(Duration::from_secs(3599));
    mesh.tokens().redeem(&used, "key 1").await.unwrap();
    mesh.time.advance(Duration::from_secs(1));
    assert!(matches!(mesh.tokens().redeem(&unused, "key 2").await, Err(TokenError::Expired)));
    assert!(mesh.tokens().redeem(&used, "key 1").await.is_ok());
    assert!(mesh.tokens().list().await.unwrap().iter().all(|token| token.expired));
    mesh.time.advance(WINDOW + Duration::from_secs(1));
    assert_eq!(mesh.tokens().prune().await.unwrap(), 2);
}

#[tokio::test]
async fn a_wrong_secret_is_as_unknown_as_a_wrong_id() {
    let mesh = Mesh::new();
    let text = mesh.token("reviews").await;
    let parts: Vec<&str> = text.split('_').collect();
    for (id, secret) in [(parts[2], "guess"), (parts[2], ""), ("000000000000", parts[3]), ("../config", parts[3])] {
        let wrong = format!("weft_join_{id}_{secret}_{}", parts[4]);
        assert!(matches!(mesh.tokens().redeem(&wrong, "key").await, Err(TokenError::Unknown)), "{wrong}");
    }
    for malformed in ["", "weft_pat_a_b", "weft_join_a_b", &format!("{text}_more")] {
        assert!(matches!(mesh.tokens().redeem(malformed, "key").await, Err(TokenError::Malformed)), "{malformed}");
    }
}

#[tokio::test]
async fn what_is_kept_does_not_hold_the_secret_and_is_gone_once_revoked() {
    let mesh = Mesh::new();
    let text = mesh.token("reviews").await;
    let secret = text.split('_').nth(3).unwrap();
    for entry in mesh.store.list("").await.unwrap().entries {
        assert!(!String::from_utf8_lossy(&entry.value).contains(secret));
    }
    let [token] = &mesh.tokens().list().await.unwrap()[..] else { panic!("one token is expected") };
    assert_eq!((token.uses, token.used, token.expired), (1, 0, false));
    mesh.tokens().revoke(&token.id).await.unwrap();
    assert!(matches!(mesh.tokens().redeem(&text, "key").await, Err(TokenError::Unknown)));
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused() {
    let mesh = Mesh::new();
    let refused = mesh.tokens().create(NewToken::new("default", "a/b")).await;
    assert!(matches!(refused, Err(TokenError::Name(name)) if name == "a/b"));
    let never = NewToken { uses: 0, ..NewToken::new("default", "reviews") };
    assert!(matches!(mesh.tokens().create(never).await, Err(TokenError::Useless)));
}
