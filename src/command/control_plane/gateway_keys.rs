//! Which gateways may be handed the private keys of their namespace: those whose join token says so, and those whose
//! service account may read the cluster's Secrets anyway.

use citadel::Member;
use pilot::{Attached, Node, Peer};
use registry::KeyAccess;
use registry::kubernetes::KeyReaders;
use tokio::sync::watch;

/// A connected gateway, and what it may have for as long as it is connected.
pub struct Gateway(watch::Receiver<KeyAccess>);

impl Attached for Gateway {
    fn keys(&self) -> Option<watch::Receiver<KeyAccess>> {
        Some(self.0.clone())
    }
}

impl Gateway {
    /// The readers are those of the cluster whose Secrets gateways show.
    pub async fn attach(
        readers: Option<&KeyReaders>,
        node: &Node,
        peer: Option<&Peer>,
        member: Option<&Member>,
    ) -> Self {
        let always = |access| Self(watch::channel(access).1);
        // Who came with a token may have what the token says, whatever the cluster lets an account of that name do.
        if let Some(member) = member {
            return always(by_token(member));
        }
        match (readers, peer.and_then(|peer| peer.id.workload())) {
            (Some(readers), Some((namespace, account))) => Self(readers.follow(namespace, account).await),
            _ => always(KeyAccess::Denied(nobody(node))),
        }
    }
}

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

fn nobody(node: &Node) -> String {
    let account = node.service_account.as_deref().unwrap_or("NAME");
    format!(
        "neither a join token nor a cluster says that it is a gateway; join with a token from `weft token create \
         --gateway --namespace {} --service-account {account}`",
        node.namespace
    )
}

#[cfg(test)]
mod tests {
    use ::api::envoy::config::core::v3 as core;
    use citadel::Grant;

    use super::*;

    /// Those of a cluster that is away.
    async fn readers() -> KeyReaders {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("kubeconfig");
        let config = "{apiVersion: v1, kind: Config, current-context: east,
            contexts: [{name: east, context: {cluster: east, user: u}}],
            clusters: [{name: east, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {token: t}}]}";
        std::fs::write(&file, config).unwrap();
        KeyReaders::of(registry::kubernetes::Cluster::open(&file).await.unwrap())
    }

    fn node() -> Node {
        let id = "router~10.0.0.1~edge.istio-system~istio-system.svc.cluster.local";
        Node::parse(&core::Node { id: id.into(), ..Default::default() }).unwrap()
    }

    fn member(gateway: bool) -> Member {
        Member {
            id: "3f9c2a-1".into(),
            namespace: "istio-system".into(),
            service_account: "edge".into(),
            token: "3f9c2a".into(),
            grant: Grant { gateway, ..Grant::default() },
            joined: 0,
            ended: None,
        }
    }

    #[tokio::test]
    async fn who_came_with_a_token_has_keys_as_the_token_says_and_others_as_the_cluster_does() {
        let cluster = readers().await;
        let id = "spiffe://cluster.local/ns/istio-system/sa/edge".parse().unwrap();
        let peer = Peer { id, member: None, address: None };
        let access = async |readers: Option<&KeyReaders>, member: Option<&Member>| {
            Gateway::attach(readers, &node(), Some(&peer), member).await.0.borrow().clone()
        };
        assert_eq!(access(Some(&cluster), Some(&member(true))).await, KeyAccess::Granted);
        let KeyAccess::Denied(why) = access(Some(&cluster), Some(&member(false))).await else { panic!("granted") };
        assert!(why.contains("the token 3f9c2a, which is for no gateway"), "{why}");
        assert!(why.contains("weft token create --gateway"), "{why}");
        let KeyAccess::Unknown(why) = access(Some(&cluster), None).await else { panic!("it was not asked") };
        assert!(why.starts_with("the cluster east cannot be asked"), "{why}");
        let KeyAccess::Denied(why) = access(None, None).await else { panic!("granted") };
        assert!(why.starts_with("neither a join token nor a cluster says"), "{why}");
    }
}
