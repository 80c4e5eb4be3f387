//! Steady traffic with keep-alive, and what became of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::mesh::until;

/// Requests by what came of them: a status, or an error's text.
#[derive(Debug, Default)]
pub struct Outcome {
    pub by_result: BTreeMap<String, u64>,
}

impl Outcome {
    pub fn total(&self) -> u64 {
        self.by_result.values().sum()
    }

    pub fn failed(&self) -> u64 {
        self.total() - self.by_result.get("200").copied().unwrap_or(0)
    }
}

/// Load that runs beside the test until it is ended.
pub struct Load {
    stop: Arc<AtomicBool>,
    outcome: Arc<Mutex<Outcome>>,
    thread: std::thread::JoinHandle<()>,
}

/// Connections that share the work.
const LANES: u32 = 16;

impl Load {
    /// So many requests a second for a path, through the gateway.
    pub fn start(gateway: SocketAddr, path: &str, per_second: u32) -> Self {
        Self::start_for(gateway, &gateway.to_string(), path, per_second)
    }

    /// The same for a host.
    pub fn start_for(gateway: SocketAddr, host: &str, path: &str, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let url: hyper::Uri = format!("http://{gateway}{path}").parse().unwrap();
        let host = host.to_owned();
        let (stopped, results) = (Arc::clone(&stop), Arc::clone(&outcome));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(drive(&url, &host, per_second, stopped, results));
        });
        Self { stop, outcome, thread }
    }

    /// Ends it and tells what became of the requests.
    pub fn end(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut self.outcome.lock().unwrap())
    }

    /// Ends it once so many requests are done, however long the machine takes for them.
    pub fn run_until(self, total: u64) -> Outcome {
        until("enough requests", Duration::from_secs(180), || self.outcome.lock().unwrap().total() >= total);
        self.end()
    }
}

async fn drive(url: &hyper::Uri, host: &str, per_second: u32, stop: Arc<AtomicBool>, results: Arc<Mutex<Outcome>>) {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let lanes = (0..LANES).map(|_| {
        let (client, stop, results) = (client.clone(), Arc::clone(&stop), Arc::clone(&results));
        let (url, host) = (url.clone(), host.to_owned());
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(Duration::from_secs(1) * LANES / per_second);
            while !stop.load(Ordering::Relaxed) {
                clock.tick().await;
                let result = one(&client, &url, &host).await;
                *results.lock().unwrap().by_result.entry(result).or_default() += 1;
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

async fn one(client: &Client<HttpConnector, Empty<Bytes>>, url: &hyper::Uri, host: &str) -> String {
    let request = hyper::Request::get(url).header(hyper::header::HOST, host).body(Empty::new()).unwrap();
    match client.request(request).await {
        Err(error) => format!("{error:?}"),
        Ok(answer) => {
            let status = answer.status().as_u16();
            match answer.into_body().collect().await {
                Ok(_) => status.to_string(),
                Err(error) => format!("body: {error}"),
            }
        }
    }
}
