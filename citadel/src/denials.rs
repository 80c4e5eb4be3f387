//! The deny list: certificates by serial number, SPIFFE IDs and agents that are turned away before their certificates
//! end. It is kept in the store, under `denied/<id>`, so that every control plane has the same and a restart keeps it.
//!
//! What must hold: whoever is on the list gets no certificate, no configuration, and no connection; if the store cannot
//! be read, the last list stays in force.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::weft::v1::denied::Who;
use api::{DenyList, SpiffeId, TrustDomain};
use futures_util::StreamExt as _;
use runtime::Clock;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};
use tokio::sync::watch;

use crate::ledger::unreadable;
use crate::{Ledger, sha256};

const PREFIX: &str = "denied/";
/// As many as fit into one message to every proxy.
const MOST: usize = 10_000;
const LONGEST_REASON: usize = 256;
const LONGEST_AGENT: usize = 128;
/// The clock may be set while we sleep; it is looked at this often.
const LOOK: Duration = Duration::from_secs(60);
/// After the store could not be read.
const PAUSE: Duration = Duration::from_secs(2);

/// By what somebody is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeniedKind {
    /// One certificate; and where no member has it, those that its holder got before and after it.
    Serial,
    /// Everybody who has a SPIFFE ID.
    Identity,
    /// A member of the mesh, with all its certificates.
    Agent,
}

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    #[serde(skip)]
    pub id: String,
    pub kind: DeniedKind,
    /// The serial number, the SPIFFE ID, or the member's ID.
    pub value: String,
    /// Of a serial number: the one of the certificate that its holder joined with, where he is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    #[serde(default)]
    pub reason: String,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds; none is until somebody lets it back in.
    #[serde(default)]
    pub until: Option<u64>,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct NewDenial {
    pub kind: DeniedKind,
    pub value: String,
    pub reason: String,
    pub lasts: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum DenialError {
    #[error("{0:?} is no serial number of a certificate, which is up to 40 hexadecimal digits")]
    Serial(String),
    #[error("no live certificate has the serial number {0}; an identity or an agent can be denied instead")]
    UnknownSerial(String),
    #[error("{value:?} is no SPIFFE ID: {cause}")]
    Identity { value: String, cause: api::SpiffeError },
    #[error("{id} is not of this mesh, whose trust domain is {ours}")]
    Foreign { id: SpiffeId, ours: String },
    #[error("{0} is the control plane's own identity, without which nobody is served")]
    Own(SpiffeId),
    #[error("{0:?} is no agent; it is the ID of a member, such as `weft ca denied` and GET /api/v1/members show")]
    Agent(String),
    #[error("a reason has at most 256 characters")]
    Reason,
    #[error("a denial lasts one second at least; leave the time out for one without an end")]
    Over,
    #[error("{MOST} are denied already; let those back in whose certificates have ended")]
    Full,
    #[error("nothing on the deny list has the id {0}; `weft ca denied` shows them")]
    Unknown(String),
    #[error("the deny list cannot be read or written now: {0}")]
    Store(#[from] StoreError),
}

/// Keeps the list. Cloning shares.
#[derive(Clone)]
pub struct Denials {
    store: Arc<dyn Store>,
    clock: Clock,
    own: SpiffeId,
    /// Older names of the mesh: an identity is the same under each.
    aliases: Arc<[TrustDomain]>,
    /// For how long after its end a certificate still gets its holder the next one.
    grace: Duration,
    list: watch::Sender<Arc<DenyList>>,
    /// Held from reading the store to publishing what it has: nobody publishes what is older than what is in force.
    publishing: Arc<tokio::sync::Mutex<()>>,
}

impl Denials {
    /// Reads the list. `own` is the control plane's identity, `aliases` are older names of its trust domain; `grace` says
    /// how long an expired certificate is renewed.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Clock,
        own: SpiffeId,
        aliases: &[TrustDomain],
        grace: Duration,
    ) -> Result<Self, StoreError> {
        let (list, publishing) = (watch::Sender::default(), Arc::default());
        let denials = Self { store, clock, own, aliases: aliases.into(), grace, list, publishing };
        denials.refresh().await?;
        Ok(denials)
    }

    /// The list now and after each change.
    pub fn watch(&self) -> watch::Receiver<Arc<DenyList>> {
        self.list.subscribe()
    }

    /// Follows what other control planes write, and takes out what has ended, for ever.
    pub async fn run(self) {
        let mut changes = self.store.watch(PREFIX);
        loop {
            let pause = match self.refresh().await {
                Ok(end) => end.map_or(LOOK, |end| LOOK.min(Duration::from_secs(end.max(1)))),
                Err(error) => {
                    tracing::warn!(%error, "the deny list cannot be read; the last one holds");
                    PAUSE
                }
            };
            tokio::select! {
                change = changes.next() => if change.is_none() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Denies somebody, from now on and everywhere. Who is denied already gets the new reason and end.
    pub async fn deny(&self, order: NewDenial) -> Result<Denial, DenialError> {
        if order.reason.chars().count() > LONGEST_REASON {
            return Err(DenialError::Reason);
        }
        let now = self.clock.unix_seconds();
        let asked = match order.lasts {
            Some(lasts) if lasts.as_secs() == 0 => return Err(DenialError::Over),
            lasts => lasts.map(|lasts| now.saturating_add(lasts.as_secs())),
        };
        let (value, lineage, until) = match order.kind {
            DeniedKind::Serial => {
                let (serial, lineage, end) = self.serial(&order.value).await?;
                (serial, lineage, Some(asked.map_or(end, |asked| asked.min(end))))
            }
            DeniedKind::Identity => (self.identity(&order.value)?, None, asked),
            DeniedKind::Agent => (agent(&order.value)?, None, asked),
        };
        if self.entries().await?.len() >= MOST {
            return Err(DenialError::Full);
        }
        let id = id(order.kind, &value);
        let denial = Denial { id, kind: order.kind, value, lineage, reason: order.reason, created: now, until };
        let record = serde_json::to_vec(&denial).map_err(|error| unreadable(&denial.id, &error))?;
        self.store.commit(Transaction::put(key(&denial.id), record)).await?;
        tracing::warn!(kind = ?denial.kind, value = denial.value, reason = denial.reason, ?until, "denied");
        self.refresh().await?;
        Ok(denial)
    }

    /// Turns a member away whose membership is over, until its last certificate has ended: it gets no other. Who is
    /// denied already stays denied as he is; who holds no certificate needs not be.
    pub async fn cut_off(&self, member: &str, reason: &str) -> Result<Option<Denial>, DenialError> {
        let now = self.clock.unix_seconds();
        let denied = self.all().await?;
        if let Some(known) = denied.into_iter().find(|one| one.kind == DeniedKind::Agent && one.value == member) {
            return Ok(Some(known));
        }
        let entries = Ledger::new(self.store.clone(), self.clock.clone()).entries().await?;
        let ends = entries.iter().filter(|entry| entry.member.as_deref() == Some(member)).map(|entry| entry.not_after);
        let Some(left) = ends.max().map(|end| end.saturating_sub(now)).filter(|left| *left > 0) else {
            return Ok(None);
        };
        let order = NewDenial {
            kind: DeniedKind::Agent,
            value: member.to_owned(),
            reason: reason.to_owned(),
            // One may be signed at this very moment.
            lasts: Some(Duration::from_secs(left + 60)),
        };
        self.deny(order).await.map(Some)
    }

    /// Lets somebody back in, by the entry's ID.
    pub async fn allow(&self, id: &str) -> Result<Denial, DenialError> {
        let all = self.entries().await?;
        let found = all.into_iter().find(|denial| denial.id == id);
        let found = found.ok_or_else(|| DenialError::Unknown(id.to_owned()))?;
        self.store.commit(Transaction::delete(key(id))).await?;
        tracing::warn!(kind = ?found.kind, value = found.value, "no longer denied");
        self.refresh().await?;
        Ok(found)
    }

    /// Who is denied now, the latest first.
    pub async fn all(&self) -> Result<Vec<Denial>, DenialError> {
        let now = self.clock.unix_seconds();
        let mut all: Vec<Denial> = self.entries().await?.into_iter().filter(|denial| !denial.is_over(now)).collect();
        all.sort_by(|one, other| (other.created, &other.id).cmp(&(one.created, &one.id)));
        Ok(all)
    }

    /// Publishes what the store has, and deletes what has ended; returns in how many seconds the next one ends.
    async fn refresh(&self) -> Result<Option<u64>, StoreError> {
        let _alone = self.publishing.lock().await;
        let now = self.clock.unix_seconds();
        let (over, current): (Vec<_>, Vec<_>) =
            self.revisions().await?.into_iter().partition(|(denial, _)| denial.is_over(now));
        let current: Vec<Denial> = current.into_iter().map(|(denial, _)| denial).collect();
        let mut list = DenyList::default();
        for (serial, reason) in self.renewed(&current).await? {
            list.add(Who::Serial(serial), reason);
        }
        for denial in &current {
            self.turned_away(denial).into_iter().for_each(|who| list.add(who, denial.reason.clone()));
        }
        self.list.send_if_modified(|published| {
            let differs = **published != list;
            if differs {
                *published = Arc::new(list);
            }
            differs
        });
        for (denial, revision) in over {
            let key = key(&denial.id);
            // Whoever was denied anew meanwhile stays so.
            match self.store.commit(Transaction::delete(key.clone()).expecting(key, revision)).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(current.iter().filter_map(|denial| denial.until).min().map(|end| end.saturating_sub(now)))
    }

    /// The other serial numbers of those who are denied by one of theirs, with the reason.
    async fn renewed(&self, denied: &[Denial]) -> Result<BTreeMap<String, String>, StoreError> {
        let by_lineage = denied.iter().filter_map(|denial| Some((denial.lineage.as_deref()?, &denial.reason)));
        let by_lineage: BTreeMap<&str, &String> = by_lineage.collect();
        let mut found: BTreeMap<String, String> =
            by_lineage.iter().map(|(first, reason)| ((*first).to_owned(), (*reason).clone())).collect();
        if !found.is_empty() {
            for entry in Ledger::new(self.store.clone(), self.clock.clone()).entries().await? {
                if let Some(reason) = entry.lineage().and_then(|lineage| by_lineage.get(lineage)) {
                    found.insert(entry.serial, (*reason).clone());
                }
            }
        }
        Ok(found)
    }

    async fn entries(&self) -> Result<Vec<Denial>, StoreError> {
        Ok(self.revisions().await?.into_iter().map(|(denial, _)| denial).collect())
    }

    /// The entries, each with the revision at which it was written.
    async fn revisions(&self) -> Result<Vec<(Denial, u64)>, StoreError> {
        let listing = self.store.list(PREFIX).await?;
        listing.entries.iter().map(|entry| Ok((parse(&entry.key, &entry.value)?, entry.revision))).collect()
    }

    /// The serial number as certificates have it, its lineage, and when nothing can come of the certificate any more. The
    /// first one of a lineage is found as long as one of them is.
    async fn serial(&self, value: &str) -> Result<(String, Option<String>, u64), DenialError> {
        let digits: String = value.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
        if digits.is_empty() || digits.len() > 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(DenialError::Serial(value.to_owned()));
        }
        // Programs differ in whether they show zeros in front.
        let bare = |serial: &str| serial.trim_start_matches('0').to_owned();
        let entries = Ledger::new(self.store.clone(), self.clock.clone()).entries().await?;
        let is = |serial: &str| bare(serial) == bare(&digits);
        let by_serial = entries.iter().find(|entry| is(&entry.serial));
        let found = by_serial.or_else(|| entries.iter().find(|entry| entry.lineage().is_some_and(is)));
        let Some(one) = found else { return Err(DenialError::UnknownSerial(digits)) };
        let lineage = one.lineage().map(str::to_owned);
        let serial = if is(&one.serial) { one.serial.clone() } else { lineage.clone().unwrap_or_default() };
        let of_lineage = entries.iter().filter(|entry| lineage.is_some() && entry.lineage() == lineage.as_deref());
        let end = of_lineage.map(|entry| entry.not_after).fold(one.not_after, u64::max);
        Ok((serial, lineage, end.saturating_add(self.grace.as_secs())))
    }

    fn identity(&self, value: &str) -> Result<String, DenialError> {
        let wrong = |cause| DenialError::Identity { value: value.to_owned(), cause };
        let id: SpiffeId = value.parse().map_err(wrong)?;
        let ours = self.own.trust_domain();
        if id.trust_domain() != ours && !self.aliases.contains(id.trust_domain()) {
            return Err(DenialError::Foreign { id, ours: ours.to_string() });
        }
        let id = id.within(ours);
        if id == self.own {
            return Err(DenialError::Own(id));
        }
        Ok(id.to_string())
    }

    /// Whom a denial turns away: an identity under each name of the mesh.
    fn turned_away(&self, denial: &Denial) -> Vec<Who> {
        let mut all = vec![denial.who()];
        if denial.kind == DeniedKind::Identity
            && let Ok(id) = denial.value.parse::<SpiffeId>()
        {
            all.extend(self.aliases.iter().map(|alias| Who::Identity(id.within(alias).to_string())));
        }
        all
    }
}

impl Denial {
    fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    fn who(&self) -> Who {
        let value = self.value.clone();
        match self.kind {
            DeniedKind::Serial => Who::Serial(value),
            DeniedKind::Identity => Who::Identity(value),
            DeniedKind::Agent => Who::Agent(value),
        }
    }
}

fn agent(value: &str) -> Result<String, DenialError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if value.is_empty() || value.len() > LONGEST_AGENT || !value.bytes().all(plain) {
        return Err(DenialError::Agent(value.to_owned()));
    }
    Ok(value.to_owned())
}

/// The same for the same holder, so that denying twice makes one entry.
fn id(kind: DeniedKind, value: &str) -> String {
    sha256(format!("{kind:?} {value}").as_bytes())[..16].to_owned()
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn parse(key: &str, value: &[u8]) -> Result<Denial, StoreError> {
    let denial: Denial = serde_json::from_slice(value).map_err(|error| unreadable(key, &error))?;
    Ok(Denial { id: key.trim_start_matches(PREFIX).to_owned(), ..denial })
}
