//! DNS messages, from programs and from nameservers.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::dns::cache::Cache;
use crate::dns::packet::{Addresses, Query, Transport, records};

/// The bytes as a question, and as the answer to one.
pub fn dns(data: &[u8]) {
    let asked = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
    let known = Query::parse(asked).expect("it is a question");
    let (cache, now) = (Cache::default(), Instant::now());
    cache.keep(&known, Transport::Udp, data, now);
    if let Some(kept) = cache.find(&known, Transport::Udp, now + Duration::from_secs(1)) {
        assert_eq!(kept.len(), data.len(), "what is kept is what came");
    }
    let Ok(query) = Query::parse(data) else { return };
    let ips = vec![Ipv4Addr::LOCALHOST; 300];
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = query.answer(Some("some.other.name"), &Addresses::V4(&ips), transport);
        assert!(records(&answer).is_some() && query.is_answered_by(&answer, query.id()));
        assert!(transport == Transport::Tcp || answer.len() <= 4096);
    }
}
