//! Whether a request is traced, and where that is remembered: in one digit of its id, so that all proxies on its way
//! decide the same (Envoy, `UuidRequestIdConfig`).

use super::settings::Sampling;
use crate::config::Fraction;
use crate::http::headers::Headers;

/// `HttpConnectionManager.request_id_extension`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// Whether the decision is written into the id.
    pub pack_trace_reason: bool,
    /// Whether the id decides on sampling; otherwise every request is traced that the collector's sampler takes.
    pub use_for_sampling: bool,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { pack_trace_reason: true, use_for_sampling: true }
    }
}

const ID: &str = "x-request-id";
/// The digit of a UUID that is its version: 4 in a random one.
const PLACE: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Sampled,
    ServiceForced,
    ClientForced,
}

impl Reason {
    const fn digit(self) -> u8 {
        match self {
            Self::Sampled => b'9',
            Self::ServiceForced => b'a',
            Self::ClientForced => b'b',
        }
    }

    fn of_digit(digit: u8) -> Option<Self> {
        [Self::Sampled, Self::ServiceForced, Self::ClientForced].into_iter().find(|reason| reason.digit() == digit)
    }
}

/// Decides on a request, and writes the decision into its id. `random` decides on what clients ask for.
pub(super) fn decide(ids: RequestIds, sampling: &Sampling, headers: &mut Headers, random: u64) -> bool {
    if !ids.use_for_sampling {
        return true;
    }
    let Some(id) = headers.get_str(ID) else { return false };
    let Some(number) = id.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok()) else { return false };
    let number = number % 10_000;
    let uuid = id.len() == 36;
    let before = id.as_bytes().get(PLACE).copied().filter(|_| uuid && ids.pack_trace_reason).and_then(Reason::of_digit);
    let decided = before.or_else(|| {
        if headers.contains("x-client-trace-id") && hits(sampling.client, random % 10_000) {
            Some(Reason::ClientForced)
        } else if headers.contains("x-envoy-force-trace") {
            Some(Reason::ServiceForced)
        } else {
            hits(sampling.random, number).then_some(Reason::Sampled)
        }
    });
    let decided = decided.filter(|_| hits(sampling.overall, number));
    if uuid && ids.pack_trace_reason && decided != before {
        let mut id = id.as_bytes().to_vec();
        id[PLACE] = decided.map_or(b'4', Reason::digit);
        headers.set(ID, id);
    }
    decided.is_some()
}

/// Whether a number below ten thousand falls into a share.
fn hits(share: Fraction, number: u64) -> bool {
    number * 100 < u64::from(share.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One in ten thousand has this number.
    const RANDOM: &str = "00001387-1b58-455d-9d02-a17c3f72cc57";

    fn decided(sampling: Sampling, headers: &[(&str, &str)]) -> (bool, char) {
        let mut headers: Headers = headers.iter().copied().collect();
        let traced = decide(RequestIds::default(), &sampling, &mut headers, 0);
        (traced, headers.get_str(ID).unwrap().chars().nth(PLACE).unwrap())
    }

    fn sampling(random: u32) -> Sampling {
        Sampling { client: Fraction(1_000_000), random: Fraction(random), overall: Fraction(1_000_000) }
    }

    #[test]
    fn the_id_decides_and_remembers() {
        let number = 0x1387;
        assert_eq!(decided(sampling((number + 1) * 100), &[(ID, RANDOM)]), (true, '9'));
        assert_eq!(decided(sampling(number * 100), &[(ID, RANDOM)]), (false, '4'));
        let remembered = RANDOM.replace("-455d", "-955d");
        assert_eq!(decided(sampling(0), &[(ID, &remembered)]), (true, '9'));
        let none = Sampling { overall: Fraction(0), ..sampling(1_000_000) };
        assert_eq!(decided(none, &[(ID, &remembered)]), (false, '4'));
    }

    #[test]
    fn a_request_may_ask_to_be_traced() {
        assert_eq!(decided(sampling(0), &[(ID, RANDOM), ("x-client-trace-id", "a")]), (true, 'b'));
        assert_eq!(decided(sampling(0), &[(ID, RANDOM), ("x-envoy-force-trace", "true")]), (true, 'a'));
        let refused = Sampling { client: Fraction(0), ..sampling(0) };
        assert_eq!(decided(refused, &[(ID, RANDOM), ("x-client-trace-id", "a")]), (false, '4'));
    }

    #[test]
    fn an_id_that_is_no_uuid_is_left_alone() {
        let mut headers: Headers = [(ID, "00000000")].into_iter().collect();
        assert!(decide(RequestIds::default(), &sampling(1_000_000), &mut headers, 0));
        assert_eq!(headers.get_str(ID), Some("00000000"));
        let mut headers: Headers = [(ID, "é")].into_iter().collect();
        assert!(!decide(RequestIds::default(), &sampling(1_000_000), &mut headers, 0));
    }
}
