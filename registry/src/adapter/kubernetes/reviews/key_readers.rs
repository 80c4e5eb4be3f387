//! Which service accounts may read the private keys of their namespace (`SubjectAccessReview` of
//! `authorization.k8s.io/v1`, for `list secrets` as in Istio). Each account is asked about by one follower, however many
//! proxies run as it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use crate::adapter::kubernetes::Cluster;
use crate::model::KeyAccess;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// How long an answer of the cluster holds.
const HOLDS: Duration = Duration::from_secs(60);
/// How soon the cluster is asked again while it gave no answer.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    allowed: bool,
    reason: String,
    evaluation_error: String,
}

/// Namespace and name.
type Account = (String, String);

/// What is known before the first answer.
const UNASKED: KeyAccess = KeyAccess::Unknown(String::new());

/// Knows of the accounts that somebody asks about. Cloning shares.
#[derive(Clone)]
pub struct KeyReaders {
    cluster: Cluster,
    followed: Arc<Mutex<HashMap<Account, watch::Sender<KeyAccess>>>>,
    holds: Duration,
    again: Duration,
}

impl KeyReaders {
    pub fn of(cluster: Cluster) -> Self {
        Self { cluster, followed: Arc::default(), holds: HOLDS, again: AGAIN }
    }

    /// Whether a service account may have the keys of its namespace, now and as that changes. Waits for the cluster's
    /// first answer.
    pub async fn follow(&self, namespace: &str, account: &str) -> watch::Receiver<KeyAccess> {
        let mut told = self.followed((namespace.to_owned(), account.to_owned()));
        // Its follower ends only when nobody listens.
        let _ = told.wait_for(|access| *access != UNASKED).await;
        told
    }

    #[cfg(test)]
    pub(super) fn asking_every(self, pause: Duration) -> Self {
        Self { holds: pause, again: pause, ..self }
    }

    #[cfg(test)]
    pub(super) fn is_following(&self) -> bool {
        !self.followed.lock().is_empty()
    }

    fn followed(&self, account: Account) -> watch::Receiver<KeyAccess> {
        let mut followed = self.followed.lock();
        if let Some(publish) = followed.get(&account) {
            return publish.subscribe();
        }
        let (publish, told) = watch::channel(UNASKED);
        followed.insert(account.clone(), publish.clone());
        tokio::spawn(self.clone().keep(account, publish));
        told
    }

    /// Asks again and again, until nobody listens any more when it would.
    async fn keep(self, account: Account, publish: watch::Sender<KeyAccess>) {
        loop {
            let now = self.ask(&account).await;
            publish.send_if_modified(|known| {
                // What was once told stands while the cluster is away.
                let is_news = !matches!(now, KeyAccess::Unknown(_)) || *known == UNASKED;
                let changed = is_news && *known != now;
                if changed {
                    *known = now;
                }
                changed
            });
            let is_unknown = matches!(*publish.borrow(), KeyAccess::Unknown(_));
            tokio::time::sleep(if is_unknown { self.again } else { self.holds }).await;
            let mut followed = self.followed.lock();
            if publish.receiver_count() == 0 {
                followed.remove(&account);
                return;
            }
        }
    }

    async fn ask(&self, account: &Account) -> KeyAccess {
        let (namespace, name) = account;
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{namespace}:{name}"),
                "groups": [
                    "system:serviceaccounts",
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated",
                ],
                "resourceAttributes": { "namespace": namespace, "verb": "list", "resource": "secrets" },
            },
        });
        match self.cluster.review::<Status>(REVIEWS, &body).await {
            Ok(status) if status.allowed => KeyAccess::Granted,
            Ok(status) => KeyAccess::Denied(forbidden(self.cluster.name(), account, status)),
            Err(why) => KeyAccess::Unknown(format!("the cluster {} cannot be asked: {why}", self.cluster.name())),
        }
    }
}

fn forbidden(cluster: &str, (namespace, name): &Account, status: Status) -> String {
    let words = [status.reason, status.evaluation_error].into_iter().filter(|text| !text.is_empty());
    let words = words.collect::<Vec<_>>().join("; ");
    let words = if words.is_empty() { words } else { format!(" ({words})") };
    format!(
        "the cluster {cluster} does not let its service account list the Secrets of {namespace}{words}; if it is a \
         gateway: kubectl create role {name}-keys -n {namespace} --verb=get,watch,list --resource=secrets, and kubectl \
         create rolebinding {name}-keys -n {namespace} --role={name}-keys --serviceaccount={namespace}:{name}"
    )
}
