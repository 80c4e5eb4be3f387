//! Zipkin's B3 headers, in several or in one (openzipkin, b3-propagation).

use super::context::{Context, Incoming, Told, hex_id};
use crate::http::headers::Headers;

const SINGLE: &str = "b3";
const TRACE: &str = "x-b3-traceid";
const SPAN: &str = "x-b3-spanid";
const PARENT: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";

pub(super) fn read(headers: &Headers) -> Told {
    if let Some(value) = headers.get(SINGLE) {
        return std::str::from_utf8(value).ok().and_then(single).unwrap_or(Told::Nonsense);
    }
    let sampled = sampled(headers);
    let (Some(trace), Some(span)) = (headers.get_str(TRACE), headers.get_str(SPAN)) else {
        return sampled.map_or(Told::Nothing, Told::Sampled);
    };
    let parent = headers.get_str(PARENT).filter(|parent| !parent.is_empty());
    incoming(trace, span, parent, sampled, false).unwrap_or(Told::Nonsense)
}

fn sampled(headers: &Headers) -> Option<bool> {
    if headers.get_str(FLAGS) == Some("1") {
        return Some(true);
    }
    flag(headers.get_str(SAMPLED)?)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// `traceid-spanid[-sampled[-parentspanid]]`, or only the flag.
fn single(text: &str) -> Option<Told> {
    let mut parts = text.split('-');
    let first = parts.next()?;
    let Some(span) = parts.next() else { return flag(first).map(Told::Sampled) };
    let sampled = match parts.next() {
        Some(text) => Some(flag(text)?),
        None => None,
    };
    let parent = parts.next();
    if parts.next().is_some() {
        return None;
    }
    incoming(first, span, parent, sampled, true)
}

fn incoming(trace: &str, span: &str, parent: Option<&str>, sampled: Option<bool>, single: bool) -> Option<Told> {
    let id = |text: &str| u64::try_from(hex_id(text, 16)?).ok();
    let long = trace.len() == 32;
    let parent = match parent {
        Some(parent) => Some(id(parent)?),
        None => None,
    };
    let trace_id = hex_id(trace, if long { 32 } else { 16 })?;
    Some(Told::Parent(Incoming { trace_id, span_id: id(span)?, parent, sampled, long, single }))
}

pub(super) fn write(context: &Context, headers: &mut Headers) {
    let digits = if context.long { 32 } else { 16 };
    let trace = format!("{:0digits$x}", context.trace_id);
    let span = format!("{:016x}", context.span_id);
    let parent = context.parent.map(|parent| format!("{parent:016x}"));
    let sampled = if context.sampled { "1" } else { "0" };
    if context.single {
        let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
        return headers.set(SINGLE, format!("{trace}-{span}-{sampled}{parent}"));
    }
    headers.set(TRACE, trace);
    headers.set(SPAN, span);
    match parent {
        Some(parent) => headers.set(PARENT, parent),
        None => drop(headers.remove(PARENT)),
    }
    headers.set(SAMPLED, sampled);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(headers: &[(&str, &str)]) -> Told {
        read(&headers.iter().copied().collect())
    }

    #[test]
    fn both_forms_say_the_same() {
        let (trace, span, parent) = ("463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312", "05e3ac9a4f6e3b90");
        let Told::Parent(many) = told(&[(TRACE, trace), (SPAN, span), (PARENT, parent), (SAMPLED, "1")]) else {
            panic!()
        };
        let Told::Parent(one) = told(&[(SINGLE, &format!("{trace}-{span}-1-{parent}"))]) else { panic!() };
        assert_eq!(Incoming { single: true, ..many }, one);
        assert_eq!((one.sampled, one.parent, one.long), (Some(true), Some(0x05e3_ac9a_4f6e_3b90), true));
    }

    #[test]
    fn a_flag_alone_is_a_decision_and_nonsense_is_told_apart() {
        assert_eq!(told(&[(SINGLE, "0")]), Told::Sampled(false));
        assert_eq!(told(&[(FLAGS, "1")]), Told::Sampled(true));
        assert_eq!(told(&[(TRACE, "463ac35c9f6413ad")]), Told::Nothing);
        for bad in ["x", "463ac35c9f6413ad-x", "463ac35c9f6413ad-a2fb4a1d1a96d312-2", "1-2-1-3-4"] {
            assert_eq!(told(&[(SINGLE, bad)]), Told::Nonsense, "{bad}");
        }
        assert_eq!(told(&[(TRACE, "0"), (SPAN, "a2fb4a1d1a96d312")]), Told::Nonsense);
    }
}
