//! StatsD over UDP: what came since the last time, as counters, and durations as timers whose sample rate says how many
//! requests each stands for.

use std::fmt::Write as _;

use tokio::net::UdpSocket;

use super::Told;
use super::ledger::{Batch, Labels, Totals, middle};

#[derive(Clone, Debug, PartialEq)]
pub struct StatsD {
    pub address: String,
    pub port: u16,
    pub prefix: String,
    pub tags: TagStyle,
}

/// Where labels stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagStyle {
    /// After the value, as Datadog's agent and others read them.
    DogStatsd,
    /// In the name: source, destination and code.
    Name,
}

/// What surely fits one packet of a network.
const MOST_BYTES: usize = 1432;

impl StatsD {
    /// What could not be sent is part of the next differences. Whether anybody heard nobody can know.
    pub async fn send(&self, batch: &Batch, told: &mut Told) -> Result<(), String> {
        let to = format!("{}:{}", self.address, self.port);
        let failed = |error: std::io::Error| format!("{to}: {error}");
        let mut addresses = tokio::net::lookup_host((self.address.as_str(), self.port)).await.map_err(failed)?;
        let address = addresses.next().ok_or_else(|| format!("{to} has no address"))?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await.map_err(failed)?;
        socket.connect(address).await.map_err(failed)?;
        for (labels, totals) in &batch.series {
            for packet in packets(&self.lines(labels, &totals.since(told.get(labels)))) {
                socket.send(packet.as_bytes()).await.map_err(failed)?;
            }
            told.insert(labels.clone(), totals.clone());
        }
        Ok(())
    }

    fn lines(&self, labels: &Labels, new: &Totals) -> Vec<String> {
        let (place, tags) = match self.tags {
            TagStyle::DogStatsd => (String::new(), tags(labels)),
            TagStyle::Name => (name(labels), String::new()),
        };
        let prefix = &self.prefix;
        let counts = match labels.is_tcp() {
            true => [
                ("tcp_connections_opened", new.requests),
                ("requests_denied", 0),
                ("tcp_received_bytes", new.received),
                ("tcp_sent_bytes", new.sent),
            ],
            false => [
                ("requests", new.requests),
                ("requests_denied", new.denied),
                ("request_bytes", new.received),
                ("response_bytes", new.sent),
            ],
        };
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        let counters = counts.map(|(what, count)| format!("{prefix}.{what}{place}:{count}|c{tags}"));
        let timers = new.latency.iter().map(|(bucket, count)| {
            let rate = 1.0 / *count as f64;
            let rate = if *count > 1 { format!("|@{rate}") } else { String::new() };
            format!("{prefix}.request_duration_milliseconds{place}:{}|ms{rate}{tags}", middle(*bucket))
        });
        counters.chain(timers).collect()
    }
}

/// `|#name:value,…`
fn tags(labels: &Labels) -> String {
    let mut out = String::new();
    for (name, value) in labels.pairs() {
        let start = if out.is_empty() { "|#" } else { "," };
        let value: String = value.chars().map(|c| if matches!(c, ',' | '|' | '#' | '\n') { '_' } else { c }).collect();
        let _ = write!(out, "{start}{name}:{value}");
    }
    out
}

/// `.reporter.source.destination.code`; what is not known is `unknown`.
fn name(labels: &Labels) -> String {
    let code = if labels.is_tcp() { "tcp".to_owned() } else { labels.response_code.to_string() };
    let destination = match labels.destination_service_name.as_str() {
        "" => &labels.destination_workload,
        service => service,
    };
    let mut out = String::new();
    for part in [labels.reporter, &labels.source_canonical_service, destination, &code] {
        let part = if part.is_empty() { "unknown" } else { part };
        out.push('.');
        out.extend(part.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }));
    }
    out
}

/// Lines, as many to a packet as fit.
fn packets(lines: &[String]) -> Vec<String> {
    let mut packets: Vec<String> = Vec::new();
    for line in lines {
        match packets.last_mut().filter(|packet| packet.len() + 1 + line.len() <= MOST_BYTES) {
            Some(packet) => {
                packet.push('\n');
                packet.push_str(line);
            }
            None => packets.push(line.clone()),
        }
    }
    packets
}
