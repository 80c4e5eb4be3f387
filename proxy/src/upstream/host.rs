//! One upstream host as one worker knows it: its pooled connections, and how much is under way.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::carried::Carried;
use super::connect::{ConnectError, Connected, Target, connect};
use super::outlier::HealthRecord;
use super::pool::{Origin, Pool};
use super::tls::ClientTls;
use crate::access_log::ConnectionInfo;
use crate::config::{self, Endpoint, EndpointAddress, UpstreamProtocol};
use crate::http::body::Body;
use crate::http::message::{RequestHead, Version};
use crate::http::{Response, Via, h1, h2};
use crate::io::Io;
use crate::stats::ClusterStats;

/// A host and its connections.
pub struct Host {
    endpoint: RefCell<Arc<Endpoint>>,
    health: HealthRecord,
    /// When it was first known, or came back to health.
    healthy_since: Cell<Instant>,
    /// Requests and connections under way.
    active: Cell<u32>,
    pub(super) pool: Pool,
    /// What all its connections tell of the one they are for.
    carried: Option<Rc<Carried>>,
    /// The same host for connections that tell something, each with a pool of its own.
    branches: RefCell<HashMap<Rc<Carried>, Rc<Host>>>,
    tls: Option<Arc<ClientTls>>,
    /// Where its connections are counted.
    stats: Option<Arc<ClusterStats>>,
}

/// So many branches may be left over before they are looked for.
const MANY: usize = 1024;

/// Why an attempt on a host brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended before anything of the answer came.
    #[error("{0}")]
    ResetBeforeAnswer(String),
    #[error("{0}")]
    Reset(String),
    /// The upstream reset the stream, and no more.
    #[error("{0}")]
    StreamReset(String),
    #[error("{0}")]
    Protocol(String),
    #[error("the upstream refused the stream")]
    RefusedStream,
    #[error("the client's request body failed")]
    RequestBody,
    #[error("the request is malformed")]
    Malformed,
}

/// Counts one piece of work on a host for as long as it lives.
pub struct InFlight(Rc<Host>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
    }
}

impl Host {
    pub fn new(endpoint: Arc<Endpoint>, tls: Option<Arc<ClientTls>>) -> Self {
        Self {
            endpoint: RefCell::new(endpoint),
            health: HealthRecord::default(),
            healthy_since: Cell::new(Instant::now()),
            active: Cell::new(0),
            pool: Pool::default(),
            carried: None,
            branches: RefCell::default(),
            tls,
            stats: None,
        }
    }

    pub fn counted_in(mut self, stats: &Arc<ClusterStats>) -> Self {
        self.stats = Some(Arc::clone(stats));
        self
    }

    /// The endpoint as last described.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.endpoint.borrow())
    }

    /// The same host is described anew (its weight, its health, its workload): its connections stay.
    pub(super) fn describe(&self, endpoint: &Arc<Endpoint>) {
        *self.endpoint.borrow_mut() = Arc::clone(endpoint);
    }

    pub(super) fn health(&self) -> &HealthRecord {
        &self.health
    }

    pub(super) fn healthy_since(&self) -> Instant {
        self.healthy_since.get()
    }

    pub(super) fn set_healthy_since(&self, since: Instant) {
        self.healthy_since.set(since);
    }

    pub fn active(&self) -> u32 {
        self.active.get()
    }

    pub fn is_mutual_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.mutual)
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.active.set(self.active.get() + 1);
        InFlight(Rc::clone(self))
    }

    pub fn socket_address(&self) -> Option<SocketAddr> {
        match &self.endpoint.borrow().address {
            EndpointAddress::Socket(address) => Some(*address),
            _ => None,
        }
    }

    /// Whether any are kept.
    pub(super) fn has_connections(&self) -> bool {
        !self.pool.is_empty() || self.branches.borrow().values().any(|branch| branch.has_connections())
    }

    /// Gives up the connections that there are: what is under way on them ends in peace.
    pub(super) fn disconnect(&self) {
        self.pool.give_up();
        self.branches.borrow().values().for_each(|branch| branch.disconnect());
    }

    /// Closes what is idle and keeps nothing from now on.
    pub fn retire(&self) {
        self.pool.retire();
        self.branches.borrow().values().for_each(|branch| branch.retire());
    }

    /// Closes connections that were idle for longer than the cluster allows.
    pub(super) fn expire(&self, cluster: &config::Cluster) {
        self.pool.expire(cluster);
        self.branches.borrow_mut().retain(|_, branch| {
            branch.expire(cluster);
            branch.is_in_use()
        });
    }

    /// Whether a branch has connections, or a request that may bring it one.
    fn is_in_use(self: &Rc<Self>) -> bool {
        !self.pool.is_empty() || Rc::strong_count(self) > 1 || Rc::weak_count(self) > 0
    }

    /// The same host, for connections that tell this.
    fn branch(&self, carried: Rc<Carried>) -> Rc<Self> {
        let mut branches = self.branches.borrow_mut();
        if let Some(branch) = branches.get(&carried) {
            return Rc::clone(branch);
        }
        if branches.len() >= MANY {
            branches.retain(|_, branch| branch.is_in_use());
        }
        let own = Self::new(self.endpoint(), self.tls.clone());
        let branch = Self { carried: Some(Rc::clone(&carried)), stats: self.stats.clone(), ..own };
        if self.pool.is_retired() {
            branch.retire();
        }
        let branch = Rc::new(branch);
        branches.insert(carried, Rc::clone(&branch));
        branch
    }

    async fn connect(&self, cluster: &config::Cluster) -> Result<Connected, ConnectError> {
        self.connect_for(cluster, self.carried.as_deref()).await
    }

    async fn connect_for(
        &self,
        cluster: &config::Cluster,
        carried: Option<&Carried>,
    ) -> Result<Connected, ConnectError> {
        let endpoint = self.endpoint();
        let own = endpoint.hostname.as_deref().filter(|_| self.tls.as_ref().is_some_and(|tls| tls.auto_host_sni));
        let told = carried.and_then(|carried| carried.server_name.as_deref());
        let plain = Target::plain(&endpoint.address, self.tls.as_ref());
        let server_name = told.or(own).unwrap_or(plain.server_name);
        // On the heap: a request that finds a connection in the pool needs no room for the making of one.
        let connected = Box::pin(connect(Target { server_name, carried, ..plain }, cluster)).await;
        if let (Err(ConnectError::Timeout(_)), Some(stats)) = (&connected, &self.stats) {
            stats.cx_connect_timeout.add(1);
        }
        connected
    }

    /// Opens a connection of its own, for bytes or for a switch of protocols.
    pub async fn open(
        &self,
        cluster: &config::Cluster,
        carried: Option<&Carried>,
    ) -> Result<(Io, Rc<Via>), UpstreamError> {
        let connected = self.connect_for(cluster, carried).await?;
        let via = connected.via(self.stats.as_ref());
        Ok((connected.io, via))
    }

    /// Sends a request that comes from a connection, on one that tells of it what the cluster wants told.
    pub async fn send_from(
        self: &Rc<Self>,
        from: Option<&ConnectionInfo>,
        cluster: &Arc<config::Cluster>,
        head: &RequestHead,
        body: Body,
        downstream: Version,
    ) -> Result<Response, UpstreamError> {
        match Carried::of(cluster, from, Some(head)) {
            None => self.send_on(cluster, head, body, downstream).await,
            Some(carried) => Box::pin(self.branch(carried).send_on(cluster, head, body, downstream)).await,
        }
    }

    /// Sends a request that comes from no connection.
    pub fn send(
        self: &Rc<Self>,
        cluster: &Arc<config::Cluster>,
        head: &RequestHead,
        body: Body,
        downstream: Version,
    ) -> impl Future<Output = Result<Response, UpstreamError>> {
        self.send_from(None, cluster, head, body, downstream)
    }

    /// Sends a request and reads the head of its answer.
    async fn send_on(
        self: &Rc<Self>,
        cluster: &Arc<config::Cluster>,
        head: &RequestHead,
        body: Body,
        downstream: Version,
    ) -> Result<Response, UpstreamError> {
        let http2 = match cluster.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => downstream == Version::Http2,
            UpstreamProtocol::Auto => return self.send_negotiated(cluster, head, body).await,
        };
        if http2 {
            let (client, origin) = self.multiplexed(cluster).await?;
            self.send_h2(client, origin.via, head, body).await
        } else {
            let (client, origin) = self.checkout(cluster).await?;
            self.send_h1(client, origin, cluster, head, body).await
        }
    }

    async fn send_negotiated(
        self: &Rc<Self>,
        cluster: &Arc<config::Cluster>,
        head: &RequestHead,
        body: Body,
    ) -> Result<Response, UpstreamError> {
        if let Some((client, origin)) = self.pool.reuse_h2(cluster) {
            return self.send_h2(client, origin.via, head, body).await;
        }
        if let Some((client, origin)) = self.pool.reuse_h1(cluster) {
            return self.send_h1(client, origin, cluster, head, body).await;
        }
        let own = RefCell::new(None);
        let make = || async {
            let connected = self.connect(cluster).await?;
            self.pool.declined_h2.set(!connected.http2);
            if connected.http2 {
                return self.begin_h2(connected, cluster).await.map(Some);
            }
            *own.borrow_mut() = Some(connected);
            Ok(None)
        };
        if let Some((client, origin)) = Box::pin(self.share_h2(cluster, make)).await? {
            return self.send_h2(client, origin.via, head, body).await;
        }
        let connected = match own.take() {
            Some(connected) => connected,
            None => self.connect(cluster).await?,
        };
        if connected.http2 {
            self.pool.declined_h2.set(false);
            let (client, origin) = self.begin_h2(connected, cluster).await?;
            return self.send_h2(client, origin.via, head, body).await;
        }
        let origin = self.pool.origin(self.begin_h1(&connected));
        self.send_h1(h1::Client::new(connected.io), origin, cluster, head, body).await
    }

    async fn checkout(&self, cluster: &config::Cluster) -> Result<(h1::Client, Origin), UpstreamError> {
        if let Some(reusable) = self.pool.reuse_h1(cluster) {
            return Ok(reusable);
        }
        let connected = self.connect(cluster).await?;
        let origin = self.pool.origin(self.begin_h1(&connected));
        Ok((h1::Client::new(connected.io), origin))
    }

    fn begin_h1(&self, connected: &Connected) -> Rc<Via> {
        if let Some(stats) = &self.stats {
            stats.cx_http1_total.add(1);
        }
        connected.via(self.stats.as_ref())
    }

    async fn multiplexed(
        self: &Rc<Self>,
        cluster: &Arc<config::Cluster>,
    ) -> Result<(h2::Client, Origin), UpstreamError> {
        if let Some(reusable) = self.pool.reuse_h2(cluster) {
            return Ok(reusable);
        }
        let make = || async { self.begin_h2(self.connect(cluster).await?, cluster).await.map(Some) };
        let made = Box::pin(self.share_h2(cluster, make)).await?;
        made.ok_or(UpstreamError::RefusedStream)
    }

    async fn begin_h2(
        self: &Rc<Self>,
        connected: Connected,
        cluster: &Arc<config::Cluster>,
    ) -> Result<(h2::Client, Origin), UpstreamError> {
        let origin = self.pool.origin(connected.via(self.stats.as_ref()));
        if let Some(stats) = &self.stats {
            stats.cx_http2_total.add(1);
        }
        let options = h2::ClientOptions { max_headers_bytes: 64 * 1024, http2: &cluster.http2 };
        let client = h2::handshake(connected.io, options)
            .await
            .map_err(|error| UpstreamError::ResetBeforeAnswer(error.to_string()))?;
        self.keep_h2(&client, &origin, cluster);
        Ok((client, origin))
    }

    async fn send_h2(
        &self,
        client: h2::Client,
        via: Rc<Via>,
        head: &RequestHead,
        body: Body,
    ) -> Result<Response, UpstreamError> {
        let sent = client.send(head, body).await;
        sent.map(|response| Response { via: Some(via), ..response }).map_err(|error| match error {
            h2::SendError::Malformed => UpstreamError::Malformed,
            h2::SendError::RequestBody => UpstreamError::RequestBody,
            h2::SendError::Refused => UpstreamError::RefusedStream,
            h2::SendError::Reset(reason) => UpstreamError::StreamReset(reason),
            h2::SendError::Connection(reason) => UpstreamError::ResetBeforeAnswer(reason),
        })
    }

    async fn send_h1(
        self: &Rc<Self>,
        mut client: h1::Client,
        origin: Origin,
        cluster: &Arc<config::Cluster>,
        head: &RequestHead,
        body: Body,
    ) -> Result<Response, UpstreamError> {
        client.proper_case = cluster.proper_case;
        let (host, kept) = (Rc::downgrade(self), Arc::clone(cluster));
        let via = Rc::clone(&origin.via);
        let reuse = move |client: h1::Client| {
            if let Some(host) = host.upgrade() {
                host.keep_h1(client, origin, &kept);
            }
        };
        let sent = client.send(head, body, h1::Limits::default(), reuse).await;
        sent.map(|response| Response { via: Some(via), ..response }).map_err(|error| match error {
            h1::SendError::BeforeAnswer(reason) => UpstreamError::ResetBeforeAnswer(reason),
            h1::SendError::Truncated => UpstreamError::Reset(error.to_string()),
            h1::SendError::Protocol(_) => UpstreamError::Protocol(error.to_string()),
            h1::SendError::RequestBody => UpstreamError::RequestBody,
        })
    }
}
