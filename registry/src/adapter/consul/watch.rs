//! The life of the registry: connect, read everything, follow what changes, and start over when the server is lost.

use std::sync::Arc;
use std::time::Duration;

use runtime::Backoff;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::book::Book;
use super::client::{Ask, Client};
use super::limits::Limits;
use super::options::ConsulOptions;
use super::poll::{SOON, Tools, jittered};
use super::session::Session;
use super::update::Update;
use crate::source::Event;

pub(super) type Events = mpsc::UnboundedSender<Event>;

/// Updates that are taken together.
const BATCH: usize = 256;
/// Updates that wait; tasks wait beyond that.
const QUEUE: usize = 1024;

/// Tells all events until nobody listens.
pub(super) async fn run(options: Arc<ConsulOptions>, mut book: Book, events: Events) {
    let mut backoff = Backoff::new(Duration::from_millis(200), SOON);
    let mut told = None;
    while !events.is_closed() {
        let reason = tokio::select! {
            reason = connected(&options, &mut book, &events, &mut backoff) => reason,
            () = events.closed() => return,
        };
        let Err(reason) = reason else { return };
        if told.as_ref() != Some(&reason) {
            tracing::warn!(server = options.address, reason, "Consul is out of reach; its last known endpoints stay");
        }
        book.lost();
        if let Some(findings) = book.findings() {
            let _ = events.send(findings);
        }
        let _ = events.send(Event::Lost(format!("{}: {reason}", options.address)));
        told = Some(reason);
        tokio::select! {
            () = sleep(jittered(backoff.failed())) => {}
            () = events.closed() => return,
        }
    }
}

/// One connection's life; the reason it ended for. `Ok` once nobody listens.
async fn connected(
    options: &ConsulOptions,
    book: &mut Book,
    events: &Events,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let client = Arc::new(Client::open(options).map_err(|error| error.to_string())?);
    let queries = client.connect().await?;
    let services = client.services(Ask::Confirmed).await?;
    let (updates, received) = mpsc::channel(QUEUE);
    let limits = Arc::new(Limits::new(queries, options.wait));
    let mut session = Session::new(book, events, Tools { client, limits, updates });
    session.begin(services);
    follow(session, received, backoff).await
}

async fn follow(
    mut session: Session<'_>,
    mut received: mpsc::Receiver<Update>,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        received.recv_many(&mut batch, BATCH).await;
        for update in batch.drain(..) {
            session.take(update)?;
        }
        if session.settle() {
            backoff.reset();
        }
    }
}
