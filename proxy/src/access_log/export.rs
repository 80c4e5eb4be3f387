//! Sends log records to their collectors: gathered in a bounded queue per worker and logger, sent by a task when they
//! are enough or old enough. What does not fit, or cannot be sent, is dropped and counted; no request waits.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use api::opentelemetry::proto::logs::v1::LogRecord;
use api::prost::Message as _;
use tokio::sync::Notify;

use super::LogContext;
use super::otlp::OtlpLog;
use crate::filter::call::call;
use crate::stats::Counter;
use crate::trace::{is_taken, otlp_request};
use crate::worker::Worker;

/// The queues of one worker.
#[derive(Default)]
pub struct LogExporters(RefCell<Vec<Rc<Queue>>>);

struct Queue {
    log: Arc<OtlpLog>,
    records: RefCell<Vec<LogRecord>>,
    bytes: Cell<usize>,
    enough: Notify,
    sending: Cell<bool>,
    written: Arc<Counter>,
    dropped: Arc<Counter>,
}

/// More records than this do not wait.
const MOST_KEPT: usize = 4096;

impl LogExporters {
    /// Never waits.
    pub fn push(&self, worker: &Rc<Worker>, log: &Arc<OtlpLog>, context: &LogContext<'_>) {
        let queue = self.queue(worker, log);
        if queue.records.borrow().len() >= MOST_KEPT {
            return queue.dropped.add(1);
        }
        let record = log.record(context);
        queue.bytes.set(queue.bytes.get() + record.encoded_len());
        queue.records.borrow_mut().push(record);
        if queue.bytes.get() >= log.flush_bytes {
            queue.enough.notify_one();
        }
        if !queue.sending.replace(true) {
            tokio::task::spawn_local(empty(Rc::downgrade(worker), queue));
        }
    }

    fn queue(&self, worker: &Worker, log: &Arc<OtlpLog>) -> Rc<Queue> {
        let mut queues = self.0.borrow_mut();
        if let Some(known) = queues.iter().find(|queue| Arc::ptr_eq(&queue.log, log) || queue.log == *log) {
            return Rc::clone(known);
        }
        queues.retain(|queue| queue.sending.get());
        let counter =
            |what: &str| worker.shard.counter(&format!("envoy_access_logs_open_telemetry_access_log_{what}"), "");
        let queue = Rc::new(Queue {
            log: Arc::clone(log),
            records: RefCell::default(),
            bytes: Cell::new(0),
            enough: Notify::new(),
            sending: Cell::new(false),
            written: counter("logs_written"),
            dropped: counter("logs_dropped"),
        });
        queues.push(Rc::clone(&queue));
        queue
    }
}

/// Sends what is in a queue, for as long as anything comes.
async fn empty(worker: Weak<Worker>, queue: Rc<Queue>) {
    loop {
        let _ = tokio::time::timeout(queue.log.flush_after, queue.enough.notified()).await;
        let Some(worker) = worker.upgrade() else { return };
        let records = queue.records.take();
        queue.bytes.set(0);
        if records.is_empty() {
            return queue.sending.set(false);
        }
        let count = records.len() as u64;
        let log = &queue.log;
        let (head, body) = otlp_request(&log.to, log.grpc, &log.encode(records, &worker.own));
        let answer = call(&worker, &log.to.cluster, &head, body, log.to.timeout).await;
        if let Err(error) = &answer {
            tracing::debug!(cluster = log.to.cluster, %error, "log records are lost: the collector cannot be reached");
        }
        let counter = if answer.is_ok_and(|answer| is_taken(&answer)) { &queue.written } else { &queue.dropped };
        counter.add(count);
    }
}
