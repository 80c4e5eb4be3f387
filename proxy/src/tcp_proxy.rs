//! Connections whose bytes are not looked at (Envoy `TcpProxy`): to a host of the chosen cluster and back.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::{LogContext, LogKind, RequestInfo, ResponseFlags};
use crate::config::{Direction, TcpProxy};
use crate::downstream::Downstream;
use crate::drain::Drain;
use crate::filter::DynamicMetadata;
use crate::http::Via;
use crate::http::headers::Headers;
use crate::io::{Io, Prefixed};
use crate::listener::connection_log;
use crate::load_balancer::hash::xx;
use crate::series::{Ends, host_of_cluster};
use crate::stats::{Reporter, Shape, label};
use crate::tcp::copy_both;
use crate::upstream::{Carried, Verdict, Wanted};
use crate::worker::Worker;

/// How long a connection may go on after its filter chain is gone (Istio `drainDuration`).
const DRAIN: Duration = Duration::from_secs(45);

/// `metadata` is what filters before this one left for logs.
pub async fn serve(
    downstream: Downstream,
    proxy: Arc<TcpProxy>,
    metadata: Option<Box<DynamicMetadata>>,
    mut stream: Prefixed,
    drain: &Drain,
) {
    let mut info = RequestInfo { metadata, ..RequestInfo::new(Arc::clone(&downstream.info), 0) };
    let mut ends = ends(&downstream);
    count(&downstream.worker, &proxy, &[("downstream_cx_total", 1)]);
    let opened = open(&downstream, &proxy, &mut info, &mut ends).await;
    let mut idle = false;
    match opened {
        Err(flags) => {
            info.flags |= flags;
            stream.io.reset_on_drop();
            let series = downstream.worker.series.connection(&ends, info.flags, false, shape(&proxy, &info));
            series.opened.add(1);
            series.closed.add(1);
        }
        Ok((upstream, _via)) => {
            let series = downstream.worker.series.connection(&ends, info.flags, true, shape(&proxy, &info));
            series.opened.add(1);
            let mut upstream = upstream;
            let mut moved = |there: usize, back: usize| {
                series.received_bytes.add(there as u64);
                series.sent_bytes.add(back as u64);
                info.bytes_received += there as u64;
                info.bytes_sent += back as u64;
            };
            let ended = tokio::select! {
                ended = copy_both(&mut stream, &mut upstream, proxy.idle_timeout, &mut moved) => ended,
                () = async { drain.draining().await; tokio::time::sleep(DRAIN).await } => Err(ErrorKind::ConnectionAborted.into()),
                () = end(proxy.max_duration) => {
                    info.flags |= ResponseFlags::DURATION_TIMEOUT;
                    Err(ErrorKind::ConnectionAborted.into())
                }
            };
            idle = matches!(&ended, Err(error) if error.kind() == ErrorKind::TimedOut);
            if ended.is_err() && !idle {
                // An abort on one side must not look like a clean end on the other.
                stream.io.reset_on_drop();
                upstream.reset_on_drop();
            }
            series.closed.add(1);
        }
    }
    info.duration = Some(info.start.elapsed());
    let once = |flag| u64::from(info.flags.contains(flag));
    let ended = [
        ("downstream_cx_rx_bytes_total", info.bytes_received),
        ("downstream_cx_tx_bytes_total", info.bytes_sent),
        ("downstream_cx_no_route", once(ResponseFlags::NO_CLUSTER_FOUND)),
        ("idle_timeout", u64::from(idle)),
    ];
    count(&downstream.worker, &proxy, &ended);
    for log in &proxy.access_logs {
        log.log(&LogContext::of_connection(&info).of_kind(LogKind::TcpConnectionEnd), &downstream.worker);
    }
    connection_log::write(&downstream.worker, info);
}

/// What is said of the labels of a connection's metrics.
fn shape(proxy: &TcpProxy, info: &RequestInfo) -> Option<Shape> {
    proxy.metrics.as_ref().map(|rules| Shape::new(rules, &LogContext::of_connection(info)))
}

/// Adds to Envoy's metrics of TCP proxies (`tcp.<stat_prefix>.*`).
fn count(worker: &Worker, proxy: &TcpProxy, counts: &[(&str, u64)]) {
    let mut labels = String::new();
    label(&mut labels, "envoy_tcp_prefix", &proxy.stat_prefix);
    for (name, count) in counts {
        worker.shard.counter(&format!("envoy_tcp_{name}"), &labels).add(*count);
    }
}

/// Logs a connection that a filter before this one closed.
pub fn log_closed(downstream: &Downstream, proxy: &TcpProxy, mut info: RequestInfo) {
    info.duration = Some(info.start.elapsed());
    for log in &proxy.access_logs {
        log.log(&LogContext::of_connection(&info), &downstream.worker);
    }
}

/// When a connection has lasted long enough; zero is never.
async fn end(limit: Duration) {
    match limit {
        Duration::ZERO => std::future::pending().await,
        limit => tokio::time::sleep(limit).await,
    }
}

/// Connects to a host of the cluster, to another if that fails and more attempts are allowed.
async fn open(
    downstream: &Downstream,
    proxy: &TcpProxy,
    info: &mut RequestInfo,
    ends: &mut Ends,
) -> Result<(Io, Rc<Via>), ResponseFlags> {
    let worker = &downstream.worker;
    let headers = Headers::new();
    let weighted = proxy.cluster.weighted(worker.random());
    let name = weighted.map_or_else(|| proxy.cluster.unweighted(&headers), |cluster| &cluster.name);
    let cluster = worker.clusters.get(name, &worker.snapshot()).ok_or_else(|| {
        ends.service = host_of_cluster(name).map(|host| worker.series.service(host));
        ResponseFlags::NO_CLUSTER_FOUND
    })?;
    info.upstream_cluster = Some(Arc::clone(&cluster.config));
    ends.service = cluster.service();
    cluster.ready().await;
    let metadata = weighted.map_or(&proxy.metadata_match, |weighted| &weighted.metadata_match).as_deref();
    let hash = proxy.hash_source_ip.then(|| xx(downstream.info.remote_address.ip().to_string().as_bytes()));
    let wanted = Wanted { hash, metadata, original: cluster.original(&downstream.info, None), tried: None };
    let carried = Carried::of(&cluster.config, Some(&downstream.info), None);
    loop {
        let picked = cluster.pick(wanted, || worker.random(), 1, |_| false);
        let host = picked.map_err(|_| ResponseFlags::NO_HEALTHY_UPSTREAM)?;
        let endpoint = host.endpoint();
        info.attempts += 1;
        info.upstream_address = host.socket_address();
        if ends.reporter == Reporter::Source {
            ends.destination = endpoint.workload.clone();
            ends.mutual_tls = host.is_mutual_tls();
        }
        info.upstream_endpoint = Some(endpoint);
        match host.open(&cluster.config, carried.as_deref()).await {
            Ok((io, via)) => {
                info.upstream_local_address = via.local_address;
                info.upstream_connection_id = Some(via.id);
                cluster.report(&host, Verdict::Good);
                return Ok((io, via));
            }
            Err(error) => {
                cluster.stats.cx_connect_fail.add(1);
                info.upstream_transport_failure_reason = Some(error.to_string().into());
                cluster.report(&host, Verdict::LocalOrigin);
            }
        }
        if info.attempts >= proxy.max_connect_attempts {
            let given_up =
                if info.attempts > 1 { ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED } else { ResponseFlags::NONE };
            return Err(ResponseFlags::UPSTREAM_CONNECTION_FAILURE | given_up);
        }
    }
}

fn ends(downstream: &Downstream) -> Ends {
    let worker = &downstream.worker;
    let own = Some(Arc::clone(&worker.own));
    let inbound = downstream.direction == Direction::Inbound;
    Ends {
        reporter: if inbound { Reporter::Destination } else { Reporter::Source },
        source: if inbound { None } else { own.clone() },
        source_principal: match inbound {
            true => downstream.peer.as_ref().map(|peer| Arc::clone(&peer.principal)),
            false => worker.own_principal(),
        },
        destination: if inbound { own } else { None },
        destination_principal: if inbound { worker.own_principal() } else { None },
        service: None,
        mutual_tls: inbound && downstream.peer.is_some(),
    }
}
