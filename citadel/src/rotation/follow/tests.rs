//! Files that somebody puts in the place of those in force, with holders who follow and holders who do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::test_kit::{ECDSA, Mesh, cacerts, issue, renew};
use crate::{Authority as _, Issued, SelfSigned, sha256};

/// A mesh whose authority is in files, in force from the first, and two more to come.
struct Files {
    mesh: Mesh,
    old: PathBuf,
    new: PathBuf,
}

impl Files {
    fn new(store: store::Memory) -> Self {
        let mesh = Mesh { store: Arc::new(store), ..Mesh::new() };
        let [old, new] = ["old", "new"].map(|name| mesh.dir.path().join(name));
        cacerts(&old, &ECDSA);
        cacerts(&new, &ECDSA);
        mesh.time.advance(Duration::from_secs(3600));
        let files = Self { mesh, old, new };
        files.put(&files.old, &[&files.old]);
        files
    }

    /// What signs, and the roots to trust.
    fn put(&self, signs: &Path, roots: &[&Path]) {
        fs::create_dir_all(self.mesh.ca()).unwrap();
        for name in ["ca-cert.pem", "ca-key.pem", "cert-chain.pem"] {
            fs::copy(signs.join(name), self.mesh.ca().join(name)).unwrap();
        }
        let roots = roots.iter().map(|root| fs::read_to_string(root.join("root-cert.pem")).unwrap());
        fs::write(self.mesh.ca().join("root-cert.pem"), roots.collect::<String>()).unwrap();
    }

    fn authority(&self) -> Arc<SelfSigned> {
        let Mesh { trust_domain, store, time, .. } = &self.mesh;
        Arc::new(SelfSigned::plugged_in(&self.mesh.ca(), trust_domain, store.clone(), time.clock()).unwrap())
    }

    async fn follows(&self, rotation: &Rotation, held: &Issued) {
        let roots = rotation.bundles().borrow().roots.iter().map(|root| sha256(root)).collect();
        let holder = rotation.holder(&api::X509Svid::parse(&held.chain[0]).unwrap(), "").await.unwrap();
        rotation.told(holder, roots).await;
    }
}

/// Looks at the files once, and tells which roots are in force then and why others are not.
async fn look(rotation: &Rotation) -> (String, usize, Option<String>) {
    rotation.look(&mut Said::default()).await;
    let bundle = rotation.bundles().borrow().clone();
    let faults = rotation.faults();
    let held_back = faults.into_iter().find_map(|fault| match fault {
        Fault::HeldBack(words) => Some(words),
        _ => None,
    });
    (bundle.pin(), bundle.roots.len(), held_back)
}

#[tokio::test]
async fn files_wait_for_every_holder_and_the_way_back_is_to_put_the_old_ones_there() {
    let files = Files::new(store::Memory::new());
    let (authority, both) = (files.authority(), [files.old.as_path(), files.new.as_path()]);
    let rotation = Rotation::new(authority.clone(), false);
    let old = authority.signing_root();
    let reviews = issue(&authority, &files.mesh.id("reviews"), None).await;
    let ratings = issue(&authority, &files.mesh.id("ratings"), None).await;

    // All at once would cut off everybody, and says what comes first.
    files.put(&files.new, &[&files.new]);
    let (signs, roots, held_back) = look(&rotation).await;
    let words = held_back.unwrap();
    assert_eq!((&signs, roots), (&old, 1));
    assert!(words.contains("put both roots into root-cert.pem first"), "{words}");
    assert!(words.contains("2 of 2 holders") && words.contains("sa/ratings"), "{words}");
    let progress = rotation.progress().await.unwrap();
    assert_eq!((progress.percent(), progress.waiting.len(), progress.pending), (0, 2, Some(words)));
    files.put(&files.old, &[&files.old]);
    assert_eq!(look(&rotation).await, (old.clone(), 1, None), "nothing is pending");
    assert_eq!(rotation.progress().await.unwrap().pending, None);

    // A root more waits for nobody.
    files.put(&files.old, &both);
    assert_eq!(look(&rotation).await, (old.clone(), 2, None));
    files.put(&files.new, &both);
    files.follows(&rotation, &reviews).await;
    let (signs, _, words) = look(&rotation).await;
    assert_eq!(signs, old);
    let words = words.unwrap();
    assert!(
        words.starts_with("1 of 2 holders of certificates are behind: ") && words.contains("sa/ratings"),
        "{words}"
    );
    let refused = rotation.advance(false).await.unwrap_err();
    assert!(matches!(&refused, RotationError::Waits(told) if *told == words), "{refused}");
    assert_eq!(rotation.progress().await.unwrap().percent(), 50);
    files.follows(&rotation, &ratings).await;
    let (new, roots, held_back) = look(&rotation).await;
    assert!(new != old && roots == 2 && held_back.is_none());

    // The old one stays until nobody has a certificate under it, or its certificate has ended.
    files.mesh.time.advance(Duration::from_secs(1));
    renew(&authority, &reviews).await;
    files.put(&files.new, &[&files.new]);
    let (_, roots, words) = look(&rotation).await;
    let words = words.unwrap();
    assert!(
        roots == 2 && words.contains("1 of 2") && words.contains("sa/ratings") && words.contains(super::super::OLD)
    );
    files.mesh.time.advance(Duration::from_secs(3600));
    assert_eq!(look(&rotation).await, (new, 1, None));
}

#[tokio::test]
async fn force_takes_up_what_is_held_back_and_it_is_told_who_is_cut_off() {
    let files = Files::new(store::Memory::new());
    let authority = files.authority();
    let rotation = Rotation::new(authority.clone(), false);
    let old = authority.signing_root();
    issue(&authority, &files.mesh.id("reviews"), None).await;
    let nothing = rotation.advance(true).await.unwrap_err().to_string();
    assert!(nothing.contains("put others there"), "{nothing}");
    files.put(&files.new, &[&files.new]);
    assert_eq!(rotation.advance(true).await.unwrap().pending, None);
    assert_ne!(authority.signing_root(), old);
    rotation.find_cut_off().await;
    let told = rotation.faults();
    assert!(
        matches!(&told[..], [Fault::CutOff(words)] if words.contains("sa/reviews") && words.contains(&old)),
        "{told:?}"
    );
    files.mesh.time.advance(Duration::from_secs(3601));
    rotation.find_cut_off().await;
    assert_eq!(rotation.faults(), []);
}

#[tokio::test]
async fn files_that_leave_out_a_root_in_use_start_all_the_same_and_it_is_told() {
    let files = Files::new(store::Memory::new());
    issue(&files.authority(), &files.mesh.id("reviews"), None).await;
    files.put(&files.new, &[&files.new]);
    let rotation = Rotation::new(files.authority(), false);
    rotation.find_cut_off().await;
    let told = rotation.faults();
    let words = "put that root into root-cert.pem again";
    assert!(
        matches!(&told[..], [Fault::CutOff(told)] if told.starts_with("1 of 1") && told.contains(words)),
        "{told:?}"
    );
    // With the root back beside the other one all is well.
    files.put(&files.new, &[&files.new, &files.old]);
    assert_eq!(look(&rotation).await.1, 2);
    rotation.find_cut_off().await;
    assert_eq!(rotation.faults(), []);
}

#[tokio::test]
async fn new_dates_make_no_other_root_and_bad_files_leave_the_last_in_force() {
    let files = Files::new(store::Memory::shared());
    let authority = Arc::try_unwrap(files.authority()).ok().unwrap();
    let agreement = |name| crate::Agreement::new(files.mesh.store.clone(), name);
    let authority = Arc::new(authority.agreeing(agreement("one")).await.unwrap());
    // Another control plane, which has the old dates.
    agreement("other").tell(&authority.trust_bundle().borrow().clone(), 0).await.unwrap();
    let rotation = Rotation::new(authority.clone(), false);
    issue(&authority, &files.mesh.id("reviews"), None).await;
    let mut bundles = authority.trust_bundle();
    let first = bundles.borrow_and_update().pin();
    assert!(!rotation.take_up(false).await.unwrap());
    let again = ["x509", "-in", "root-cert.pem", "-signkey", "root-key.pem", "-days", "60", "-out", "again.pem"]
        .map(String::from);
    crate::test_kit::openssl(&files.old, &again.each_ref().map(String::as_str));
    fs::rename(files.old.join("again.pem"), files.old.join("root-cert.pem")).unwrap();
    files.mesh.time.advance(Duration::from_secs(3600));
    files.put(&files.old, &[&files.old]);
    assert!(rotation.take_up(false).await.unwrap() && bundles.has_changed().unwrap());
    assert_ne!(bundles.borrow_and_update().pin(), first);
    rotation.find_cut_off().await;
    assert_eq!(rotation.faults(), []);

    let again = Rotation::new(files.authority(), true);
    again.find_cut_off().await;
    assert_eq!(again.faults(), [], "nor after a start");

    fs::write(files.mesh.ca().join("ca-key.pem"), "nonsense").unwrap();
    let words = look(&rotation).await.2.unwrap();
    assert!(words.contains("ca-key.pem") && words.contains("no private key"), "{words}");
    assert_eq!(rotation.progress().await.unwrap().pending, Some(words));
    issue(&authority, &files.mesh.id("reviews"), None).await;
}

#[tokio::test(start_paused = true)]
async fn two_roots_are_waited_for_by_hand_and_another_control_plane_is_not_left_behind() {
    let files = Files::new(store::Memory::shared());
    let agreement = |name| crate::Agreement::new(files.mesh.store.clone(), name);
    let open = async |name| Arc::try_unwrap(files.authority()).ok().unwrap().agreeing(agreement(name)).await.unwrap();
    let authority = Arc::new(open("one").await);
    open("other").await;
    let reviews = issue(&authority, &files.mesh.id("reviews"), None).await;
    let rotation = Rotation::new(authority.clone(), true);
    assert_eq!(rotation.progress().await.unwrap().percent(), 100);
    files.put(&files.old, &[&files.old, &files.new]);
    assert!(rotation.take_up(false).await.unwrap());
    let reason = async || rotation.progress().await.unwrap().waiting.first().map(|behind| behind.reason);
    assert_eq!(reason().await, Some(super::super::UNTOLD));
    files.follows(&rotation, &reviews).await;
    assert_eq!(reason().await, None);

    // The other one trusts the old root alone.
    files.put(&files.new, &[&files.old, &files.new]);
    let words = look(&rotation).await.2.unwrap();
    assert!(words.contains("the control plane other") && words.contains("does not trust the root"), "{words}");
    assert_eq!(rotation.progress().await.unwrap().pending, Some(words));
    // Once it is gone it does not count, and what was held back is taken up.
    for _ in 0..4 {
        tokio::time::advance(BEAT).await;
        look(&rotation).await;
    }
    assert_eq!(rotation.faults(), []);
    assert_eq!(reason().await, Some(super::super::OLD));
}
