//! Members: workloads that joined with a token, what each may register, and whether it still belongs. A member's ID is
//! the common name of its certificates, so every certificate that follows from a token carries the token's limits, and
//! both are in the store, under `member/<id>`.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use api::Hostname;
use ipnet::IpNet;
use runtime::Clock;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

use crate::Redeemed;
use crate::ledger::unreadable;

const PREFIX: &str = "member/";

/// What a token allows its workload to register. An empty list allows any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grant {
    /// The WorkloadGroup that describes the workload, in the token's namespace.
    pub workload_group: Option<String>,
    /// Short names in the token's namespace, or whole hosts.
    pub services: Vec<String>,
    pub ports: Vec<u16>,
    pub addresses: Vec<IpNet>,
    /// Whether it is a gateway that may have the private keys of its namespace.
    pub gateway: bool,
}

/// A workload that joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    #[serde(skip)]
    pub id: String,
    pub namespace: String,
    pub service_account: String,
    /// The token it joined with.
    pub token: String,
    #[serde(default)]
    pub grant: Grant,
    /// Unix seconds.
    pub joined: u64,
    /// Why it belongs no more.
    #[serde(default)]
    pub ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// By itself, with `weft leave`.
    Left,
    /// By an operator.
    Evicted,
}

#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    #[error("the workload {0} is not known here; join again with a new token")]
    Unknown(String),
    #[error("the workload {0} left the mesh; join again with a new token")]
    Left(String),
    #[error("the workload {0} was evicted by an operator; join again with a new token")]
    Evicted(String),
    #[error("it cannot be told now who belongs to the mesh: {0}")]
    Store(#[from] StoreError),
}

/// Keeps the members. Cloning shares.
#[derive(Clone)]
pub struct Members {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Members {
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// The member that a redeemed token makes of a key: the same key becomes the same member.
    pub async fn admit(&self, redeemed: &Redeemed, key_fingerprint: &str) -> Result<Member, MemberError> {
        let id = format!("{}-{}", redeemed.token, key_fingerprint.get(..8).unwrap_or(key_fingerprint));
        if let Some((known, _)) = self.read(&id).await? {
            return known.belonging();
        }
        let member = Member {
            id: id.clone(),
            namespace: redeemed.namespace.clone(),
            service_account: redeemed.service_account.clone(),
            token: redeemed.token.clone(),
            grant: redeemed.grant.clone(),
            joined: self.clock.unix_seconds(),
            ended: None,
        };
        match self.write(&member, 0).await {
            // The same request twice at once: both mean the same member.
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(member),
            Err(error) => Err(error.into()),
        }
    }

    /// A member that belongs to the mesh.
    pub async fn find(&self, id: &str) -> Result<Member, MemberError> {
        let (member, _) = self.read(id).await?.ok_or_else(|| MemberError::Unknown(id.to_owned()))?;
        member.belonging()
    }

    /// Ends a membership: no certificate and no registration any more. The first reason stays.
    pub async fn end(&self, id: &str, why: Ended) -> Result<Member, MemberError> {
        let (mut member, revision) = self.read(id).await?.ok_or_else(|| MemberError::Unknown(id.to_owned()))?;
        if member.ended.is_none() {
            member.ended = Some(why);
            self.write(&member, revision).await?;
            tracing::info!(member = id, ?why, namespace = member.namespace, "a workload's membership ended");
        }
        Ok(member)
    }

    /// Ends the membership of all that joined with a token; returns them.
    pub async fn evict(&self, token: &str) -> Result<Vec<Member>, MemberError> {
        let mut evicted = Vec::new();
        for member in self.list().await?.into_iter().filter(|member| member.token == token && member.ended.is_none()) {
            evicted.push(self.end(&member.id, Ended::Evicted).await?);
        }
        Ok(evicted)
    }

    pub async fn list(&self) -> Result<Vec<Member>, MemberError> {
        let listing = self.store.list(PREFIX).await?;
        listing.entries.iter().map(|entry| Ok(parse(&entry.key, &entry.value)?)).collect()
    }

    async fn read(&self, id: &str) -> Result<Option<(Member, u64)>, StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !id.bytes().all(plain) {
            return Ok(None);
        }
        let entry = self.store.get(&key(id)).await?;
        entry.map(|entry| Ok((parse(&entry.key, &entry.value)?, entry.revision))).transpose()
    }

    async fn write(&self, member: &Member, expected: u64) -> Result<(), StoreError> {
        let value = serde_json::to_vec(member).map_err(|error| unreadable(&member.id, &error))?;
        self.store.commit(Transaction::put(key(&member.id), value).expecting(key(&member.id), expected)).await?;
        Ok(())
    }
}

impl Member {
    fn belonging(self) -> Result<Self, MemberError> {
        match self.ended {
            None => Ok(self),
            Some(Ended::Left) => Err(MemberError::Left(self.id)),
            Some(Ended::Evicted) => Err(MemberError::Evicted(self.id)),
        }
    }
}

impl Grant {
    /// Whether a port of a service may be registered by a workload of this namespace; the error is for its operator.
    pub fn check_port(&self, service: &str, port: u16, namespace: &str, domain: &str) -> Result<(), String> {
        let host = |name: &str| Hostname::resolve(name, namespace, domain).ok();
        let wanted = host(service).ok_or_else(|| format!("{service:?} is no name of a service"))?;
        let allowed = self.services.iter().any(|name| host(name).as_ref() == Some(&wanted));
        if !self.services.is_empty() && !allowed {
            let listed = self.services.join(", ");
            return Err(format!(
                "the join token allows the services {listed}, not {service}; make one with --allow-service {service}"
            ));
        }
        if !self.ports.is_empty() && !self.ports.contains(&port) {
            let listed: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
            return Err(format!(
                "the join token allows the ports {}, not {port}; make one with --allow-port {port}",
                listed.join(", ")
            ));
        }
        Ok(())
    }

    /// Whether a workload may be at this address; the error is for its operator.
    pub fn check_address(&self, address: IpAddr) -> Result<(), String> {
        if self.addresses.is_empty() || self.addresses.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let listed: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        Err(format!(
            "the join token allows the addresses {}, not {address}; make one with --allow-address {address}",
            listed.join(", ")
        ))
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn parse(key: &str, value: &[u8]) -> Result<Member, StoreError> {
    let member: Member = serde_json::from_slice(value).map_err(|error| unreadable(key, &error))?;
    Ok(Member { id: key.trim_start_matches(PREFIX).to_owned(), ..member })
}
