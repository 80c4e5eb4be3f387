//! API tokens over their life.

use std::time::SystemTime;

use runtime::ManualClock;
use store::Memory;

use super::*;
use crate::access::Scopes;

fn new(name: &str, seconds: u64) -> NewApiToken {
    NewApiToken { access: Access::of(Role::Viewer), ..NewApiToken::admin(name, Duration::from_secs(seconds)) }
}

#[tokio::test]
async fn a_minted_token_verifies_until_it_expires_or_is_revoked() {
    let time = ManualClock::at(SystemTime::now());
    let store = Arc::new(Memory::new());
    let tokens = ApiTokens::new(store.clone(), time.clock());
    let admin = tokens.mint(NewApiToken::admin("admin", LONGEST)).await.unwrap();
    let short = tokens.mint(new("ci", 60)).await.unwrap();
    let verified = tokens.verify(&short.text).await.unwrap();
    assert_eq!((verified.name.as_str(), verified.access.role), ("ci", Role::Viewer));

    time.advance(Duration::from_secs(60));
    assert!(matches!(tokens.verify(&short.text).await, Err(ApiTokenError::Expired)));
    // A restart finds what was minted before it.
    let tokens = ApiTokens::new(store, time.clock());
    assert_eq!(tokens.verify(&admin.text).await.unwrap(), admin.token);
    assert_eq!(tokens.list().await.unwrap().len(), 2);

    tokens.revoke(&admin.token.id).await.unwrap();
    assert!(matches!(tokens.verify(&admin.text).await, Err(ApiTokenError::Unknown)));
    time.advance(Duration::from_secs(31 * 24 * 3600));
    assert_eq!(tokens.prune().await.unwrap(), 1);
}

#[tokio::test]
async fn every_new_token_expires_within_a_year_and_has_a_name() {
    let tokens = ApiTokens::new(Arc::new(Memory::new()), Clock::system());
    for wrong in [new("ci", 0), new("ci", LONGEST.as_secs() + 1), new("", 60), new("a\nb", 60)] {
        assert!(matches!(tokens.mint(wrong).await, Err(ApiTokenError::Refused(_))));
    }
}

#[tokio::test]
async fn only_the_whole_secret_is_accepted_and_it_is_not_kept() {
    let store = Arc::new(Memory::new());
    let tokens = ApiTokens::new(store.clone(), Clock::system());
    let text = tokens.mint(new("ci", 60)).await.unwrap().text;
    let secret = text.rsplit('_').next().unwrap();
    for wrong in ["", "weft_pat_", "weft_pat_x_y", "weft_pat_../config_y", &text[..text.len() - 1], &text[1..]] {
        assert!(tokens.verify(wrong).await.is_err(), "{wrong:?} was accepted");
    }
    for entry in store.list("").await.unwrap().entries {
        assert!(!String::from_utf8_lossy(&entry.value).contains(secret));
    }
    assert_eq!(ApiTokens::id_in(&text), text.split('_').nth(2));
    assert_eq!(ApiTokens::id_in("weft_pat_../x_y"), None);
}

#[tokio::test]
async fn the_last_use_is_told_and_goes_with_the_token() {
    let store = Arc::new(Memory::new());
    let tokens = ApiTokens::new(store.clone(), Clock::system());
    let made = tokens.mint(new("ci", 60)).await.unwrap();
    assert_eq!(tokens.list().await.unwrap()[0].last_used, None);
    let mut changes = store.watch(USED);
    tokens.verify(&made.text).await.unwrap();
    futures_util::StreamExt::next(&mut changes).await.unwrap();
    assert!(tokens.list().await.unwrap()[0].last_used.is_some());
    tokens.revoke(&made.token.id).await.unwrap();
    assert_eq!(store.list(USED).await.unwrap().entries, []);
}

#[tokio::test]
async fn a_token_of_an_earlier_version_is_the_operators_own() {
    let store = Arc::new(Memory::new());
    let record = format!(r#"{{"hash":"{}","name":"admin","created":1,"expires":null}}"#, secret::hash("secret"));
    store.commit(Transaction::put(key("abcdefghijkl"), record)).await.unwrap();
    let token = ApiTokens::new(store, Clock::system()).verify("weft_pat_abcdefghijkl_secret").await.unwrap();
    assert_eq!(token.access, Access { role: Role::Admin, scopes: Scopes::default() });
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_token_is_told_when_it_comes() {
    let tokens = ApiTokens::new(Arc::new(Memory::new()), Clock::with_tokio(SystemTime::now()));
    let (short, long) = (tokens.mint(new("ci", 90)).await.unwrap(), tokens.mint(new("ada", 900)).await.unwrap());
    let start = tokio::time::Instant::now();
    tokens.ended(&short.token.id).await;
    assert!(matches!(tokens.verify(&short.text).await, Err(ApiTokenError::Expired)));
    let lasted = start.elapsed();
    assert!(lasted.abs_diff(Duration::from_secs(90)) < Duration::from_secs(2), "{lasted:?}");
    let mut ended = std::pin::pin!(tokens.ended(&long.token.id));
    assert!(tokio::time::timeout(Duration::from_secs(300), &mut ended).await.is_err());
    // What becomes of others is not its end.
    tokens.revoke(&short.token.id).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(300), &mut ended).await.is_err());
    let revoked = tokio::time::Instant::now();
    tokens.revoke(&long.token.id).await.unwrap();
    ended.await;
    assert_eq!(revoked.elapsed(), Duration::ZERO);
}
