//! `traceparent` and `tracestate` (W3C Trace Context).

use super::context::{Context, Incoming, Told, hex_id};
use crate::http::headers::Headers;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

pub(super) fn read(headers: &Headers) -> Told {
    if !headers.contains(PARENT) {
        return Told::Nothing;
    }
    match headers.get_str(PARENT).and_then(parent) {
        Some(incoming) if headers.get_all(PARENT).count() == 1 => Told::Parent(incoming),
        _ => Told::Nonsense,
    }
}

/// `version-traceid-parentid-flags`. A later version may have more after the flags.
fn parent(text: &str) -> Option<Incoming> {
    let mut parts = text.split('-');
    let version = parts.next().filter(|version| version.len() == 2 && *version != "ff")?;
    u8::from_str_radix(version, 16).ok()?;
    let trace_id = hex_id(parts.next()?, 32)?;
    let span_id = u64::try_from(hex_id(parts.next()?, 16)?).ok()?;
    let flags = parts.next().filter(|flags| flags.len() == 2)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    if version == "00" && parts.next().is_some() {
        return None;
    }
    Some(Incoming { trace_id, span_id, parent: None, sampled: Some(flags & 1 == 1), long: true, single: false })
}

pub(super) fn write(context: &Context, headers: &mut Headers) {
    let flags = u8::from(context.sampled);
    headers.set(PARENT, format!("00-{:032x}-{:016x}-{flags:02x}", context.trace_id, context.span_id));
    if !context.joined {
        // It belongs to the parent that there is none of.
        headers.remove(STATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(parent: &str) -> Told {
        read(&[(PARENT, parent)].into_iter().collect())
    }

    #[test]
    fn a_parent_is_read_and_nonsense_is_not() {
        let Told::Parent(incoming) = told("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") else { panic!() };
        assert_eq!(incoming.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((incoming.span_id, incoming.sampled), (0xb7ad_6b71_6920_3331, Some(true)));
        assert!(matches!(told("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more"), Told::Parent(_)));
        for bad in [
            "",
            "bad",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(told(bad), Told::Nonsense, "{bad}");
        }
        assert_eq!(read(&Headers::new()), Told::Nothing);
    }
}
