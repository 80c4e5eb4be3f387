//! The store that several control planes share: etcd, version 3.3 or later.
//!
//! Revisions are etcd's own. What etcd did not answer is asked again for a while, and a transaction carries a mark, so
//! that one whose answer was lost is known again and never made twice.

mod address;
mod call;
mod deaf;
mod operations;
mod watching;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, ConnectOptions, GetOptions, KeyValue, KvClient, TxnOpResponse, TxnResponse};

pub use address::{EtcdAddress, EtcdTls};
use deaf::Deaf;
use operations::Plan;

use crate::{ChangeStream, Entry, Listing, Store, StoreError, Transaction};

/// How long etcd may take to answer one question, and to accept a connection.
const ANSWER: Duration = Duration::from_secs(5);
/// A connection on which nothing is heard is asked for a sign of life. etcd refuses to be asked more often than every
/// five seconds (`--grpc-keepalive-min-time`), and while no call is open.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// More than any listing is.
const LARGEST: usize = 1 << 30;

/// A part of the keys of an etcd. Cloning shares.
#[derive(Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
}

struct Shared {
    /// As operators know it.
    place: String,
    /// Before every key.
    prefix: String,
    client: Client,
    /// This process, in the marks of its transactions.
    process: String,
    /// The latest revision that etcd told of.
    seen: AtomicU64,
    /// Held while a transaction with conditions runs: there is one mark.
    turn: tokio::sync::Mutex<()>,
    /// The watches that are broken, and since when.
    deaf: Deaf,
}

impl Etcd {
    /// Connects and asks, so that a wrong address is told at once.
    pub async fn open(address: &EtcdAddress, tls: Option<EtcdTls>) -> Result<Self, StoreError> {
        let place = address.to_string();
        let failed = |error: etcd_client::Error| call::broken(&place, &error);
        let mut options = ConnectOptions::new()
            .with_timeout(ANSWER)
            .with_connect_timeout(ANSWER)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        if let Some(tls) = tls {
            options = options.with_tls(tls.options());
        }
        let client = Client::connect(address.urls(), Some(options)).await.map_err(failed)?;
        let store = Self {
            shared: Arc::new(Shared {
                prefix: address.prefix.clone(),
                client,
                process: format!("{:016x}", rand::random::<u64>()),
                seen: AtomicU64::new(0),
                turn: tokio::sync::Mutex::default(),
                deaf: Deaf::default(),
                place,
            }),
        };
        store.get("").await?;
        operations::forget_old_marks(&store.shared).await?;
        Ok(store)
    }
}

impl Shared {
    fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn saw(&self, revision: u64) {
        self.seen.fetch_max(revision, Ordering::AcqRel);
    }

    fn entry(&self, kv: &KeyValue) -> Result<Entry, StoreError> {
        let key = kv.key_str().ok().and_then(|key| key.strip_prefix(&self.prefix));
        let key = key.ok_or_else(|| call::broken(&self.place, &"a key below its prefix is not UTF-8"))?;
        Ok(Entry { key: key.to_owned(), value: kv.value().to_vec().into(), revision: number(kv.mod_revision()) })
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let answer = self.persist(|| async { self.kv().get(self.key(key), None).await }).await?;
        self.saw(answer.header().map_or(0, |header| number(header.revision())));
        answer.kvs().first().map(|kv| self.entry(kv)).transpose()
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let ask = || async { self.kv().get(self.key(prefix), Some(GetOptions::new().with_prefix())).await };
        let answer = self.persist(ask).await?;
        let revision = answer.header().map_or(0, |header| number(header.revision()));
        self.saw(revision);
        let entries = answer.kvs().iter().map(|kv| self.entry(kv)).collect::<Result<_, _>>()?;
        Ok(Listing { entries, revision })
    }

    /// Makes a transaction of a size that etcd takes.
    async fn make(&self, plan: Plan) -> Result<u64, StoreError> {
        let _turn = if plan.is_conditional() { Some(self.turn.lock().await) } else { None };
        let mark = format!("{:016x}", rand::random::<u64>());
        let answer = self.persist(|| async { self.kv().txn(plan.transaction(self, &mark)).await }).await?;
        let revision = answer.header().map_or(0, |header| number(header.revision()));
        self.saw(revision);
        match answer.succeeded() {
            true => Ok(revision),
            false => self.refused(&plan, &mark, &answer),
        }
    }

    /// Why a condition did not hold: the transaction was made already and its answer lost, or somebody was first.
    fn refused(&self, plan: &Plan, mark: &str, answer: &TxnResponse) -> Result<u64, StoreError> {
        let found: Vec<(Vec<u8>, u64)> = answer
            .op_responses()
            .iter()
            .map(|response| match response {
                TxnOpResponse::Get(got) => {
                    let first = got.kvs().first();
                    first.map_or_else(Default::default, |kv| (kv.value().to_vec(), number(kv.mod_revision())))
                }
                _ => Default::default(),
            })
            .collect();
        let Some(((made, at), found)) = found.split_first() else {
            return Err(call::broken(&self.place, &"no answer"));
        };
        if made == mark.as_bytes() {
            return Ok(*at);
        }
        let differs = plan.expect.iter().zip(found).find(|((_, expected), (_, found))| expected != found);
        Err(match differs {
            Some(((key, expected), (_, found))) => {
                StoreError::Conflict { key: key.clone(), expected: *expected, found: *found }
            }
            None => call::broken(&self.place, &"it refused a transaction whose conditions hold"),
        })
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.shared.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.shared.list(prefix).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        let mut revision = self.shared.seen.load(Ordering::Acquire);
        for plan in Plan::of(transaction) {
            revision = self.shared.make(plan).await?;
        }
        Ok(revision)
    }

    fn watch(&self, prefix: &str) -> ChangeStream {
        watching::watch(self.shared.clone(), prefix)
    }

    fn behind(&self) -> Duration {
        self.shared.deaf.longest()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// etcd counts in signed numbers that are never negative.
fn number(revision: i64) -> u64 {
    revision.try_into().unwrap_or_default()
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
