//! Which gateways may be handed the private keys of their namespace: those whose join token says so, and those whose
//! service account may read the cluster's Secrets anyway (as in Istio: a SubjectAccessReview for `list secrets`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use citadel::Member;
use pilot::{Attached, KeyAccess, Node, Peer};
use registry::kubernetes::{Allowed, Cluster};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an answer of the cluster holds. A gateway that stays connected is asked about again this often.
const HOLDS: Duration = Duration::from_secs(60);
/// How soon the cluster is asked again when it gave no answer.
const AGAIN: Duration = Duration::from_secs(5);

/// Knows, or asks. Cloning shares.
#[derive(Clone)]
pub struct GatewayKeys {
    cluster: Option<Cluster>,
    /// By namespace and service account.
    known: Arc<Mutex<BTreeMap<Account, Answer>>>,
    holds: Duration,
    again: Duration,
}

type Account = (String, String);

#[derive(Clone)]
struct Answer {
    access: KeyAccess,
    until: Instant,
}

/// A connected gateway.
pub struct Gateway(watch::Receiver<KeyAccess>);

impl Attached for Gateway {
    fn keys(&self) -> Option<watch::Receiver<KeyAccess>> {
        Some(self.0.clone())
    }
}

impl GatewayKeys {
    /// The cluster is the one whose Secrets gateways show.
    pub fn of(cluster: Option<Cluster>) -> Self {
        Self { cluster, known: Arc::default(), holds: HOLDS, again: AGAIN }
    }

    /// What a gateway may have for as long as it is connected.
    pub async fn attach(&self, node: &Node, peer: Option<&Peer>, member: Option<&Member>) -> Gateway {
        if let Some(member) = member {
            return Gateway(watch::channel(by_token(member)).1);
        }
        let account = peer.and_then(|peer| peer.id.workload());
        let account = account.map(|(namespace, account)| (namespace.to_owned(), account.to_owned()));
        let (Some(cluster), Some(account)) = (self.cluster.clone(), account) else {
            return Gateway(watch::channel(KeyAccess::Denied(nobody(node))).1);
        };
        let first = self.ask(&cluster, &account).await;
        let (publish, followed) = watch::channel(first);
        tokio::spawn(self.clone().follow(cluster, account, publish));
        Gateway(followed)
    }

    /// Asks again and again until the gateway is gone.
    async fn follow(self, cluster: Cluster, account: Account, publish: watch::Sender<KeyAccess>) {
        loop {
            let unknown = matches!(*publish.borrow(), KeyAccess::Unknown(_));
            tokio::select! {
                () = tokio::time::sleep(if unknown { self.again } else { self.holds }) => {}
                () = publish.closed() => return,
            }
            let now = self.ask(&cluster, &account).await;
            publish.send_if_modified(|known| {
                // What was once told stands while the cluster is away.
                let changed = *known != now && !matches!(now, KeyAccess::Unknown(_));
                if changed {
                    *known = now;
                }
                changed
            });
        }
    }

    async fn ask(&self, cluster: &Cluster, account: &Account) -> KeyAccess {
        let fresh = self.lock().get(account).filter(|answer| answer.until > Instant::now()).cloned();
        if let Some(answer) = fresh {
            return answer.access;
        }
        let (namespace, name) = account;
        let access = match cluster.may_list_secrets(namespace, name).await {
            Ok(Allowed::Yes) => KeyAccess::Granted,
            Ok(Allowed::No(words)) => KeyAccess::Denied(forbidden(cluster.name(), account, &words)),
            Err(why) => return KeyAccess::Unknown(format!("the cluster {} cannot be asked: {why}", cluster.name())),
        };
        let mut known = self.lock();
        known.retain(|_, answer| answer.until > Instant::now());
        known.insert(account.clone(), Answer { access: access.clone(), until: Instant::now() + self.holds });
        access
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Account, Answer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who came with a token may have what the token says, whatever the cluster lets an account of that name do.
fn by_token(member: &Member) -> KeyAccess {
    if member.grant.gateway {
        return KeyAccess::Granted;
    }
    let Member { namespace, service_account, token, .. } = member;
    KeyAccess::Denied(format!(
        "it joined with the token {token}, which is for no gateway; join again with one from `weft token create \
         --gateway --namespace {namespace} --service-account {service_account}`"
    ))
}

fn forbidden(cluster: &str, (namespace, name): &Account, words: &str) -> String {
    let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
    format!(
        "the cluster {cluster} does not let its service account list the Secrets of {namespace}{words}; if it is a \
         gateway: kubectl create role {name}-keys -n {namespace} --verb=get,watch,list --resource=secrets, and kubectl \
         create rolebinding {name}-keys -n {namespace} --role={name}-keys --serviceaccount={namespace}:{name}"
    )
}

fn nobody(node: &Node) -> String {
    let account = node.service_account.as_deref().unwrap_or("NAME");
    format!(
        "neither a join token nor a cluster says that it is a gateway; join with a token from `weft token create \
         --gateway --namespace {} --service-account {account}`",
        node.namespace
    )
}

#[cfg(test)]
mod tests;
