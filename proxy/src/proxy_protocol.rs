//! The PROXY protocol (HAProxy's specification, versions 1 and 2): who a connection is really from, told in front of
//! its first bytes. Pure functions over bytes; what they cost is bounded by the longest header, 64 KiB.

use std::net::{IpAddr, SocketAddr};

use crate::socket_owner::canonical;

/// What the bytes at the start of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed: the header, if it is one, is at least this long.
    Incomplete(usize),
    /// No header begins so.
    Absent,
    Header(Header),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: Version,
    /// Bytes that it takes; what follows is the connection's own.
    pub length: usize,
    /// `None`: the sender speaks for itself (`LOCAL`, `UNKNOWN`).
    pub addresses: Option<Addresses>,
    /// Version 2 alone: type and value of each, in their order.
    pub tlvs: Vec<(u8, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// Both ends of the connection that is spoken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed PROXY protocol header: {problem}")]
pub struct Malformed {
    pub version: Version,
    pub problem: &'static str,
}

/// A header that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PROXY protocol header holds at most 65535 bytes")]
pub struct TooLong;

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED_2: usize = 16;
/// The longest line of version 1, its end included, as Envoy takes it.
const LONGEST_1: usize = 108;

/// Reads what stands at the start of a connection.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let begins = |signature: &[u8]| {
        let n = bytes.len().min(signature.len());
        bytes[..n] == signature[..n]
    };
    if begins(SIGNATURE_1) {
        if bytes.len() < SIGNATURE_1.len() { Ok(Parsed::Incomplete(SIGNATURE_1.len())) } else { version_1(bytes) }
    } else if begins(SIGNATURE_2) {
        if bytes.len() < FIXED_2 { Ok(Parsed::Incomplete(FIXED_2)) } else { version_2(bytes) }
    } else {
        Ok(Parsed::Absent)
    }
}

fn version_1(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let bad = |problem| Malformed { version: Version::V1, problem };
    let window = &bytes[..bytes.len().min(LONGEST_1)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() {
            length if length < LONGEST_1 => Ok(Parsed::Incomplete(length + 1)),
            _ => Err(bad("the line does not end")),
        };
    };
    let line = std::str::from_utf8(&bytes[SIGNATURE_1.len()..end]).map_err(|_| bad("the line is not text"))?;
    let parts: Vec<&str> = line.trim_end_matches(' ').split(' ').collect();
    let addresses = match parts.as_slice() {
        ["UNKNOWN", ..] => None,
        [family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().map_err(|_| bad("an address is none"))?;
                if ip.is_ipv4() != (*family == "TCP4") {
                    return Err(bad("an address is of another family"));
                }
                Ok(SocketAddr::new(ip, port.parse().map_err(|_| bad("a port is none"))?))
            };
            let source = address(source, source_port)?;
            Some(Addresses { source, destination: address(destination, destination_port)? })
        }
        _ => return Err(bad("the line has other parts")),
    };
    Ok(Parsed::Header(Header { version: Version::V1, length: end + 2, addresses, tlvs: Vec::new() }))
}

fn version_2(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let bad = |problem| Malformed { version: Version::V2, problem };
    let length = FIXED_2 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let local = match bytes[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(bad("the version or the command is not known")),
    };
    // What is known to be wrong is refused before the rest is waited for.
    let size = match (local, bytes[13]) {
        (true, _) => 0,
        (false, 0x11 | 0x12) => 4,
        (false, 0x21 | 0x22) => 16,
        (false, _) => return Err(bad("the family or the transport is not supported")),
    };
    let block = if local { 0 } else { 2 * size + 4 };
    if length < FIXED_2 + block {
        return Err(bad("it is too short for its addresses"));
    }
    let Some(body) = bytes.get(FIXED_2..length) else { return Ok(Parsed::Incomplete(length)) };
    let header = |addresses, tlvs| Parsed::Header(Header { version: Version::V2, length, addresses, tlvs });
    if local {
        return Ok(header(None, Vec::new()));
    }
    let (addresses, rest) = body.split_at(block);
    let port = |at: usize| u16::from_be_bytes([addresses[2 * size + at], addresses[2 * size + at + 1]]);
    let at = |part: &[u8], port| Some(SocketAddr::new(ip(part)?, port));
    let source = at(&addresses[..size], port(0));
    let destination = at(&addresses[size..2 * size], port(2));
    let (Some(source), Some(destination)) = (source, destination) else { return Err(bad("an address is none")) };
    let tlvs = tlvs(rest).ok_or_else(|| bad("a TLV is longer than the header"))?;
    Ok(header(Some(Addresses { source, destination }), tlvs))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn tlvs(mut rest: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<3>()?;
        let (value, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes([head[1], head[2]])))?;
        all.push((head[0], value.to_vec()));
        rest = tail;
    }
    Some(all)
}

/// A header of version 1. `None` is `UNKNOWN`; so are addresses of two families, which version 1 cannot say.
pub fn write_1(addresses: Option<Addresses>) -> Vec<u8> {
    let Some((family, Addresses { source, destination })) = addresses.and_then(of_one_family) else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if family == Family::V4 { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// A header of version 2 with its TLVs. `None` is `LOCAL`, which has none.
pub fn write_2(addresses: Option<Addresses>, tlvs: &[(u8, Vec<u8>)]) -> Result<Vec<u8>, TooLong> {
    let mut out = SIGNATURE_2.to_vec();
    let Some((family, Addresses { source, destination })) = addresses.and_then(of_one_family) else {
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return Ok(out);
    };
    out.extend_from_slice(&[0x21, if family == Family::V4 { 0x11 } else { 0x21 }, 0, 0]);
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    for (kind, value) in tlvs {
        out.push(*kind);
        out.extend_from_slice(&u16::try_from(value.len()).map_err(|_| TooLong)?.to_be_bytes());
        out.extend_from_slice(value);
    }
    let length = u16::try_from(out.len() - FIXED_2).map_err(|_| TooLong)?;
    out[14..FIXED_2].copy_from_slice(&length.to_be_bytes());
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// IPv4 written as IPv6 counts as IPv4, so that a listener on `::` tells what clients are called elsewhere.
fn of_one_family(addresses: Addresses) -> Option<(Family, Addresses)> {
    let (source, destination) = (canonical(addresses.source), canonical(addresses.destination));
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => Family::V4,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => Family::V6,
        _ => return None,
    };
    Some((family, Addresses { source, destination }))
}

#[cfg(test)]
mod tests;
