//! Who may have how much of the control plane's time: a rate for each client, and where more is asked at once than can
//! be done, a queue for each, of which one after the other gives its next. So a client that floods waits for itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::X509Svid;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::PeerCertificates;

/// Clients of one kind that are told apart; more share what one of them may have.
const MOST_CLIENTS: usize = 16_384;
/// How often a full table is searched for those who asked for nothing lately.
const SWEEP: Duration = Duration::from_millis(100);
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

/// A client, as far as it is told apart from others. Renewed certificates are the same client's. Addresses are those of
/// [`origin`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Client {
    /// By its member's ID.
    Member(String),
    /// By its SPIFFE ID and its address: all pods of a service account have one identity.
    Workload(String, Option<IpAddr>),
    /// By its address: nothing else is known.
    Address(Option<IpAddr>),
}

/// Too much was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// When to come again.
    pub after: Duration,
}

/// Rates by client. Cloning shares.
#[derive(Clone, Default)]
pub struct Rates(Arc<Mutex<Tables>>, Arc<RandomState>);

/// Those who show a certificate have a table of their own: anybody can come from many addresses.
#[derive(Default)]
struct Tables {
    known: Table,
    addresses: Table,
}

#[derive(Default)]
struct Table {
    /// By a client's hash; without one, of all who found no room.
    buckets: HashMap<Option<u64>, Bucket>,
    swept: Option<Instant>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Client {
    /// The client at the other end of a connection: by its certificate, else by its address.
    pub fn of(peer: Option<&PeerCertificates>) -> Self {
        let svid = peer.and_then(|peer| X509Svid::parse(peer.chain.first()?).ok());
        let from = peer.and_then(|peer| peer.address).map(|address| address.ip());
        match svid {
            Some(svid) => Self::with(&svid, from),
            None => Self::Address(from.map(origin)),
        }
    }

    /// The client with a certificate.
    pub fn with(svid: &X509Svid, from: Option<IpAddr>) -> Self {
        match &svid.common_name {
            Some(member) => Self::Member(member.clone()),
            None => Self::Workload(svid.id.to_string(), from.map(origin)),
        }
    }

    /// The client at an address of which nothing else is known.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(Some(origin(address)))
    }

    fn allowance(&self) -> Allowance {
        match self {
            Self::Member(_) | Self::Workload(..) => Allowance::KNOWN,
            Self::Address(_) => Allowance::ADDRESS,
        }
    }
}

/// What one host has of addresses: an IPv4 address, of IPv6 a network of 64 bits (RFC 4291 section 2.5.1), all of whose
/// addresses it may take.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

impl Rates {
    /// Counts one request of a client.
    pub fn take(&self, client: &Client, now: Instant) -> Result<(), TooMuch> {
        let key = self.1.hash_one(client);
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = match client {
            Client::Member(_) | Client::Workload(..) => &mut tables.known,
            Client::Address(_) => &mut tables.addresses,
        };
        table.bucket(key, client.allowance(), now).take(client.allowance(), now)
    }
}

impl Table {
    /// Whoever has no room for a bucket of their own shares one.
    fn bucket(&mut self, key: u64, allowance: Allowance, now: Instant) -> &mut Bucket {
        let has_no_room = |own: &Self| own.buckets.len() >= MOST_CLIENTS && !own.buckets.contains_key(&Some(key));
        if has_no_room(self) && self.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP) {
            // A full bucket is what a client that is not there has as well.
            self.buckets.retain(|_, bucket| bucket.at(allowance, now) < allowance.burst);
            self.swept = Some(now);
        }
        let key = (!has_no_room(self)).then_some(key);
        self.buckets.entry(key).or_insert(Bucket { left: allowance.burst, at: now })
    }
}

impl Bucket {
    /// What is left of the allowance.
    fn at(&self, allowance: Allowance, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + elapsed * allowance.per_second).min(allowance.burst)
    }

    fn take(&mut self, allowance: Allowance, now: Instant) -> Result<(), TooMuch> {
        self.left = self.at(allowance, now);
        self.at = now;
        if self.left < 1.0 {
            return Err(TooMuch { after: Duration::from_secs_f64((1.0 - self.left) / allowance.per_second) });
        }
        self.left -= 1.0;
        Ok(())
    }
}

/// So much is done at once, and the rest waits its turn. Cloning shares.
#[derive(Clone)]
pub struct Queue(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    free: usize,
    /// How many turns one client has at a time, and how many those have who have any.
    each: usize,
    running: BTreeMap<Client, usize>,
    count: usize,
    of: BTreeMap<Client, VecDeque<oneshot::Sender<Turn>>>,
    /// Whose turn comes, one after the other; each that waits is in it once.
    order: VecDeque<Client>,
}

/// Leave to go on; whoever waits gets it afterwards.
pub struct Turn(Option<(Queue, Client)>);

impl Queue {
    pub fn new(at_once: usize) -> Self {
        Self::shared(at_once, at_once)
    }

    /// One client has no more than `each` turns at a time, though nobody else waits.
    pub fn shared(at_once: usize, each: usize) -> Self {
        let (free, each) = (at_once.max(1), each.max(1));
        Self(Arc::new(Mutex::new(Waiting { free, each, ..Waiting::default() })))
    }

    /// Waits for a turn; refused if too much waits already.
    pub async fn turn(&self, client: Client) -> Result<Turn, TooMuch> {
        let waits = {
            let mut waiting = self.lock();
            if waiting.free > 0 && waiting.may_have_more(&client) {
                waiting.begins(&client);
                return Ok(Turn(Some((self.clone(), client))));
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
    fn pass_on(&self, mut client: Client) {
        loop {
            let next = {
                let mut waiting = self.lock();
                waiting.ended(&client);
                waiting.next()
            };
            let Some((whose, next)) = next else { return };
            match next.send(Turn(Some((self.clone(), whose.clone())))) {
                Ok(()) => return,
                // Whoever waited has gone.
                Err(mut unwanted) => unwanted.0 = None,
            }
            client = whose;
        }
    }
}

impl Waiting {
    fn may_have_more(&self, client: &Client) -> bool {
        self.running.get(client).is_none_or(|running| *running < self.each)
    }

    fn begins(&mut self, client: &Client) {
        self.free -= 1;
        *self.running.entry(client.clone()).or_default() += 1;
    }

    fn ended(&mut self, client: &Client) {
        self.free += 1;
        if let Some(running) = self.running.get_mut(client) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(client);
            }
        }
    }

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

    /// The first of whoever is next and may have more: its turn begins. If there is none, the place stays free.
    fn next(&mut self) -> Option<(Client, oneshot::Sender<Turn>)> {
        let at = self.order.iter().position(|client| self.may_have_more(client))?;
        let client = self.order.remove(at)?;
        let own = self.of.get_mut(&client)?;
        let first = own.pop_front()?;
        if own.is_empty() {
            self.of.remove(&client);
        } else {
            self.order.push_back(client.clone());
        }
        self.count -= 1;
        self.begins(&client);
        Some((client, first))
    }
}

impl Turn {
    /// As if it were dropped.
    pub fn end(&mut self) {
        if let Some((queue, client)) = self.0.take() {
            queue.pass_on(client);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
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
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;

    use super::*;

    fn known(name: &str) -> Client {
        Client::Member(name.to_owned())
    }

    fn peer(svid: Option<&rcgen::Certificate>, address: &str) -> PeerCertificates {
        PeerCertificates {
            chain: svid.map(|svid| svid.der().clone()).into_iter().collect(),
            address: Some((address.parse::<IpAddr>().unwrap(), 40_000).into()),
        }
    }

    fn svid(member: Option<&str>) -> rcgen::Certificate {
        let mut params = rcgen::CertificateParams::default();
        let id = "spiffe://cluster.local/ns/default/sa/shop".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(id)];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(member) = member {
            params.distinguished_name.push(rcgen::DnType::CommonName, member);
        }
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn pods_of_one_account_do_not_refuse_each_other() {
        let (rates, now, svid) = (Rates::default(), Instant::now(), svid(None));
        let pod =
            |number: u32| Client::of(Some(&peer(Some(&svid), &Ipv4Addr::from_bits(0x0a00_0000 + number).to_string())));
        for _ in 0..2 {
            for number in 0..500 {
                rates.take(&pod(number), now).unwrap();
            }
        }
        for _ in 0..98 {
            rates.take(&pod(7), now).unwrap();
        }
        rates.take(&pod(7), now).unwrap_err();
        rates.take(&pod(8), now).unwrap();
    }

    #[test]
    fn a_member_is_one_wherever_it_comes_from() {
        let (one, other) = (svid(Some("m1")), svid(Some("m2")));
        let of = |svid, address| Client::of(Some(&peer(Some(svid), address)));
        assert_eq!(of(&one, "10.0.0.1"), of(&one, "10.0.0.2"));
        assert_ne!(of(&one, "10.0.0.1"), of(&other, "10.0.0.1"));
    }

    #[test]
    fn a_host_has_no_more_by_the_addresses_of_its_network() {
        let unknown = |address| Client::of(Some(&peer(None, address)));
        assert_eq!(unknown("2001:db8:0:1::1"), unknown("2001:db8:0:1:ffff::2"));
        assert_ne!(unknown("2001:db8:0:1::1"), unknown("2001:db8:0:2::1"));
        assert_eq!(unknown("::ffff:10.0.0.1"), unknown("10.0.0.1"));
        assert_ne!(unknown("::ffff:10.0.0.1"), unknown("::ffff:10.0.0.2"));
        let svid = svid(None);
        let known = |address| Client::of(Some(&peer(Some(&svid), address)));
        assert_eq!(known("2001:db8:0:1::1"), known("2001:db8:0:1::2"));
    }

    /// From so many addresses, all of which still have requests to pay for.
    fn flooded(now: Instant) -> Rates {
        let rates = Rates::default();
        for number in 0..MOST_CLIENTS {
            let address = Client::Address(Some(Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()));
            for _ in 0..100 {
                rates.take(&address, now).unwrap();
            }
        }
        rates
    }

    #[test]
    fn a_flood_of_addresses_is_not_felt_by_those_with_certificates() {
        let now = Instant::now();
        let rates = flooded(now);
        let unknown = |last| Client::Address(Some([192, 0, 2, last].into()));
        for _ in 0..2000 {
            rates.take(&unknown(1), now).unwrap();
        }
        rates.take(&unknown(2), now).unwrap_err();
        for number in 0..MOST_CLIENTS {
            rates.take(&known(&number.to_string()), now).unwrap();
        }
        let workload = Client::Workload("spiffe://cluster.local/ns/default/sa/shop".to_owned(), None);
        rates.take(&workload, now).unwrap();
    }

    #[test]
    fn whoever_asked_for_nothing_lately_makes_room() {
        let now = Instant::now();
        let rates = flooded(now);
        for _ in 0..2000 {
            rates.take(&Client::Address(None), now).unwrap();
        }
        rates.take(&Client::Address(None), now).unwrap_err();
        // 100 requests of an address are forgotten after 200 ms.
        let later = now + Duration::from_millis(300);
        for _ in 0..2000 {
            rates.take(&Client::Address(None), later).unwrap();
        }
        assert_eq!(rates.0.lock().unwrap().addresses.buckets.len(), 2);
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
        assert_eq!(rates.0.lock().unwrap().known.buckets.len(), MOST_CLIENTS + 1);
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

    #[tokio::test]
    async fn one_client_has_its_share_of_turns_though_others_are_free() {
        let queue = Queue::shared(4, 2);
        let (first, second) = (queue.turn(known("flood")).await.unwrap(), queue.turn(known("flood")).await.unwrap());
        let (mut gone, mut third) = (Box::pin(queue.turn(known("flood"))), Box::pin(queue.turn(known("flood"))));
        assert!(gone.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        let others = [queue.turn(known("other")).await.unwrap(), queue.turn(known("another")).await.unwrap()];
        let mut last = Box::pin(queue.turn(known("other")));
        assert!(last.as_mut().now_or_never().is_none(), "all turns are taken");
        // Whoever has gone takes nobody's turn, and the flood is behind those who came while it had its share.
        drop((gone, first));
        let last = last.now_or_never().unwrap().unwrap();
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        drop((last, third.now_or_never().unwrap().unwrap(), others));
        let waiting = queue.lock();
        assert_eq!((waiting.free, waiting.count, waiting.running.len(), waiting.order.len()), (4, 0, 0, 0));
    }
}
