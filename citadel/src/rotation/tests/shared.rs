//! The change of roots on a store that two control planes share, each with files of its own.

use std::fs;
use std::path::PathBuf;

use store::Memory;

use super::*;
use crate::Agreement;

/// A control plane; its directory outlives it.
struct Plane {
    authority: Arc<SelfSigned>,
    rotation: Rotation,
}

impl Plane {
    /// What it does by itself every now and then.
    async fn look(&self) {
        self.authority.catch_up().await.unwrap();
    }

    fn state(&self) -> (Phase, String, usize) {
        let bundle = self.rotation.bundles().borrow().clone();
        assert_eq!(bundle.pin(), self.authority.signing_root());
        (self.authority.phase(), bundle.pin(), bundle.roots.len())
    }

    async fn advance(&self) -> Phase {
        self.rotation.advance(false).await.unwrap().phase
    }
}

fn shared() -> Mesh {
    Mesh { store: Arc::new(Memory::shared()), ..Mesh::new() }
}

fn files(mesh: &Mesh, name: &str) -> PathBuf {
    mesh.dir.path().join(name)
}

async fn start(mesh: &Mesh, name: &str) -> Result<Plane, StepError> {
    let files = files(mesh, name);
    let authority = SelfSigned::open(&files, &mesh.trust_domain, mesh.store.clone(), mesh.time.clock())?;
    authority.catch_up().await?;
    let authority = Arc::new(authority.agreeing(Agreement::new(mesh.store.clone(), name)).await?);
    Ok(Plane { rotation: Rotation::new(authority.clone(), true), authority })
}

/// Two that have the same root.
async fn two(mesh: &Mesh) -> [Plane; 2] {
    let one = start(mesh, "one").await.unwrap();
    copy(mesh, "one", "other");
    [one, start(mesh, "other").await.unwrap()]
}

fn copy(mesh: &Mesh, from: &str, to: &str) {
    fs::create_dir_all(files(mesh, to)).unwrap();
    for file in fs::read_dir(files(mesh, from)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), files(mesh, to).join(file.file_name())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn two_control_planes_change_roots_together_and_none_goes_before_the_other_follows() {
    let mesh = shared();
    let [one, other] = two(&mesh).await;
    let old = one.authority.signing_root();
    let reviews = issue(&other.authority, &mesh.id("reviews"), None).await;

    assert_eq!(one.advance().await, Phase::Staged);
    let refused = one.rotation.advance(false).await.unwrap_err().to_string();
    assert!(refused.starts_with("1 of 2 ") && refused.contains("control plane other has not taken"), "{refused}");
    assert_eq!(one.rotation.progress().await.unwrap().percent(), 50);
    other.look().await;
    // Whichever is asked.
    assert_eq!(other.advance().await, Phase::Distributed);
    one.look().await;
    assert_eq!((one.state(), other.state().0), ((Phase::Distributed, old.clone(), 2), Phase::Distributed));
    let refused = one.rotation.advance(false).await.unwrap_err().to_string();
    assert!(refused.contains("sa/reviews") && refused.contains(UNTOLD), "{refused}");
    follows(&other.rotation, holder(&reviews)).await;

    assert_eq!(one.advance().await, Phase::Signing);
    let before = issue(&other.authority, &mesh.id("ratings"), None).await;
    other.look().await;
    assert_eq!(one.state(), other.state());
    let new = one.authority.signing_root();
    assert_ne!(old, new);
    for plane in [&one, &other] {
        let bundle = plane.rotation.bundles().borrow().clone();
        let after = issue(&plane.authority, &mesh.id("details"), None).await;
        for issued in [&before, &after] {
            assert!(verify_peer(&issued.chain[..2], &bundle, mesh.time.clock().now()).is_ok());
        }
    }
    mesh.time.advance(Duration::from_secs(3700));
    assert_eq!(one.advance().await, Phase::Idle);
    other.look().await;
    assert_eq!(one.state(), (Phase::Idle, new.clone(), 1));
    assert_eq!(one.state(), other.state());
    assert_eq!(mesh.store.get(crate::ROOT).await.unwrap().unwrap().value, new);
    // So it is on disk: nothing is left of the old root.
    for name in ["one", "other"] {
        assert!(!files(&mesh, name).join("root-key.pem").exists());
        let opened = SelfSigned::open(&files(&mesh, name), &mesh.trust_domain, mesh.store.clone(), mesh.time.clock());
        assert_eq!(opened.unwrap().signing_root(), new);
    }
}

#[tokio::test(start_paused = true)]
async fn each_step_has_a_way_back_for_all() {
    let mesh = shared();
    let [one, other] = two(&mesh).await;
    let old = one.state();
    for _ in 0..3 {
        one.advance().await;
        other.look().await;
    }
    assert_eq!((one.state(), one.state().0), (other.state(), Phase::Signing));
    for phase in [Phase::Distributed, Phase::Staged, Phase::Idle] {
        assert_eq!(other.rotation.step_back(false).await.unwrap().phase, phase);
        let early = other.rotation.step_back(false).await.unwrap_err().to_string();
        assert!(phase == Phase::Idle || early.contains("control plane one has not taken the last step"), "{early}");
        one.look().await;
        assert_eq!(one.state(), other.state());
    }
    assert_eq!(one.state(), old);
    let nothing = one.rotation.step_back(false).await.unwrap_err();
    assert!(matches!(nothing, RotationError::Step(StepError::NothingToUndo)));
    let kept = fs::read_dir(files(&mesh, "other")).unwrap().count();
    assert_eq!(kept, fs::read_dir(files(&mesh, "one")).unwrap().count());
}

#[tokio::test(start_paused = true)]
async fn one_that_was_down_follows_when_it_comes_back_and_a_foreign_one_does_not_start() {
    let mesh = shared();
    let [one, other] = two(&mesh).await;
    drop(other);
    // It is waited for until it was seen to be gone.
    assert_eq!(one.advance().await, Phase::Staged);
    one.rotation.advance(false).await.unwrap_err();
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(10)).await;
        one.authority.beat().await.unwrap();
    }
    assert_eq!(one.advance().await, Phase::Distributed);
    assert_eq!(one.advance().await, Phase::Signing);
    let other = start(&mesh, "other").await.unwrap();
    assert_eq!(one.state(), other.state());
    drop(other);
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(10)).await;
        one.authority.beat().await.unwrap();
    }
    assert_eq!(one.advance().await, Phase::Idle);
    let other = start(&mesh, "other").await.unwrap();
    assert_eq!(one.state(), other.state());
    let again = start(&mesh, "other").await.unwrap();
    assert_eq!(one.state(), again.state());

    // With another root it has no key for what is in the store.
    let refused = start(&mesh, "foreign").await.err().unwrap().to_string();
    assert!(refused.contains("another root of trust") && refused.contains("copy the directory"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn no_key_is_in_the_store_in_clear() {
    use base64::Engine as _;
    let mesh = shared();
    let [one, other] = two(&mesh).await;
    assert_eq!(one.advance().await, Phase::Staged);
    other.look().await;
    assert_eq!((one.state(), one.state().0), (other.state(), Phase::Staged));

    let all = mesh.store.list("").await.unwrap().entries;
    assert!(all.iter().any(|entry| entry.key == "ca/rotation"));
    let mut keys = 0;
    for file in fs::read_dir(files(&mesh, "one")).unwrap().map(|file| file.unwrap().path()) {
        if !file.to_str().unwrap().ends_with("-key.pem") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(&body).unwrap();
        keys += 1;
        for entry in &all {
            let value = String::from_utf8_lossy(&entry.value);
            assert!(!value.contains("PRIVATE KEY") && !value.contains(&body[40..80]), "{}", entry.key);
            assert!(!entry.value.windows(32).any(|window| der.windows(32).any(|part| part == window)), "{}", entry.key);
        }
    }
    assert_eq!(keys, 3, "the root, the next one and the intermediate");
}

#[tokio::test(start_paused = true)]
async fn a_forced_step_leaves_nobody_at_odds_for_longer_than_it_takes_to_follow() {
    let mesh = shared();
    let [one, other] = two(&mesh).await;
    for _ in 0..3 {
        one.rotation.advance(true).await.unwrap();
    }
    // The other one does not trust the next root yet, so it does not sign.
    assert_eq!(one.authority.phase(), Phase::Distributed);
    other.look().await;
    one.look().await;
    assert_eq!((one.state(), one.state().0), (other.state(), Phase::Signing));
    assert_eq!(one.rotation.progress().await.unwrap().waiting, []);
}
