//! A scripted upstream that records what it is asked.

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::handler::Handler;
use axum::http::{HeaderMap, StatusCode, Uri};
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// One request as it arrived.
#[derive(Debug)]
pub struct Seen {
    /// The request target; the whole URL when the caller took this for a proxy.
    pub url: String,
    pub headers: HeaderMap,
    pub peer: SocketAddr,
}

/// An upstream at `url`.
pub struct Upstream {
    pub url: Uri,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Upstream {
    /// Answers everything with `status` and an empty JSON object.
    pub async fn answering(status: StatusCode) -> Self {
        Self::start(move || async move { (status, "{}") }).await
    }

    /// Takes requests and never answers.
    pub async fn silent() -> Self {
        Self::start(pending::<()>).await
    }

    /// Everything asked since the last call.
    pub fn seen(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    /// The next request.
    pub async fn next(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }

    async fn start<F, Answer>(answer: F) -> Self
    where
        F: Fn() -> Answer + Clone + Send + Sync + 'static,
        Answer: Future<Output: axum::response::IntoResponse> + Send,
    {
        let (sender, seen) = mpsc::unbounded_channel();
        let record = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request| {
            let arrived = Seen { url: request.uri().to_string(), headers: request.headers().clone(), peer };
            sender.send(arrived).unwrap();
            let answer = answer.clone();
            async move { answer().await }
        };
        Self { url: start(Router::new().fallback(record)).await, seen }
    }
}

/// Serves a router on a free port for as long as the test runs.
pub async fn start(router: Router) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    url.parse().unwrap()
}

/// A handler that runs `work` for its first request.
pub fn once(work: impl Future<Output = ()> + Send + 'static) -> impl Handler<((),), ()> {
    let work = Arc::new(Mutex::new(Some(work)));
    move || async move {
        let work = work.lock().unwrap().take();
        if let Some(work) = work {
            work.await;
        }
    }
}
