//! One proxy for several workloads of a machine. Programs send their requests to its ports as to an HTTP proxy, and are
//! told apart by the user they run as; connections from elsewhere come to one port, and are told apart by the service
//! that they name. Each workload has an identity, a configuration and workers of its own, so that what holds for one
//! holds for no other.

mod admin;
mod asked;
mod counters;
mod front;
mod member;
mod series;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::admin::{NodeAdmin, NodeMetrics, NodeReadiness};
use self::asked::Table;
use self::counters::Counters;
use self::front::Front;
pub(crate) use self::front::refuse;
use self::member::Member;
use crate::run::{ProxyError, bind};
use crate::settings::Settings;
use crate::workload_api::{self, Decide, Denied, Selectors, Socket};

/// What a node proxy is told when it starts.
#[derive(Debug)]
pub struct NodeSettings {
    /// Where programs of this machine send their requests: HTTP/1.1 and HTTP/2 at each.
    pub outgoing: Vec<SocketAddr>,
    /// Where connections from elsewhere come to.
    pub incoming: SocketAddr,
    pub admin: SocketAddr,
    pub readiness: SocketAddr,
    /// Where the metrics can be read from elsewhere, and nothing else.
    pub metrics: SocketAddr,
    /// Where programs get the identity of their workload; `None`: nowhere.
    pub workload_socket: Option<PathBuf>,
    pub workloads: Vec<NodeWorkload>,
}

/// A workload of the machine.
#[derive(Debug)]
pub struct NodeWorkload {
    /// The user that its programs run as; no other workload has it.
    pub uid: u32,
    /// Its `admin`, `readiness` and `dns` are not used, and its `metrics` are the node's.
    pub settings: Settings,
    /// Which of its user's programs get its identity.
    pub callers: Selectors,
}

/// What its parts share.
struct Shared {
    members: Vec<Arc<Member>>,
    /// Whose what a connection from elsewhere asks for is.
    table: Table,
    counters: Counters,
}

impl Shared {
    fn of_user(&self, uid: u32) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.uid == uid)
    }
}

/// Why workloads cannot be behind one proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    #[error("{one} and {other} both run as user {uid}: run them as two users, or make them one workload")]
    User { uid: u32, one: String, other: String },
    #[error(
        "{one} and {other} both serve {host} on port {port}: nothing in a connection would tell whose it is; leave it to one of them"
    )]
    Service { host: String, port: u16, one: String, other: String },
    #[error("{workload}: {service:?} is no service: {reason}")]
    Name { workload: String, service: String, reason: String },
}

/// Runs until it is told to end. `ready` becomes true once every workload has its configuration.
pub async fn run(settings: NodeSettings, shutdown: Shutdown, ready: watch::Sender<bool>) -> Result<(), ProxyError> {
    let table = Table::of(&settings.workloads).map_err(|error| ProxyError::Refused(error.to_string()))?;
    let sockets = Sockets::bind(&settings).await?;
    let workload_socket = settings.workload_socket.as_deref().map(Socket::bind).transpose()?;
    let members = settings.workloads.into_iter().map(|workload| Arc::new(Member::new(workload))).collect();
    let shared = Arc::new(Shared { members, table, counters: Counters::default() });
    let mut workloads = JoinSet::new();
    for member in &shared.members {
        workloads.spawn(Arc::clone(member).keep(shutdown.clone()));
    }
    let front = Front { shared: Arc::clone(&shared), shutdown: shutdown.clone() };
    let mut doors = JoinSet::new();
    for socket in sockets.outgoing {
        doors.spawn(front.clone().outgoing(socket));
    }
    doors.spawn(front.incoming(sockets.incoming));
    if let Some(socket) = workload_socket {
        doors.spawn(workload_api::serve(socket, identities(Arc::clone(&shared))));
    }
    doors.spawn(crate::admin::serve(sockets.admin, Arc::new(NodeAdmin(Arc::clone(&shared)))));
    doors.spawn(crate::admin::serve(sockets.readiness, Arc::new(NodeReadiness(Arc::clone(&shared)))));
    doors.spawn(crate::admin::serve(sockets.metrics, Arc::new(NodeMetrics(Arc::clone(&shared)))));
    doors.spawn(async move {
        for member in &shared.members {
            member.is_ready().await;
        }
        ready.send_replace(true);
        std::future::pending().await
    });
    // Each ends when it is told to, or has wound down.
    while workloads.join_next().await.is_some() {}
    Ok(())
}

/// Each caller's workload, by what the operator said of its programs.
fn identities(shared: Arc<Shared>) -> Decide {
    Arc::new(move |caller| {
        let member = shared.members.iter().find(|member| member.callers.fit(caller)).ok_or(Denied::Nobody)?;
        member.source().ok_or(Denied::NotYet)
    })
}

/// Bound before anything else is begun.
struct Sockets {
    outgoing: Vec<TcpListener>,
    incoming: TcpListener,
    admin: TcpListener,
    readiness: TcpListener,
    metrics: TcpListener,
}

impl Sockets {
    async fn bind(settings: &NodeSettings) -> Result<Self, ProxyError> {
        let mut outgoing = Vec::new();
        for address in &settings.outgoing {
            outgoing.push(bind(*address).await?);
        }
        Ok(Self {
            outgoing,
            incoming: bind(settings.incoming).await?,
            admin: bind(settings.admin).await?,
            readiness: bind(settings.readiness).await?,
            metrics: bind(settings.metrics).await?,
        })
    }
}
