//! A cluster that is asked: one that answers as it is told to, and one that never does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::adapter::kubernetes::KeyReaders;
use crate::model::KeyAccess;

const LONG: Duration = Duration::from_secs(60);

/// A cluster whose API server is to be there.
async fn cluster() -> (Cluster, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "east",
        "contexts": [{ "name": "east", "context": { "cluster": "east", "user": "u" } }],
        "clusters": [{ "name": "east", "cluster": { "server": server } }],
        "users": [{ "name": "u", "user": { "token": "t" } }],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    (Cluster::open(&file).await.unwrap(), listener)
}

/// Reads a request; its path and its body.
async fn request(stream: &mut BufReader<TcpStream>) -> (String, Value) {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if path.is_empty() {
            line.split(' ').nth(1).unwrap_or_default().clone_into(&mut path);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (path, serde_json::from_slice(&body).unwrap())
}

/// Asks a server that takes the question and says nothing, and tells what became of it.
async fn unanswered(path: &str, ask: impl Future<Output = String> + Send + 'static, listener: TcpListener) -> String {
    let asked = tokio::spawn(ask);
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    assert_eq!(request(&mut stream).await.0.split('?').next(), Some(path));
    tokio::time::pause();
    timeout(LONG, asked).await.expect("it is waited for without end").unwrap()
}

#[tokio::test]
async fn a_cluster_that_takes_a_token_and_is_silent_is_not_waited_for_without_end() {
    let (cluster, listener) = cluster().await;
    let ask = async move { cluster.review_token("a token", "istio-ca").await.unwrap_err() };
    let told = unanswered("/apis/authentication.k8s.io/v1/tokenreviews", ask, listener).await;
    assert_eq!(told, "no answer within 10 s");
}

#[tokio::test]
async fn a_cluster_that_is_silent_about_an_account_is_not_waited_for_without_end() {
    let (cluster, listener) = cluster().await;
    let ask = async move {
        let told = KeyReaders::of(cluster).follow("istio-system", "edge").await.borrow().clone();
        format!("{told:?}")
    };
    let told = unanswered("/apis/authorization.k8s.io/v1/subjectaccessreviews", ask, listener).await;
    assert_eq!(told, r#"Unknown("the cluster east cannot be asked: no answer within 10 s")"#);
}

/// What the cluster says, and about whom it was asked.
#[derive(Default)]
struct Scripted {
    allowed: Mutex<Option<bool>>,
    asked: AtomicUsize,
    users: Mutex<Vec<String>>,
}

impl Scripted {
    fn says(&self, allowed: Option<bool>) {
        *self.allowed.lock() = allowed;
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (_, review) = request(&mut stream).await;
            let wanted = &review["spec"]["resourceAttributes"];
            assert_eq!((wanted["verb"].as_str(), wanted["resource"].as_str()), (Some("list"), Some("secrets")));
            self.users.lock().push(review["spec"]["user"].as_str().unwrap().to_owned());
            let allowed = *self.allowed.lock();
            let (status, body) = match allowed {
                Some(allowed) => ("201 Created", json!({ "status": { "allowed": allowed } }).to_string()),
                None => ("500 Internal Server Error", String::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until it was asked so often since.
    async fn asked_again(&self, times: usize) {
        let before = self.asked.load(Ordering::SeqCst);
        let more = async {
            while self.asked.load(Ordering::SeqCst) < before + times {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, more).await.expect("it is asked again");
    }
}

async fn readers(scripted: &Arc<Scripted>, holds: Duration) -> KeyReaders {
    let (cluster, listener) = cluster().await;
    tokio::spawn(Arc::clone(scripted).serve(listener));
    KeyReaders::of(cluster).asking_every(holds)
}

#[tokio::test]
async fn an_account_is_asked_about_once_for_all_that_run_as_it() {
    let scripted = Arc::new(Scripted::default());
    scripted.says(Some(false));
    let readers = readers(&scripted, Duration::from_secs(3600)).await;
    let (first, second) = tokio::join!(readers.follow("istio-system", "edge"), readers.follow("istio-system", "edge"));
    drop((first, second));
    // The answer holds for whoever comes soon after they left.
    let told = readers.follow("istio-system", "edge").await;
    let KeyAccess::Denied(why) = told.borrow().clone() else { panic!("{told:?}") };
    assert!(why.contains("cluster east does not let") && why.contains("kubectl create role edge-keys"), "{why}");
    assert_eq!(*scripted.users.lock(), ["system:serviceaccount:istio-system:edge"]);
}

#[tokio::test]
async fn what_changes_in_the_cluster_reaches_whoever_follows() {
    let scripted = Arc::new(Scripted::default());
    let readers = readers(&scripted, Duration::from_millis(5)).await;
    let mut told = readers.follow("istio-system", "edge").await;
    assert!(matches!(&*told.borrow(), KeyAccess::Unknown(why) if why.contains("east cannot be asked")), "{told:?}");
    let until = async |told: &mut watch::Receiver<KeyAccess>, granted: bool| {
        let changed = told.wait_for(|access| (*access == KeyAccess::Granted) == granted);
        drop(timeout(LONG, changed).await.expect("it is told").unwrap());
    };
    scripted.says(Some(true));
    until(&mut told, true).await;
    // Nothing is taken away while there is no answer.
    scripted.says(None);
    scripted.asked_again(3).await;
    assert_eq!(*told.borrow(), KeyAccess::Granted);
    scripted.says(Some(false));
    until(&mut told, false).await;
}

#[tokio::test]
async fn an_account_that_nobody_runs_as_any_more_is_asked_about_no_more() {
    let scripted = Arc::new(Scripted::default());
    scripted.says(Some(true));
    let readers = readers(&scripted, Duration::from_millis(5)).await;
    drop(readers.follow("istio-system", "edge").await);
    let forgotten = async {
        while readers.is_following() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, forgotten).await.expect("its follower ends");
    assert_eq!(*readers.follow("istio-system", "edge").await.borrow(), KeyAccess::Granted);
}
