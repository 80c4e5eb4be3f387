//! The service `weft.v1.Membership`: tells a workload that joined what it is in the mesh, and lets it leave.

use std::net::IpAddr;
use std::pin::Pin;

use ::api::weft::v1 as wire;
use citadel::{Ended, Member};
use galley::kinds::{Probe, ProbeMethod};
use pilot::Peer;
use registry::Registration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::membership_server::Membership;

use super::join::{Joined, planned};

/// Serves members, who are known by their certificates.
pub struct Memberships(pub Joined);

type Members = Pin<Box<dyn Stream<Item = Result<wire::Member, Status>> + Send>>;

#[tonic::async_trait]
impl Membership for Memberships {
    type FollowStream = Members;

    async fn follow(&self, request: Request<wire::FollowRequest>) -> Result<Response<Members>, Status> {
        let member = self.member(&request).await?;
        let from = request.extensions().get::<Peer>().and_then(|peer| peer.address);
        let asked = Asked::read(request.get_ref(), from, &member)?;
        let first = self.describe(&member, &asked).await?;
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(follow(self.0.clone(), member, asked, first, answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn leave(&self, request: Request<wire::LeaveRequest>) -> Result<Response<wire::LeaveResponse>, Status> {
        let member = self.member(&request).await?;
        let ended = self.0.members.end(&member.id, Ended::Left).await;
        ended.map_err(|error| Status::unavailable(error.to_string()))?;
        self.0.agents.forget(&member.id).await;
        Ok(Response::new(wire::LeaveResponse {}))
    }
}

/// Where and as what a workload will run.
struct Asked {
    /// Where the connection comes from.
    from: Option<IpAddr>,
    address: IpAddr,
    workload: String,
}

impl Asked {
    fn read(request: &wire::FollowRequest, from: Option<IpAddr>, member: &Member) -> Result<Self, Status> {
        let wrong = || Status::invalid_argument(format!("{:?} is no IP address", request.address));
        let address: IpAddr = request.address.parse().map_err(|_| wrong())?;
        let workload = match &request.workload {
            given if !given.is_empty() => given.clone(),
            // Istio: the group and the address, which a name writes with hyphens.
            _ => {
                let group = member.grant.workload_group.as_deref().unwrap_or(&member.service_account);
                let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
                let address: String = address.to_string().chars().map(plain).collect();
                format!("{group}-{}", address.trim_matches('-'))
            }
        };
        Ok(Self { from, address, workload })
    }
}

impl Memberships {
    async fn member<T>(&self, request: &Request<T>) -> Result<Member, Status> {
        let peer = request.extensions().get::<Peer>();
        let nobody = || Status::unauthenticated("present the certificate of a workload that joined with a token");
        self.0.member(peer).await?.ok_or_else(nobody)
    }

    async fn describe(&self, member: &Member, asked: &Asked) -> Result<wire::Member, Status> {
        let (described, registration) = describe(&self.0, member, asked)?;
        self.0.check(&registration, Some(member), asked.from)?;
        let free = self.0.agents.check(registration).await;
        free.map_err(|taken| Status::permission_denied(taken.to_string()))?;
        Ok(described)
    }
}

/// What a member is now, and what it would register.
fn describe(joined: &Joined, member: &Member, asked: &Asked) -> Result<(wire::Member, Registration), Status> {
    let group = joined.group(member)?.ok_or_else(|| {
        Status::failed_precondition("the token names no WorkloadGroup; make one with --workload-group")
    })?;
    let registration = planned(member, asked.workload.clone(), asked.address, &group);
    let ports = registration.ports.iter().map(|port| wire::Port {
        name: port.name.clone(),
        port: port.port.into(),
        protocol: match port.protocol {
            registry::Protocol::Auto => String::new(),
            protocol => protocol.as_str().to_ascii_lowercase(),
        },
        service: port.service.clone(),
    });
    let described = wire::Member {
        id: member.id.clone(),
        namespace: member.namespace.clone(),
        service_account: member.service_account.clone(),
        workload_group: group.meta.name.clone(),
        workload: asked.workload.clone(),
        labels: registration.labels.clone(),
        locality: registration.locality.to_string(),
        network: registration.network.clone(),
        ports: ports.collect(),
        probe: group.spec.probe.as_ref().map(probe),
    };
    Ok((described, registration))
}

/// Tells a member's description again whenever it changed.
async fn follow(
    joined: Joined,
    member: Member,
    asked: Asked,
    first: wire::Member,
    answers: mpsc::Sender<Result<wire::Member, Status>>,
) {
    let mut snapshots = joined.galley.snapshots();
    let mut told = first.clone();
    if answers.send(Ok(first)).await.is_err() {
        return;
    }
    loop {
        // A group that is taken away changes nothing for who runs: the last description stays in force.
        snapshots.borrow_and_update();
        if let Ok((now, _)) = describe(&joined, &member, &asked)
            && now != told
        {
            told = now.clone();
            if answers.send(Ok(now)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = answers.closed() => return,
        }
    }
}

fn probe(probe: &Probe) -> wire::Probe {
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    wire::Probe {
        initial_delay_seconds: seconds(probe.initial_delay),
        timeout_seconds: seconds(probe.timeout),
        period_seconds: seconds(probe.period),
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
        method: Some(method(&probe.method)),
    }
}

fn method(method: &ProbeMethod) -> wire::probe::Method {
    use wire::probe::Method;
    match method.clone() {
        ProbeMethod::HttpGet { path, port, host, https, headers } => Method::HttpGet(wire::HttpGet {
            path,
            port: port.into(),
            host,
            https,
            headers: headers.into_iter().map(|(name, value)| wire::Header { name, value }).collect(),
        }),
        ProbeMethod::TcpSocket { host, port } => Method::TcpSocket(wire::TcpSocket { host, port: port.into() }),
        ProbeMethod::Exec { command } => Method::Exec(wire::Exec { command }),
    }
}
