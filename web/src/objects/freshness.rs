//! How fresh what is read must be, in Consul's words: `consistent` asks the store first, `stale` says how old it may be.
//! Without either the answer is what this control plane has followed the store to, a moment ago.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use crate::problem::Problem;
use crate::state::State;

/// Milliseconds since this control plane last heard of the store, and whether it hears of it now.
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");

/// What a request says of it: a flag is there alone, or is `true`.
pub struct Freshness {
    stale: bool,
}

/// Asks the store, where that is wanted.
pub async fn wanted(state: &State, stale: Option<&str>, consistent: Option<&str>) -> Result<Freshness, Problem> {
    let (stale, consistent) = (flag("stale", stale)?, flag("consistent", consistent)?);
    if stale && consistent {
        return Err(Problem::malformed("stale and consistent exclude each other; give one of them"));
    }
    if consistent {
        let caught_up = state.galley.catch_up().await;
        caught_up.map_err(|error| Problem::unavailable(format!("{error}; ask with ?stale for what is known here")))?;
    }
    Ok(Freshness { stale })
}

impl Freshness {
    /// Says how old the answer may be, to those who take what is stale.
    pub fn tell(&self, state: &State, mut response: Response) -> Response {
        if self.stale {
            let behind = state.store.behind();
            let millis = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
            let known = if behind.is_zero() { "true" } else { "false" };
            response.headers_mut().insert(LAST_CONTACT, HeaderValue::from(millis));
            response.headers_mut().insert(KNOWN_LEADER, HeaderValue::from_static(known));
        }
        response
    }
}

fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(other) => Err(Problem::malformed(format!("{name} is a flag: there or not, true or false; not {other:?}"))),
    }
}
