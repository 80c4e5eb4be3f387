//! Sends finished spans to their collectors: gathered in a bounded queue per worker and provider, sent by a task when
//! there are a few or some seconds have passed. What does not fit, or cannot be sent, is dropped and counted.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::{Notify, mpsc};

use super::settings::{Destination, Provider};
use super::span::Finished;
use super::{otlp, zipkin};
use crate::config::WorkloadRef;
use crate::filter::call::{Answer, CallError, call};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};
use crate::stats::{Counter, Shard};
use crate::telemetry::{CONTROL_PLANE_CLUSTER, Extra};
use crate::worker::Worker;

/// The queues of one worker.
#[derive(Default)]
pub struct Exporters {
    queues: RefCell<Vec<Rc<Queue>>>,
    service: OnceCell<Rc<str>>,
}

/// Spans that wait for their collector.
pub struct Queue {
    pub provider: Arc<Provider>,
    spans: RefCell<Vec<Finished>>,
    enough: Notify,
    sending: Cell<bool>,
    stats: Stats,
}

struct Stats {
    spans_sent: Arc<Counter>,
    spans_dropped: Arc<Counter>,
    reports_sent: Arc<Counter>,
    reports_failed: Arc<Counter>,
    reports_dropped: Arc<Counter>,
}

/// Envoy's defaults of `tracing.*.min_flush_spans` and `tracing.*.flush_interval_ms`.
const ENOUGH: usize = 5;
const INTERVAL: Duration = Duration::from_secs(5);
/// For a provider that has no such setting.
const MOST_KEPT: usize = 1024;

impl Exporters {
    /// The queue of a provider, with a task that empties it.
    pub fn queue(&self, worker: &Rc<Worker>, provider: &Arc<Provider>) -> Rc<Queue> {
        let mut queues = self.queues.borrow_mut();
        let known = queues.iter().find(|queue| Arc::ptr_eq(&queue.provider, provider) || queue.provider == *provider);
        let queue = known.cloned().unwrap_or_else(|| {
            queues.retain(|queue| queue.sending.get());
            let queue = Rc::new(Queue::new(Arc::clone(provider), &worker.shard));
            queues.push(Rc::clone(&queue));
            queue
        });
        if !queue.sending.replace(true) {
            tokio::task::spawn_local(empty(Rc::downgrade(worker), Rc::clone(&queue)));
        }
        queue
    }

    /// Lets go of what waits at the end of a worker, where somebody takes it without being waited for.
    pub fn end(&self, worker: &Worker) {
        for queue in self.queues.borrow().iter() {
            let spans = queue.spans.take();
            if !spans.is_empty() {
                hand_over(worker, queue, spans);
            }
        }
    }

    /// What this proxy is called in Zipkin's spans.
    pub fn service(&self, own: &WorkloadRef) -> Rc<str> {
        Rc::clone(self.service.get_or_init(|| own.canonical_service.as_str().into()))
    }
}

impl Queue {
    fn new(provider: Arc<Provider>, shard: &Shard) -> Self {
        let counter = |what: &str| shard.counter(&format!("envoy_tracing_{}_{what}", provider.name()), "");
        let stats = Stats {
            spans_sent: counter("spans_sent"),
            spans_dropped: counter("spans_dropped"),
            reports_sent: counter("reports_sent"),
            reports_failed: counter("reports_failed"),
            reports_dropped: counter("reports_dropped"),
        };
        Self { provider, spans: RefCell::default(), enough: Notify::new(), sending: Cell::new(false), stats }
    }

    /// Never waits.
    pub fn push(&self, span: Finished) {
        let most = match &*self.provider {
            Provider::Otlp(otlp) => otlp.max_cache_size,
            Provider::Zipkin(_) => MOST_KEPT,
        };
        let mut spans = self.spans.borrow_mut();
        if spans.len() >= most {
            return self.stats.spans_dropped.add(1);
        }
        spans.push(span);
        if spans.len() >= ENOUGH {
            self.enough.notify_one();
        }
    }

    /// Counts spans that leave with the reports, or found no place there.
    fn handed_over(&self, count: usize, taken: bool) {
        let (spans, reports) = match taken {
            true => (&self.stats.spans_sent, &self.stats.reports_sent),
            false => (&self.stats.spans_dropped, &self.stats.reports_dropped),
        };
        spans.add(count as u64);
        reports.add(1);
    }

    fn count(&self, sent: usize, answer: &Result<Answer, CallError>) {
        self.stats.spans_sent.add(sent as u64);
        match answer {
            Ok(answer) if is_taken(answer) => self.stats.reports_sent.add(1),
            Ok(_) => self.stats.reports_failed.add(1),
            Err(_) => self.stats.reports_dropped.add(1),
        }
    }
}

/// Whether a collector took what it was sent.
pub fn is_taken(answer: &Answer) -> bool {
    let status = |headers: &Headers| headers.get_str("grpc-status").map(str::to_owned);
    let grpc = answer.trailers.as_ref().and_then(status).or_else(|| status(&answer.head.headers));
    (200..300).contains(&answer.head.status) && grpc.is_none_or(|status| status == "0")
}

/// The way to the control plane, where that is who takes the spans.
fn to_control_plane<'a>(worker: &'a Worker, provider: &Provider) -> Option<&'a mpsc::Sender<Extra>> {
    worker.reports.as_ref().filter(|_| provider.destination().cluster == CONTROL_PLANE_CLUSTER)
}

/// Lets spans leave with the reports to the control plane; returns them where they are for somebody else.
fn hand_over(worker: &Worker, queue: &Queue, spans: Vec<Finished>) -> Option<Vec<Finished>> {
    let Some(reports) = to_control_plane(worker, &queue.provider) else { return Some(spans) };
    let (count, service) = (spans.len(), worker.exporters.service(&worker.own));
    let taken = reports.try_send(Extra::Spans(otlp::encode(&service, spans))).is_ok();
    queue.handed_over(count, taken);
    None
}

/// Sends what is in a queue, for as long as anything comes.
async fn empty(worker: Weak<Worker>, queue: Rc<Queue>) {
    loop {
        let _ = tokio::time::timeout(INTERVAL, queue.enough.notified()).await;
        let Some(worker) = worker.upgrade() else { return };
        let spans = queue.spans.take();
        // Besides the worker and this task, requests hold the queue that are yet to end.
        if spans.is_empty() && Rc::strong_count(&queue) <= 2 {
            return queue.sending.set(false);
        }
        if !spans.is_empty() {
            let count = spans.len();
            let Some(spans) = hand_over(&worker, &queue, spans) else { continue };
            let (head, body) = report(&queue.provider, &worker.exporters.service(&worker.own), spans);
            let to = queue.provider.destination();
            let answer = call(&worker, &to.cluster, &head, body, to.timeout).await;
            if let Err(error) = &answer {
                tracing::debug!(cluster = to.cluster, %error, "spans are lost: the collector cannot be reached");
            }
            queue.count(count, &answer);
        }
    }
}

/// The request that carries spans.
fn report(provider: &Provider, own: &str, spans: Vec<Finished>) -> (RequestHead, Bytes) {
    match provider {
        Provider::Otlp(otlp) => {
            let service = if otlp.service_name.is_empty() { own } else { &otlp.service_name };
            otlp_request(&otlp.to, otlp.grpc, &otlp::encode(service, spans))
        }
        Provider::Zipkin(zipkin) => {
            request(&zipkin.to, "application/json", false, zipkin::encode(zipkin, spans).into())
        }
    }
}

/// The request that carries a message of OTLP.
pub fn otlp_request(to: &Destination, grpc: bool, message: &[u8]) -> (RequestHead, Bytes) {
    match grpc {
        true => request(to, "application/grpc", true, framed(message)),
        false => request(to, "application/x-protobuf", false, Bytes::copy_from_slice(message)),
    }
}

fn request(to: &Destination, content_type: &str, grpc: bool, body: Bytes) -> (RequestHead, Bytes) {
    let mut headers = Headers::new();
    headers.set("content-type", content_type);
    if grpc {
        headers.set("te", "trailers");
    }
    for (name, value) in &to.headers {
        headers.append(name, value);
    }
    let head = RequestHead {
        method: "POST".to_owned(),
        scheme: "http",
        authority: to.authority.clone(),
        path: to.path.clone(),
        version: if grpc { Version::Http2 } else { Version::Http11 },
        headers,
        upgrade: None,
    };
    (head, body)
}

/// A message as gRPC puts it on the wire: not compressed, and how long it is.
fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(message);
    out.freeze()
}
