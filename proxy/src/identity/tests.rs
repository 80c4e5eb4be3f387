//! Joining and renewing with a scripted signer under a paused clock, through restarts and crashes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use tempfile::TempDir;

use super::control_plane::Credential;
use super::renewal::{due, pause};
use super::svid::fingerprint;
use super::test_kit::{Ca, RATINGS, REVIEWS, ScriptedSigner, trust_domain};
use super::*;

const LIFE: Duration = Duration::from_secs(3600);

fn agent(dir: &Path, signer: &ScriptedSigner) -> Agent<ScriptedSigner> {
    let pin = hex::encode(fingerprint(&signer.ca.root()));
    let token = JoinToken::parse(&format!("weft_join_id_secret_{pin}")).unwrap();
    Agent {
        files: Files::open(dir).unwrap(),
        signer: signer.clone(),
        token: Some(token),
        clock: signer.clock.clone(),
        jitter: Arc::new(|| 0.0),
    }
}

fn signer(life: Duration) -> ScriptedSigner {
    ScriptedSigner::new(life, Clock::with_tokio(SystemTime::now()))
}

async fn join(agent: &Agent<ScriptedSigner>) -> Result<Svid, IdentityError> {
    agent.join("nothing is stored".to_owned(), Duration::ZERO).await
}

#[tokio::test(start_paused = true)]
async fn what_was_joined_is_there_after_a_restart_without_token_and_control_plane() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let svid = join(&agent(dir.path(), &signer)).await.unwrap();
    assert_eq!(svid.id().to_string(), REVIEWS);
    assert_eq!(fs::metadata(dir.path().join("key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);

    signer.set_away(true);
    let restarted = Agent { token: None, ..agent(dir.path(), &signer) };
    assert_eq!(restarted.load(&trust_domain()).unwrap().serial(), svid.serial());
    tokio::time::advance(LIFE + Duration::from_secs(2)).await;
    let reason = restarted.load(&trust_domain()).unwrap_err();
    assert!(reason.contains("expired"), "{reason}");
    assert!(matches!(join(&restarted).await, Err(IdentityError::NoToken { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_join_whose_answer_was_lost_is_repeated_with_the_same_key_also_after_a_restart() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    signer.script.lock().unwrap().loses_answers = true;
    assert!(join(&agent(dir.path(), &signer)).await.unwrap_err().retryable());
    signer.script.lock().unwrap().loses_answers = false;
    join(&agent(dir.path(), &signer)).await.unwrap();
    let keys = signer.script.lock().unwrap().keys.clone();
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test(start_paused = true)]
async fn a_join_waits_for_the_control_plane_as_long_as_it_was_told_to() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    signer.set_away(true);
    let agent = agent(dir.path(), &signer);
    let start = signer.clock.now();
    let refused = agent.join(String::new(), Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(IdentityError::Unreachable { .. })));
    let waited = signer.clock.now().duration_since(start).unwrap();
    assert!(waited >= Duration::from_secs(60) && waited < Duration::from_secs(70), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_under_another_root_than_the_token_names_is_refused() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let wrong = JoinToken::parse(&format!("weft_join_id_secret_{}", "00".repeat(32))).unwrap();
    let agent = Agent { token: Some(wrong), ..agent(dir.path(), &signer) };
    assert!(matches!(join(&agent).await, Err(IdentityError::BadAnswer(_))));
    assert!(agent.load(&trust_domain()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_mesh_puts_the_stored_identity_aside() {
    let (dir, old, new) = (TempDir::new().unwrap(), signer(LIFE), signer(LIFE));
    join(&agent(dir.path(), &old)).await.unwrap();
    assert!(agent(dir.path(), &old).load(&trust_domain()).is_ok());
    assert!(agent(dir.path(), &new).load(&trust_domain()).unwrap_err().contains("another mesh"));
    let svid = join(&agent(dir.path(), &new)).await.unwrap();
    assert_eq!(svid.roots(), [new.ca.root()]);
}

#[tokio::test(start_paused = true)]
async fn renewal_that_is_tied_to_a_run_ends_with_it_whoever_follows_the_identity() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let agent = agent(dir.path(), &signer);
    let svid = join(&agent).await.unwrap();
    let identity = Identity::renewed(agent, svid);
    let (renewal, mut follower) = (identity.renewal(), identity.watch());
    follower.changed().await.unwrap();
    assert_eq!(signer.asked().len(), 2);
    drop(renewal);
    identity.ended().await;
    assert!(follower.changed().await.is_err());
    tokio::time::sleep(2 * LIFE).await;
    assert_eq!(signer.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn renewal_comes_at_half_life_with_a_fresh_key_by_the_current_certificate() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let agent = agent(dir.path(), &signer);
    let first = Arc::new(join(&agent).await.unwrap());
    let (sender, mut svids) = watch::channel(first.clone());
    tokio::spawn(renewal::run(agent, sender, watch::channel(None).1));
    svids.changed().await.unwrap();
    let second = svids.borrow().clone();
    assert_ne!(first.serial(), second.serial());
    let asked = signer.asked();
    let waited = asked[1].duration_since(asked[0]).unwrap();
    assert!(waited.abs_diff(LIFE / 2) < Duration::from_secs(2), "{waited:?}");
    let script = signer.script.lock().unwrap();
    assert_ne!(script.keys[0], script.keys[1]);
    assert!(matches!(&script.credentials[1], Credential::Svid(svid) if svid.serial() == first.serial()));
}

#[tokio::test(start_paused = true)]
async fn a_short_certificate_survives_an_absence_of_the_control_plane() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(Duration::from_secs(20)));
    let agent = agent(dir.path(), &signer);
    let first = Arc::new(join(&agent).await.unwrap());
    let (sender, mut svids) = watch::channel(first.clone());
    tokio::spawn(renewal::run(agent, sender, watch::channel(None).1));
    signer.set_away(true);
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(!svids.has_changed().unwrap(), "the last certificate is served while the control plane is away");
    signer.set_away(false);
    svids.changed().await.unwrap();
    assert!(signer.clock.now() < first.not_after(), "renewed only after the old one expired");
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_expired_while_it_slept_comes_back_by_its_own_key_without_a_token() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let joined = join(&agent(dir.path(), &signer)).await.unwrap();
    tokio::time::advance(LIFE * 3).await;
    let woken = Agent { token: None, ..agent(dir.path(), &signer) };
    let reason = woken.load(&trust_domain()).unwrap_err();
    signer.set_away(true);
    let away = woken.regain(&trust_domain(), reason.clone(), Duration::ZERO).await.unwrap_err();
    assert!(away.retryable(), "{away}");
    signer.set_away(false);
    let regained = woken.regain(&trust_domain(), reason, Duration::ZERO).await.unwrap();
    assert!(regained.not_after() > joined.not_after());
    assert!(woken.load(&trust_domain()).is_ok());
    let script = signer.script.lock().unwrap();
    assert!(matches!(&script.credentials[2], Credential::Expired(svid) if svid.serial() == joined.serial()));
    assert!(script.keys.iter().all(|key| *key == script.keys[0]), "another key would be refused");
}

#[tokio::test(start_paused = true)]
async fn a_running_identity_outlives_a_control_plane_that_was_away_for_longer_than_its_certificate() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(Duration::from_secs(20)));
    let agent = Agent { token: None, ..agent(dir.path(), &signer) };
    let first = Arc::new(join(&self::agent(dir.path(), &signer)).await.unwrap());
    let (sender, mut svids) = watch::channel(first.clone());
    tokio::spawn(renewal::run(agent, sender, watch::channel(None).1));
    signer.set_away(true);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!svids.has_changed().unwrap());
    signer.set_away(false);
    svids.changed().await.unwrap();
    assert!(svids.borrow().not_after() > first.not_after() + Duration::from_secs(3500));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_while_a_renewal_is_under_way_holds_at_once_and_after_it() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let agent = agent(dir.path(), &signer);
    let first = Arc::new(join(&agent).await.unwrap());
    let (sender, mut svids) = watch::channel(first.clone());
    let (tell, told) = watch::channel(None);
    tokio::spawn(renewal::run(agent, sender, told));
    signer.set_away(true);
    tokio::time::sleep(LIFE * 3 / 4).await;
    assert!(signer.asked().len() > 2, "a renewal is under way");
    let staged = Ca::new("staged").root();
    // The next root is above all that is issued from now on.
    let roots = vec![staged, signer.ca.root()];
    let mut denied = DenyList::default();
    denied.add(api::weft::v1::denied::Who::Identity(RATINGS.to_owned()), "it leaked");
    let denied = Arc::new(denied);
    tell.send_replace(Some(Told { roots: roots.clone(), denied: denied.clone() }));
    svids.changed().await.unwrap();
    let now = svids.borrow_and_update().clone();
    assert_eq!((now.serial(), now.roots(), now.denied()), (first.serial(), &roots[..], &denied));
    signer.set_away(false);
    svids.changed().await.unwrap();
    let renewed = svids.borrow_and_update().clone();
    assert_ne!(renewed.serial(), first.serial());
    assert_eq!((renewed.roots(), renewed.denied()), (&roots[..], &denied), "in the order that was told");
    {
        let script = signer.script.lock().unwrap();
        let asked_with = script.credentials.last().unwrap();
        assert!(
            matches!(asked_with, Credential::Svid(svid) if svid.roots() == roots),
            "it knows the control plane by them"
        );
    }
    let kept = self::agent(dir.path(), &signer).load(&trust_domain()).unwrap();
    assert_eq!((kept.roots(), kept.denied()), (&roots[..], &denied));
}

#[tokio::test(start_paused = true)]
async fn renewal_ends_when_nobody_uses_the_identity() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let agent = agent(dir.path(), &signer);
    let (sender, svids) = watch::channel(Arc::new(join(&agent).await.unwrap()));
    let task = tokio::spawn(renewal::run(agent, sender, watch::channel(None).1));
    drop(svids);
    task.await.unwrap();
    assert_eq!(signer.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_files_of_a_renewal_loses_no_identity() {
    let (dir, signer) = (TempDir::new().unwrap(), signer(LIFE));
    let agent = agent(dir.path(), &signer);
    let first = join(&agent).await.unwrap();
    let old_key = fs::read(dir.path().join("key.pem")).unwrap();
    let second = join(&agent).await.unwrap();
    assert_ne!(first.serial(), second.serial());
    // As if the process had ended after the new chain was written and before the key was renamed.
    fs::rename(dir.path().join("key.pem"), dir.path().join("next-key.pem")).unwrap();
    fs::write(dir.path().join("key.pem"), &old_key).unwrap();
    assert_eq!(agent.load(&trust_domain()).unwrap().serial(), second.serial());
    assert_ne!(fs::read(dir.path().join("key.pem")).unwrap(), old_key);
    // And before the new chain was written: the next key is not used yet.
    fs::write(dir.path().join("next-key.pem"), &old_key).unwrap();
    assert_eq!(agent.load(&trust_domain()).unwrap().serial(), second.serial());
}

#[test]
fn the_schedule_is_half_life_give_or_take_a_tenth() {
    let from = SystemTime::now();
    let after =
        |jitter| due(from, from + Duration::from_secs(1000), jitter).duration_since(from).unwrap().as_secs_f64();
    assert_eq!((after(0.0).round(), after(-1.0).round(), after(9.0).round()), (500.0, 450.0, 550.0));
    assert_eq!(due(from, from - Duration::from_secs(1), 1.0), from, "an expired certificate is due at once");
}

#[test]
fn pauses_double_to_a_minute_and_shrink_with_the_certificates_life() {
    let hour: Vec<u64> = (0..9).map(|failures| pause(failures, LIFE).as_secs()).collect();
    assert_eq!(hour, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert!(pause(30, Duration::from_secs(20)) <= Duration::from_secs(2));
}
