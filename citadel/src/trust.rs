//! The service `weft.v1.Trust`: tells every holder of a certificate which roots vouch for the mesh and who is turned
//! away all the same, and hears which roots it trusts.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::weft::v1 as wire;
use api::{DenyList, X509Svid};
use aws_lc_rs::digest::SHA256_OUTPUT_LEN;
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use wire::trust_server::{Trust as TrustService, TrustServer};

use crate::authority::MOST_ROOTS;
use crate::{Holder, PeerCertificates, Rotation, TrustBundle};

/// What a caller tells is kept this often at most.
const PAUSE: Duration = Duration::from_secs(1);
/// What could not be kept is tried again after this time.
const AGAIN: Duration = Duration::from_secs(10);

/// The service.
pub struct Trust {
    rotation: Rotation,
    denied: watch::Receiver<Arc<DenyList>>,
}

impl Trust {
    /// Requests find their peer's certificates in the extension `PeerCertificates`, which `incoming` provides.
    pub fn server(rotation: Rotation, denied: watch::Receiver<Arc<DenyList>>) -> TrustServer<Self> {
        TrustServer::new(Self { rotation, denied }).max_decoding_message_size(4096)
    }
}

type Bundles = Pin<Box<dyn Stream<Item = Result<wire::Bundle, Status>> + Send>>;

#[tonic::async_trait]
impl TrustService for Trust {
    type FollowStream = Bundles;

    async fn follow(&self, request: Request<Streaming<wire::Held>>) -> Result<Response<Bundles>, Status> {
        let leaf = request.extensions().get::<PeerCertificates>().and_then(|peer| peer.chain.first().cloned());
        let leaf = leaf.ok_or_else(|| Status::unauthenticated("present the certificate of a workload of this mesh"))?;
        let svid = X509Svid::parse(&leaf).map_err(|error| Status::unauthenticated(error.to_string()))?;
        let (answers, stream) = mpsc::channel(1);
        let follower = Follower { svid, rotation: self.rotation.clone(), denied: self.denied.clone(), answers };
        tokio::spawn(follower.serve(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// A caller, and what it needs to be told.
struct Follower {
    svid: X509Svid,
    rotation: Rotation,
    denied: watch::Receiver<Arc<DenyList>>,
    answers: mpsc::Sender<Result<wire::Bundle, Status>>,
}

/// What a caller told last, and whether it is kept.
struct Word {
    svid: X509Svid,
    /// Of the certificate that it has by now: it may have joined again since it opened the stream.
    serial: String,
    /// Once it is looked up.
    holder: Option<Holder>,
    kept: Option<BTreeSet<String>>,
    due: Option<BTreeSet<String>>,
    /// When it may be kept.
    next: Instant,
}

impl Follower {
    async fn serve(mut self, mut told: impl Stream<Item = Result<wire::Held, Status>> + Unpin) {
        let (svid, serial) = (self.svid.clone(), self.svid.serial.clone());
        let mut word = Word { svid, serial, holder: None, kept: None, due: None, next: Instant::now() };
        let mut bundles = self.rotation.bundles();
        bundles.mark_changed();
        loop {
            tokio::select! {
                held = told.next() => {
                    let Some(Ok(held)) = held else { break };
                    word.hear(&held);
                    continue;
                }
                () = tokio::time::sleep_until(word.next), if word.due.is_some() => {
                    word.keep(&self.rotation).await;
                    continue;
                }
                Ok(()) = bundles.changed() => {}
                Ok(()) = self.denied.changed() => {}
            }
            let roots = bundles.borrow_and_update().clone();
            let denied = self.denied.borrow_and_update().clone();
            if let Some(denied) = denied.denies(&self.svid) {
                let _ = self.answers.send(Err(Status::permission_denied(denied.to_string()))).await;
                return;
            }
            if self.answers.send(Ok(wire_of(&roots, &denied))).await.is_err() {
                break;
            }
        }
        word.keep(&self.rotation).await;
    }
}

impl Word {
    fn hear(&mut self, held: &wire::Held) {
        if self.serial != held.serial && is_serial(&held.serial) {
            self.serial.clone_from(&held.serial);
            (self.holder, self.kept) = (None, None);
        }
        let roots = held.roots.iter().filter(|root| root.len() == SHA256_OUTPUT_LEN).take(MOST_ROOTS);
        self.due = Some(roots.map(hex::encode).collect()).filter(|roots| self.kept.as_ref() != Some(roots));
    }

    async fn holder(&mut self, rotation: &Rotation) -> Option<Holder> {
        if self.holder.is_none() {
            let found = rotation.holder(&self.svid, &self.serial).await;
            let told = |error: &_| {
                tracing::warn!(%error, identity = %self.svid.id, "who says which roots it trusts cannot be looked up now");
            };
            self.holder = found.inspect_err(told).ok();
        }
        self.holder.clone()
    }

    async fn keep(&mut self, rotation: &Rotation) {
        let Some(roots) = self.due.take() else { return };
        let is_kept = match self.holder(rotation).await {
            Some(holder) => rotation.told(holder, roots.clone()).await,
            None => false,
        };
        if is_kept {
            (self.kept, self.next) = (Some(roots), Instant::now() + PAUSE);
        } else {
            (self.due, self.next) = (Some(roots), Instant::now() + AGAIN);
        }
    }
}

fn is_serial(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn wire_of(bundle: &TrustBundle, denied: &DenyList) -> wire::Bundle {
    wire::Bundle {
        roots: bundle.roots.iter().map(|root: &CertificateDer<'_>| root.to_vec()).collect(),
        denied: denied.to_wire(),
    }
}

#[cfg(test)]
mod tests {
    use store::{Memory, Store as _};

    use super::*;
    use crate::test_kit::{Away, Mesh, issue, renew};
    use crate::{Issued, SelfSigned};

    /// How to tell on a stream of a holder's.
    async fn stream(mesh: &Mesh, store: Arc<dyn store::Store>) -> mpsc::Sender<Result<wire::Held, Status>> {
        let authority = open(mesh, store);
        let joined = issue(&authority, &mesh.id("reviews"), None).await;
        stream_of(Rotation::new(authority, true), &joined)
    }

    fn open(mesh: &Mesh, store: Arc<dyn store::Store>) -> Arc<SelfSigned> {
        Arc::new(SelfSigned::open(&mesh.ca(), &mesh.trust_domain, store, mesh.time.clock()).unwrap())
    }

    /// The same by a certificate of his.
    fn stream_of(rotation: Rotation, held: &Issued) -> mpsc::Sender<Result<wire::Held, Status>> {
        let (answers, mut bundles) = mpsc::channel(1);
        let denied = watch::channel(Arc::default()).1;
        let svid = X509Svid::parse(&held.chain[0]).unwrap();
        let follower = Follower { svid, rotation, denied, answers };
        let (tell, told) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::join!(follower.serve(ReceiverStream::new(told)), async { while bundles.recv().await.is_some() {} })
        });
        tell
    }

    fn held(root: u8) -> Result<wire::Held, Status> {
        Ok(wire::Held { roots: vec![vec![root; 32]], serial: String::new() })
    }

    async fn kept(store: &Memory) -> (u64, String) {
        let entries = store.list("ca/trusted/").await.unwrap().entries;
        let entry = entries.first().unwrap();
        (entry.revision, String::from_utf8(entry.value.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_words_is_kept_once_a_second_and_the_last_one_wins() {
        let (mesh, store) = (Mesh::new(), Arc::new(Memory::shared()));
        let tell = stream(&mesh, store.clone()).await;
        let before = store.list("").await.unwrap().revision;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            for number in 0..100 {
                tell.send(held(number)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tell.send(held(200)).await.unwrap();
        drop(tell);
        tokio::time::sleep(PAUSE).await;
        let (revision, word) = kept(&store).await;
        assert!((5..=12).contains(&(revision - before)), "{} writes", revision - before);
        assert!(word.contains(&"c8".repeat(32)), "{word}");
    }

    #[tokio::test(start_paused = true)]
    async fn words_are_of_one_workload_whichever_of_its_certificates_it_shows() {
        let (mesh, store) = (Mesh::new(), Arc::new(Memory::shared()));
        let away = Arc::new(Away::new(store.clone()));
        let authority = open(&mesh, away.clone());
        let rotation = Rotation::new(authority.clone(), true);
        let first = issue(&authority, &mesh.id("reviews"), None).await;
        let other = issue(&authority, &mesh.id("reviews"), None).await;
        let renewed = renew(&authority, &first).await;
        away.set(true);
        for (held, root) in [(&first, 1), (&other, 2), (&renewed, 3)] {
            let tell = stream_of(rotation.clone(), held);
            tell.send(self::held(root)).await.unwrap();
            tokio::time::sleep(PAUSE).await;
            // Whose word it is, is looked up once the store is back.
            away.set(false);
            tokio::time::sleep(AGAIN).await;
        }
        let entries = store.list("ca/trusted/").await.unwrap().entries;
        let words = entries.iter().map(|entry| String::from_utf8(entry.value.to_vec()).unwrap());
        let words: Vec<String> = words.collect();
        let of = |joined: &Issued| words.iter().find(|word| word.contains(&joined.serial)).unwrap();
        assert!(of(&first).contains(&"03".repeat(32)) && of(&other).contains(&"02".repeat(32)), "{words:?}");
        assert_eq!(words.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_outlives_the_certificate_and_the_lineage_by_which_it_was_opened() {
        let (mesh, store) = (Mesh::new(), Arc::new(Memory::shared()));
        let authority = open(&mesh, store.clone());
        let first = issue(&authority, &mesh.id("reviews"), None).await;
        let tell = stream_of(Rotation::new(authority.clone(), true), &first);
        let again = issue(&authority, &mesh.id("reviews"), None).await;
        let other = issue(&authority, &mesh.id("ratings"), None).await;
        // The same roots each time; only certificates of its own identity count.
        for serial in ["", &first.serial, "../reviews", &other.serial, &again.serial] {
            tell.send(Ok(wire::Held { serial: serial.to_owned(), ..held(1).unwrap() })).await.unwrap();
            tokio::time::sleep(2 * PAUSE).await;
        }
        let entries = store.list("ca/trusted/").await.unwrap().entries;
        let words: Vec<String> = entries.iter().map(|entry| String::from_utf8(entry.value.to_vec()).unwrap()).collect();
        let of = |issued: &Issued| words.iter().filter(|word| word.contains(&issued.serial)).count();
        assert_eq!([&first, &again, &other].map(of), [1, 1, 0], "{words:?}");
        assert_eq!(words.len(), 2, "{words:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_word_is_kept_once_and_one_that_could_not_be_kept_later() {
        let (mesh, store) = (Mesh::new(), Arc::new(Memory::shared()));
        let away = Arc::new(Away::new(store.clone()));
        let tell = stream(&mesh, away.clone()).await;
        for _ in 0..5 {
            tell.send(held(1)).await.unwrap();
            tokio::time::sleep(2 * PAUSE).await;
        }
        let (revision, _) = kept(&store).await;
        assert_eq!(revision, store.list("").await.unwrap().revision);
        away.set(true);
        tell.send(held(2)).await.unwrap();
        tokio::time::sleep(2 * PAUSE).await;
        away.set(false);
        assert_eq!(kept(&store).await.0, revision);
        tokio::time::sleep(AGAIN).await;
        assert!(kept(&store).await.1.contains(&"02".repeat(32)));
    }
}
