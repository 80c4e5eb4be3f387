//! Makes a request fit for routing: its path in one form, its `x-forwarded-*` headers believed only from where they
//! may come, an id, and who called.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::local::Reply;
use super::{Connection, client_cert, request_rules, trust};
use crate::access_log::{RequestInfo, ResponseFlags};
use crate::config::{Direction, EscapedSlashes, Underscores, WorkloadRef};
use crate::http::message::{RequestHead, Version};
use crate::path;
use crate::stats::PEER_HEADER;

const PEER_ID: &str = "x-envoy-peer-metadata-id";

/// Takes off what the calling proxy says of itself. It is believed only from one that proved its identity.
pub fn take_peer(connection: &Connection, head: &mut RequestHead) -> Option<Arc<WorkloadRef>> {
    if !head.headers.any_begins_with(b"x-envoy-peer-") {
        return None;
    }
    let known = connection.downstream.peer.is_some();
    let peer = head.headers.get(PEER_HEADER).filter(|_| known);
    let peer = peer.and_then(|value| connection.downstream.worker.peers.get(value));
    head.headers.remove(PEER_HEADER);
    head.headers.remove(PEER_ID);
    peer
}

/// Checks and completes the head; the reply if the request is turned away.
pub fn prepare(connection: &Connection, head: &mut RequestHead, info: &mut RequestInfo) -> Result<(), Reply> {
    if connection.manager.underscores != Underscores::Allow {
        underscores(connection.manager.underscores, head)?;
    }
    match normalize(connection, head) {
        Normal::Fit => {}
        Normal::Redirected if !head.is_grpc() => {
            let mut reply = Reply::new(307, "").flagged(ResponseFlags::NONE, "path_normalization_failed");
            reply.headers.append("location", &head.path);
            return Err(reply);
        }
        Normal::Redirected | Normal::Unfit => {
            let mut reply = Reply::new(400, "").flagged(ResponseFlags::NONE, "path_normalization_failed");
            reply.close = true;
            return Err(reply);
        }
    }
    trust::clean(head, connection.manager.use_remote_address);
    forwarded_for(connection, head, info);
    if head.version != Version::Http2 {
        // HTTP/1.1 does not say the scheme; who terminated TLS in front of this proxy does.
        head.scheme = crate::route::scheme_of(head);
    }
    if let Some(rules) = &connection.manager.request_rules {
        let port = connection.downstream.info.local_address.port();
        request_rules::apply(rules, head, port, connection.manager.xff_num_trusted_hops);
    }
    client_cert::forward(connection, head);
    // An id from outside the mesh could be one that is used here already (Envoy, `preserve_external_request_id`).
    let manager = &connection.manager;
    let own =
        (manager.use_remote_address && !manager.preserve_external_request_id) || !head.headers.contains("x-request-id");
    if connection.manager.generate_request_id && own {
        head.headers.set("x-request-id", request_id(connection));
    }
    if head.upgrade.as_deref() == Some("h2c") {
        // An offer that a proxy on the way must not pass on (RFC 9113 section 3.1).
        head.upgrade = None;
    }
    Ok(())
}

/// Underscores and dashes are one to what many applications hand on as variables, so a header could pass for another.
fn underscores(action: Underscores, head: &mut RequestHead) -> Result<(), Reply> {
    let odd = |name: &[u8]| name.contains(&b'_');
    if action == Underscores::DropHeader {
        head.headers.retain(|name, _| !odd(name));
    } else if head.headers.iter().any(|(name, _)| odd(name)) {
        let mut reply = Reply::new(400, "Bad Request").flagged(ResponseFlags::NONE, "unexpected_underscore");
        reply.close = true;
        return Err(reply);
    }
    Ok(())
}

/// Whether a path is taken without its fragment: a setting of the process, as Envoy's runtime is.
pub static STRIPS_FRAGMENTS: AtomicBool = AtomicBool::new(false);

/// What became of a path.
enum Normal {
    Fit,
    /// The client is told the path that it should have asked for.
    Redirected,
    Unfit,
}

fn normalize(connection: &Connection, head: &mut RequestHead) -> Normal {
    let manager = &connection.manager;
    if head.method == "CONNECT" || head.path == "*" {
        return Normal::Fit;
    }
    if let Some(fragment) = head.path.find('#') {
        if !STRIPS_FRAGMENTS.load(Ordering::Relaxed) {
            return Normal::Unfit;
        }
        head.path.truncate(fragment);
    }
    let mut normal = Normal::Fit;
    if manager.escaped_slashes != EscapedSlashes::KeepUnchanged && path::has_escaped_slash(&head.path) {
        match manager.escaped_slashes {
            EscapedSlashes::RejectRequest => return Normal::Unfit,
            EscapedSlashes::UnescapeAndRedirect => normal = Normal::Redirected,
            _ => {}
        }
        head.path = path::unescape_slashes(&head.path);
    }
    if manager.normalize_path {
        match path::normalize(&head.path) {
            Some(Cow::Borrowed(_)) => {}
            Some(Cow::Owned(normal)) => head.path = normal,
            None => return Normal::Unfit,
        }
    }
    if manager.merge_slashes {
        head.path = path::merge_slashes(&head.path);
    }
    normal
}

/// `x-forwarded-for` and `x-forwarded-proto`, and the client's address as believed (Envoy, `use_remote_address`).
fn forwarded_for(connection: &Connection, head: &mut RequestHead, info: &mut RequestInfo) {
    let manager = &connection.manager;
    let peer = connection.downstream.info.remote_address;
    if manager.use_remote_address {
        let hops = manager.xff_num_trusted_hops as usize;
        let list = head.headers.joined("x-forwarded-for");
        info.remote_address = match hops {
            0 => peer,
            hops => forwarded(list.as_deref(), hops - 1).map_or(peer, |ip| SocketAddr::new(ip, 0)),
        };
        if !manager.skip_xff_append {
            let all = match list {
                Some(list) if !list.is_empty() => format!("{},{}", String::from_utf8_lossy(&list), peer.ip()),
                _ => peer.ip().to_string(),
            };
            head.headers.set("x-forwarded-for", all);
        }
        head.headers.set("x-envoy-external-address", info.remote_address.ip().to_string());
        // A trusted proxy in front knows better how the client came.
        if hops == 0 || !head.headers.contains("x-forwarded-proto") {
            head.headers.set("x-forwarded-proto", head.scheme);
        }
    } else {
        let hops = manager.xff_num_trusted_hops as usize;
        let list = head.headers.joined("x-forwarded-for");
        if let Some(ip) = forwarded(list.as_deref(), hops) {
            info.remote_address = SocketAddr::new(ip, 0);
        }
        if let Some(Cow::Owned(all)) = list {
            head.headers.set("x-forwarded-for", all);
        }
        if !head.headers.contains("x-forwarded-proto") {
            head.headers.append("x-forwarded-proto", head.scheme);
        }
    }
}

/// The entry at a place from the end. One that is no address keeps its place, so that it shifts trust to no other.
fn forwarded(list: Option<&[u8]>, from_end: usize) -> Option<IpAddr> {
    let entry = list?.rsplit(|byte| *byte == b',').nth(from_end)?;
    std::str::from_utf8(entry).ok()?.trim().parse().ok()
}

/// A random UUID of version 4 (RFC 9562 section 5.4).
fn request_id(connection: &Connection) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let worker = &connection.downstream.worker;
    let bits = u128::from(worker.random()) << 64 | u128::from(worker.random());
    let bits = bits & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = [b'-'; 36];
    let mut left = bits;
    for place in text.iter_mut().enumerate().rev().filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23)).map(|(_, b)| b) {
        *place = DIGITS[(left & 0xf) as usize];
        left >>= 4;
    }
    text
}

impl Connection {
    /// What this proxy tells the next one of itself.
    pub(super) fn tell_peer(&self, head: &mut RequestHead, mutual_tls: bool) {
        if self.downstream.direction != Direction::Inbound
            && mutual_tls
            && let Some(own) = &self.downstream.worker.own_header
        {
            head.headers.set(PEER_HEADER, own.as_bytes());
        }
    }
}
