//! A place in a trace, and how it travels in a request's headers.

use super::settings::{Propagation, Provider, Side, Zipkin};
use super::{b3, w3c};
use crate::http::headers::Headers;

/// A span's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace_id: u128,
    pub span_id: u64,
    pub parent: Option<u64>,
    pub sampled: bool,
    /// Whether the trace began elsewhere.
    pub joined: bool,
    /// Whether the trace's id has 128 bits, as it is written.
    pub long: bool,
    /// Whether it came, and goes on, in the one header `b3`.
    pub single: bool,
}

/// What a request says of the trace it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    pub trace_id: u128,
    pub span_id: u64,
    pub parent: Option<u64>,
    /// `None` leaves it to this proxy.
    pub sampled: Option<bool>,
    pub long: bool,
    pub single: bool,
}

/// What headers said.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    /// Only whether to sample.
    Sampled(bool),
    Parent(Incoming),
    /// Something that cannot be understood: such a request is not traced, and its headers stay as they are.
    Nonsense,
}

impl Context {
    /// The context of a request's span; `random` gives fresh bits. `None`: the request is not traced here.
    pub fn of(
        provider: &Provider,
        side: Side,
        headers: &Headers,
        traced: bool,
        mut random: impl FnMut() -> u64,
    ) -> Option<Self> {
        let told = match provider {
            Provider::Otlp(_) => w3c::read(headers),
            Provider::Zipkin(zipkin) => match b3::read(headers) {
                Told::Nothing if zipkin.propagation == Propagation::B3AndW3c => w3c::read(headers),
                told => told,
            },
        };
        match told {
            Told::Nonsense => None,
            Told::Nothing => Some(Self::new(provider, traced, random)),
            Told::Sampled(sampled) => Some(Self::new(provider, sampled, random)),
            Told::Parent(incoming) => {
                let shares = matches!(provider, Provider::Zipkin(Zipkin { shared_span_context: true, .. }));
                let shares = shares && side == Side::Ingress;
                let (span_id, parent) = if shares {
                    (incoming.span_id, incoming.parent)
                } else {
                    (nonzero(&mut random), Some(incoming.span_id))
                };
                Some(Self {
                    trace_id: incoming.trace_id,
                    span_id,
                    parent,
                    sampled: incoming.sampled.unwrap_or(traced),
                    joined: true,
                    long: incoming.long,
                    single: incoming.single,
                })
            }
        }
    }

    /// The beginning of a trace.
    fn new(provider: &Provider, sampled: bool, mut random: impl FnMut() -> u64) -> Self {
        let span_id = nonzero(&mut random);
        let (trace_id, long) = match provider {
            Provider::Otlp(_) => ((u128::from(nonzero(&mut random)) << 64) | u128::from(random()), true),
            // Zipkin's first span has the id of its trace.
            Provider::Zipkin(zipkin) if zipkin.trace_id_128bit => {
                ((u128::from(nonzero(&mut random)) << 64) | u128::from(span_id), true)
            }
            Provider::Zipkin(_) => (u128::from(span_id), false),
        };
        Self { trace_id, span_id, parent: None, sampled, joined: false, long, single: false }
    }

    /// Writes the context for the next one on the way.
    pub fn write(&self, provider: &Provider, headers: &mut Headers) {
        match provider {
            Provider::Otlp(_) => w3c::write(self, headers),
            Provider::Zipkin(zipkin) => {
                b3::write(self, headers);
                if zipkin.propagation == Propagation::B3AndW3c {
                    w3c::write(self, headers);
                }
            }
        }
    }
}

fn nonzero(random: &mut impl FnMut() -> u64) -> u64 {
    random().max(1)
}

/// A fixed number of hexadecimal digits, not all zero.
pub(super) fn hex_id(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|id| valid && *id != 0)
}
