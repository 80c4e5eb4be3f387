//! Mirroring (Envoy `RequestMirrorPolicy`): a copy of the request goes to another cluster, and nobody waits for its
//! answer. The copy leaves when the request itself has been answered, with the body that was kept on its way; a body
//! too large to keep is not mirrored.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Connection;
use super::attempt::Source;
use crate::config::Snapshot;
use crate::http::body::Body;
use crate::http::message::RequestHead;
use crate::route::RouteAction;
use crate::upstream::Wanted;

/// Nobody waits for a copy's answer; it may not take for ever all the same.
const LIMIT: Duration = Duration::from_secs(60);

pub fn send(
    connection: &Connection,
    snapshot: &Arc<Snapshot>,
    action: &RouteAction,
    head: &RequestHead,
    body: &Source,
) {
    for mirror in &action.mirrors {
        let worker = &connection.downstream.worker;
        if !mirror.fraction.hits(worker.random()) || !body.can_restart() {
            continue;
        }
        let Some(cluster) = worker.clusters.get(&mirror.cluster, snapshot) else { continue };
        let mut head = head.clone();
        if !mirror.disable_shadow_host_suffix {
            head.authority = shadowed(&head.authority);
        }
        let body = match body {
            Source::Once(_) => Some(Body::Empty),
            Source::Again(replay) => replay.copy(),
        };
        let Some(body) = body else { continue };
        let (worker, high) = (Rc::clone(worker), action.high_priority);
        let shadow = async move {
            cluster.ready().await;
            let Ok(_permit) = cluster.admit(high).await else { return };
            let Ok(host) = cluster.pick(Wanted::default(), || worker.random(), 1, |_| false) else { return };
            let _in_flight = cluster.begin(&host);
            let version = head.version;
            if let Ok(mut answer) = host.send(&cluster.config, &head, body, version).await {
                while let Some(Ok(_)) = answer.body.frame().await {}
            }
        };
        tokio::task::spawn_local(async move { drop(tokio::time::timeout(LIMIT, shadow).await) });
    }
}

/// The host with `-shadow` before its port.
fn shadowed(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((host, port)) => format!("{host}-shadow:{port}"),
        None => format!("{authority}-shadow"),
    }
}
