//! Who may have how much of the control plane's time: a rate for each client, and where more is asked at once than can
//! be done, a queue for each, of which one after the other gives its next. So a client that floods waits for itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::X509Svid;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::PeerCertificates;

/// Clients that are told apart; beyond that those who did not ask lately are forgotten.
const MOST_CLIENTS: usize = 16_384;
/// How much of one client waits.
const WAITING_OF_ONE: usize = 64;
/// How much of all waits together.
const WAITING: usize = 16_384;
/// gRPC's own word for "not before": in milliseconds (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The rate that a client may keep up, and how much it may ask at once.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub per_second: f64,
    pub burst: f64,
}

impl Allowance {
    /// Of one who is known by a certificate: a workload needs a certificate in minutes, and a stream now and then.
    pub const KNOWN: Self = Self { per_second: 20.0, burst: 100.0 };
    /// Of an address from which somebody asks who is not known yet: many workloads may be behind it.
    pub const ADDRESS: Self = Self { per_second: 500.0, burst: 2000.0 };
}

/// A client, as far as it is told apart from others. Renewed certificates are the same client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Client {
    /// By its member's ID or its SPIFFE ID.
    Known(String),
    /// By its address.
    Address(Option<std::net::IpAddr>),
}

/// Too much was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// When to come again.
    pub after: Duration,
}

/// Rates by client. Cloning shares.
#[derive(Clone, Default)]
pub struct Rates(Arc<Mutex<HashMap<u64, Bucket>>>, Arc<RandomState>);

struct Bucket {
    left: f64,
    at: Instant,
}

impl Client {
    /// The client at the other end of a connection: by its certificate, else by its address.
    pub fn of(peer: Option<&PeerCertificates>) -> Self {
        let svid = peer.and_then(|peer| X509Svid::parse(peer.chain.first()?).ok());
        match svid {
            Some(svid) => Self::Known(svid.common_name.unwrap_or_else(|| svid.id.to_string())),
            None => Self::Address(peer.and_then(|peer| peer.address).map(|address| address.ip())),
        }
    }

    fn allowance(&self) -> Allowance {
        match self {
            Self::Known(_) => Allowance::KNOWN,
            Self::Address(_) => Allowance::ADDRESS,
        }
    }
}

impl Rates {
    /// Counts one request of a client.
    pub fn take(&self, client: &Client, now: Instant) -> Result<(), TooMuch> {
        let allowance = client.allowance();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.1.hash_one(client);
        if buckets.len() >= MOST_CLIENTS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < Duration::from_secs(10));
        }
        // Whoever has no room for a bucket of their own shares one.
        let key = if buckets.len() < MOST_CLIENTS || buckets.contains_key(&key) { key } else { 0 };
        let bucket = buckets.entry(key).or_insert(Bucket { left: allowance.burst, at: now });
        let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + elapsed * allowance.per_second).min(allowance.burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(TooMuch { after: Duration::from_secs_f64((1.0 - bucket.left) / allowance.per_second) });
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

/// So much is done at once, and the rest waits its turn. Cloning shares.
#[derive(Clone)]
pub struct Queue(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    free: usize,
    count: usize,
    of: BTreeMap<Client, VecDeque<oneshot::Sender<Turn>>>,
    /// Whose turn comes, one after the other; each that waits is in it once.
    order: VecDeque<Client>,
}

/// Leave to go on; whoever waits gets it afterwards.
pub struct Turn(Option<Queue>);

impl Queue {
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting { free: at_once.max(1), ..Waiting::default() })))
    }

    /// Waits for a turn; refused if too much waits already.
    pub async fn turn(&self, client: Client) -> Result<Turn, TooMuch> {
        let waits = {
            let mut waiting = self.lock();
            if waiting.free > 0 {
                waiting.free -= 1;
                return Ok(Turn(Some(self.clone())));
            }
            waiting.add(client)?
        };
        // Whoever gives turns answers, or has ended with everything else.
        waits.await.map_err(|_| TooMuch { after: Duration::from_secs(1) })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a turn that is over to the next, or keeps it for later.
    fn pass_on(&self) {
        loop {
            let next = self.lock().next();
            let Some(next) = next else { return };
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // Whoever waited has gone.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

impl Waiting {
    fn add(&mut self, client: Client) -> Result<oneshot::Receiver<Turn>, TooMuch> {
        let own = self.of.get(&client).map_or(0, VecDeque::len);
        if own >= WAITING_OF_ONE || self.count >= WAITING {
            return Err(TooMuch { after: Duration::from_secs(1) });
        }
        if own == 0 {
            self.order.push_back(client.clone());
        }
        let (sender, receiver) = oneshot::channel();
        self.of.entry(client).or_default().push_back(sender);
        self.count += 1;
        Ok(receiver)
    }

    /// The first of whoever is next; nobody waits if there is none, and the place is free.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(client) = self.order.pop_front() {
            let Some(own) = self.of.get_mut(&client) else { continue };
            let first = own.pop_front();
            self.count -= usize::from(first.is_some());
            if own.is_empty() {
                self.of.remove(&client);
            } else {
                self.order.push_back(client);
            }
            if first.is_some() {
                return first;
            }
        }
        self.free += 1;
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

impl From<TooMuch> for Status {
    fn from(TooMuch { after }: TooMuch) -> Self {
        let after = after.max(Duration::from_millis(1));
        let words = format!("too many requests of this client; come again in {} ms", after.as_millis());
        let mut metadata = MetadataMap::new();
        metadata.insert(PUSHBACK, u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into());
        Self::with_metadata(Code::ResourceExhausted, words, metadata)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn known(name: &str) -> Client {
        Client::Known(name.to_owned())
    }

    #[test]
    fn whoever_asks_too_much_is_told_when_to_come_again_and_others_are_served() {
        let (rates, now) = (Rates::default(), Instant::now());
        for _ in 0..100 {
            rates.take(&known("flood"), now).unwrap();
        }
        let refused = rates.take(&known("flood"), now).unwrap_err();
        assert_eq!(refused.after, Duration::from_millis(50));
        rates.take(&known("other"), now).unwrap();
        rates.take(&known("flood"), now + refused.after).unwrap();
        let status = Status::from(refused);
        assert_eq!(
            (status.code(), status.metadata().get(PUSHBACK).unwrap().to_str().unwrap()),
            (Code::ResourceExhausted, "50")
        );
    }

    #[test]
    fn clients_beyond_the_bound_do_not_take_more_memory() {
        let (rates, now) = (Rates::default(), Instant::now());
        for number in 0..2 * MOST_CLIENTS {
            let _ = rates.take(&known(&number.to_string()), now);
        }
        assert!(rates.0.lock().unwrap().len() <= MOST_CLIENTS + 1);
    }

    #[tokio::test]
    async fn a_client_that_floods_waits_for_itself_alone() {
        let queue = Queue::new(1);
        let running = queue.turn(known("flood")).await.unwrap();
        let mut flood: Vec<_> = (0..WAITING_OF_ONE).map(|_| Box::pin(queue.turn(known("flood")))).collect();
        for waits in &mut flood {
            assert!(waits.as_mut().now_or_never().is_none());
        }
        assert!(queue.turn(known("flood")).await.is_err(), "no more of one waits");
        let mut other = Box::pin(queue.turn(known("other")));
        assert!(other.as_mut().now_or_never().is_none());
        // Of those who wait, the flood's first is before the other, and nothing else of it.
        drop(running);
        let first = flood.remove(0).await.unwrap();
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        drop(other.await.unwrap());
        // Whoever goes away loses no turn for others.
        let last = flood.pop().unwrap();
        drop(flood);
        drop(last.await.unwrap());
        let waiting = queue.lock();
        assert_eq!((waiting.free, waiting.count), (1, 0));
    }
}
