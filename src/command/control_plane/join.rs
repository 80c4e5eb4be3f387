//! Ties a proxy's connection to the mesh: who it is by its certificate, and which services it brings. What a member may
//! register is what its token allowed, and what its WorkloadGroup says.

use std::net::IpAddr;
use std::sync::Arc;

use ::api::{DenyList, TrustDomain};
use citadel::{Client, Member, Members, PeerCertificates, Rates};
use galley::{Galley, kinds::WorkloadGroup};
use pilot::{Attached, Attachments, Node, NodeKind, Peer};
use registry::kubernetes::KeyReaders;
use registry::{Agents, Attachment, Catalog, Health, RegisteredPort, Registration};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::claims::Claims;
use super::gateway_keys::Gateway;

/// Puts the identity of a connection's certificate into its requests; turns away whoever is of another mesh or denied,
/// and whoever begins more streams than anybody needs.
#[derive(Clone)]
pub struct Authenticate {
    pub denied: watch::Receiver<Arc<DenyList>>,
    pub rates: Rates,
    /// The mesh's, and its older names: other meshes may have the same root.
    pub trust_domains: Arc<[TrustDomain]>,
}

impl Interceptor for Authenticate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let client = Client::of(request.extensions().get::<PeerCertificates>());
        self.rates.take(&client, Instant::now())?;
        authenticate(request, &self.denied.borrow(), &self.trust_domains)
    }
}

fn authenticate(
    mut request: Request<()>,
    denied: &DenyList,
    trust_domains: &[TrustDomain],
) -> Result<Request<()>, Status> {
    let peer = request.extensions().get::<PeerCertificates>();
    let from = peer.and_then(|peer| peer.address);
    let address = from.map(|from| from.ip());
    let leaf = peer.and_then(|peer| peer.chain.first().cloned());
    if let Some(leaf) = leaf {
        let svid = ::api::X509Svid::parse(&leaf).map_err(|error| Status::unauthenticated(error.to_string()))?;
        if !trust_domains.contains(svid.id.trust_domain()) {
            return Err(Status::permission_denied(format!("{} is of another mesh than this one", svid.id)));
        }
        if let Some(denied) = denied.denies(&svid) {
            return Err(Status::permission_denied(denied.to_string()));
        }
        request.extensions_mut().insert(Peer { id: svid.id, member: svid.common_name, address });
    }
    // Discovery shows it.
    if let Some(from) = from {
        request.extensions_mut().insert(from);
    }
    Ok(request)
}

/// Registers the services of connected sidecars.
#[derive(Clone)]
pub struct Joined {
    pub agents: Agents,
    pub members: Members,
    pub galley: Galley,
    /// What all registries tell.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Of service names.
    pub domain: String,
    /// Of the cluster whose Secrets gateways show.
    pub keys: Option<KeyReaders>,
}

#[tonic::async_trait]
impl Attachments for Joined {
    async fn connected(&self, node: &Node, peer: Option<&Peer>) -> Result<Box<dyn Attached>, Status> {
        let member = self.member(peer).await?;
        let group = match &member {
            Some(member) => self.group(member)?,
            None => None,
        };
        if node.kind == NodeKind::Router {
            return Ok(Box::new(Gateway::attach(self.keys.as_ref(), node, peer, member.as_ref()).await));
        }
        let Some(registration) = registration(node, member.as_ref(), group.as_deref()) else {
            return Ok(Box::new(()));
        };
        self.check(&registration, member.as_ref(), peer.and_then(|peer| peer.address))?;
        let attachment = self.agents.register(registration).await;
        Ok(Box::new(Kept(attachment.map_err(|taken| Status::permission_denied(taken.to_string()))?)))
    }
}

struct Kept(Attachment);

impl Attached for Kept {
    fn told_health(&self, unhealthy: Option<String>) {
        self.0.report(health(unhealthy));
    }

    fn last_words(&self, unhealthy: Option<String>) {
        self.0.report_last(health(unhealthy));
    }
}

fn health(unhealthy: Option<String>) -> Health {
    let Some(reason) = unhealthy else { return Health::Healthy };
    tracing::info!(reason, "a workload says that it is not healthy");
    Health::Unhealthy
}

impl Joined {
    /// The member that a certificate names, if it names one; an error if it belongs no more.
    pub async fn member(&self, peer: Option<&Peer>) -> Result<Option<Member>, Status> {
        let Some(id) = peer.and_then(|peer| peer.member.as_deref()) else { return Ok(None) };
        let found = self.members.find(id).await;
        found.map(Some).map_err(|error| match error {
            citadel::MemberError::Store(_) => Status::unavailable(error.to_string()),
            _ => Status::permission_denied(error.to_string()),
        })
    }

    /// The group that a member's token named, as it is now.
    pub fn group(&self, member: &Member) -> Result<Option<Arc<galley::Config<WorkloadGroup>>>, Status> {
        let Some(name) = &member.grant.workload_group else { return Ok(None) };
        let snapshot = self.galley.snapshots().borrow().clone();
        let found = snapshot.workload_group(&member.namespace, name).cloned();
        let missing = || {
            let namespace = &member.namespace;
            Status::failed_precondition(format!("there is no WorkloadGroup {name} in namespace {namespace}; apply it"))
        };
        found.map(Some).ok_or_else(missing)
    }

    /// Holds a registration to what its member may claim.
    pub fn check(
        &self,
        registration: &Registration,
        member: Option<&Member>,
        from: Option<IpAddr>,
    ) -> Result<(), Status> {
        let catalog = self.catalog.borrow().clone();
        let grant = member.map(|member| &member.grant);
        let claims = Claims { grant, from, catalog: &catalog, domain: &self.domain };
        claims.check(registration).map_err(Status::permission_denied)
    }
}

/// What a node serves; `None` for gateways, for sidecars that serve nothing, and for those that another registry tells of. Namespace and service account were
/// held against the certificate when the node was let in.
fn registration(
    node: &Node,
    member: Option<&Member>,
    group: Option<&galley::Config<WorkloadGroup>>,
) -> Option<Registration> {
    if node.kind != NodeKind::Sidecar || !node.registers {
        return None;
    }
    let identity = member.map(|member| member.service_account.clone());
    let begun = Registration {
        member: member.map(|member| member.id.clone()),
        workload: node.workload.clone(),
        namespace: node.namespace.clone(),
        service_account: identity.or_else(|| node.service_account.clone())?,
        labels: node.labels.clone(),
        address: *node.addresses.first()?,
        locality: node.locality.clone(),
        network: String::new(),
        cluster: node.cluster.clone(),
        weight: 1,
        health: Health::Healthy,
        ports: Vec::new(),
    };
    let mut registration = match group {
        Some(group) => of_group(begun, group),
        None => {
            let ports = node.services.iter().map(|served| RegisteredPort {
                service: served.service.clone(),
                port: served.port,
                shared: None,
                name: String::new(),
                protocol: served.protocol,
            });
            Registration { ports: ports.collect(), ..begun }
        }
    };
    registration.ports.iter_mut().for_each(|port| port.shared = node.node_proxy_port);
    (!registration.ports.is_empty()).then_some(registration)
}

/// A registration as its group describes it; what the workload says of itself comes on top of the labels, and its
/// locality before the group's (Istio, auto-registration).
pub fn of_group(begun: Registration, group: &galley::Config<WorkloadGroup>) -> Registration {
    let spec = &group.spec;
    let mut labels = spec.all_labels();
    labels.extend(begun.labels);
    let service = spec.service(&group.meta.name);
    let ports = spec.template.ports.iter().map(|(name, port)| RegisteredPort {
        service: service.clone(),
        port: *port,
        shared: None,
        name: name.clone(),
        protocol: registry::Protocol::of_port(name, *port),
    });
    let unknown = begun.locality == registry::Locality::default();
    Registration {
        labels,
        locality: if unknown { spec.template.locality.clone() } else { begun.locality },
        network: spec.template.network.clone(),
        weight: spec.template.weight.max(1),
        // Istio: with a probe, nothing is sent before it succeeded once.
        health: if spec.probe.is_some() { Health::Unhealthy } else { Health::Healthy },
        ports: ports.collect(),
        ..begun
    }
}

/// The registration that a member of a group would make at an address.
pub fn planned(
    member: &Member,
    workload: String,
    address: IpAddr,
    group: &galley::Config<WorkloadGroup>,
) -> Registration {
    let begun = Registration {
        member: Some(member.id.clone()),
        workload,
        namespace: member.namespace.clone(),
        service_account: member.service_account.clone(),
        labels: Default::default(),
        address,
        locality: Default::default(),
        network: String::new(),
        cluster: String::new(),
        weight: 1,
        health: Health::Healthy,
        ports: Vec::new(),
    };
    of_group(begun, group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Request<()> {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let mut request = Request::new(());
        let chain = [certificate.der().clone()].into();
        request.extensions_mut().insert(PeerCertificates { chain, address: None });
        request
    }

    /// Meshes below the root of one company are told apart by the trust domain.
    #[test]
    fn whoever_is_of_another_mesh_below_the_same_root_is_turned_away() {
        let domains = ["cluster.local", "old.example"].map(|name| TrustDomain::new(name).unwrap());
        let ask = |id: &str| authenticate(of(id), &DenyList::default(), &domains);
        for id in ["spiffe://cluster.local/ns/default/sa/a", "spiffe://old.example/ns/default/sa/a"] {
            let taken = ask(id).unwrap();
            assert_eq!(taken.extensions().get::<Peer>().unwrap().id.to_string(), id);
        }
        let refused = ask("spiffe://other.mesh/ns/default/sa/a").unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert_eq!(ask("spiffe://cluster.local").unwrap_err().code(), tonic::Code::Unauthenticated);
        assert!(authenticate(Request::new(()), &DenyList::default(), &domains).is_ok(), "without a certificate");
    }
}
