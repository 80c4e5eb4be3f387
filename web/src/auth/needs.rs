//! Holds what a request needs against what its caller may do.

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use citadel::{Verb, Wish};
use galley::ObjectKey;
use serde::Deserialize;

use super::Known;
use crate::access::{self, Need};
use crate::problem::Problem;
use crate::state::State;

/// The largest text of configuration.
const LARGEST: usize = 10 << 20;

#[derive(Deserialize)]
struct Placed {
    namespace: Option<String>,
}

/// The objects that the request is about, and the request.
pub async fn check(
    state: &State,
    known: &Known,
    path: &str,
    request: Request,
) -> Result<(Vec<ObjectKey>, Request), Problem> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let allowed = |verb: Verb, kind: Option<&str>, namespace: Option<&str>| {
        known.access().check(&Wish { verb, kind, namespace }).map_err(Problem::forbidden)
    };
    let named = access::object(path);
    let (kind, namespace) = (named.as_ref().map(|key| key.kind.as_str()), named.as_ref().map(|key| &*key.namespace));
    match access::needed(request.method().as_str(), path, &query) {
        Need::Caller(_) => Ok((Vec::new(), request)),
        Need::One(verb, kind, namespace) => {
            allowed(verb, kind.map(galley::Kind::as_str), namespace.as_deref())?;
            if access::is_forced(&query) {
                allowed(Verb::Force, named.as_ref().map(|key| key.kind.as_str()), namespace.as_deref())?;
            }
            Ok((named.into_iter().collect(), request))
        }
        Need::Seen(verb) => {
            let own = known.namespaces().first().map(String::as_str);
            match access::namespaces(&query) {
                None => allowed(verb, None, own)?,
                Some(asked) => asked.iter().try_for_each(|namespace| allowed(verb, None, Some(namespace)))?,
            }
            Ok((Vec::new(), request))
        }
        Need::InNamespaceOfBody(verb) => {
            let (bytes, request) = read(request, 1 << 20).await?;
            let placed = serde_json::from_slice::<Placed>(&bytes).ok().and_then(|placed| placed.namespace);
            allowed(verb, None, placed.as_deref())?;
            Ok((Vec::new(), request))
        }
        Need::Documents => {
            let (bytes, request) = read(request, LARGEST).await?;
            let keys = state.galley.named_in(&String::from_utf8_lossy(&bytes));
            for key in &keys {
                known.check(Verb::Write, key)?;
                if access::is_forced(&query) {
                    known.check(Verb::Force, key)?;
                }
            }
            // What names no object is refused for that, to those who may write at all.
            if keys.is_empty() && known.access().role == citadel::Role::Viewer {
                allowed(Verb::Write, kind, namespace)?;
            }
            Ok((keys, request))
        }
    }
}

async fn read(request: Request, limit: usize) -> Result<(Bytes, Request), Problem> {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, limit).await;
    let bytes = bytes.map_err(|_| Problem::too_large(format!("the body is larger than {limit} bytes")))?;
    Ok((bytes.clone(), Request::from_parts(parts, Body::from(bytes))))
}
