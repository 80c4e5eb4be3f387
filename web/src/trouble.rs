//! Everything that is wrong now, in one list: refused files, objects at odds with others, findings of the compile,
//! refusals of proxies, registries out of reach or at odds, services that nothing serves.

pub(crate) mod mutes;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::catalogue::Code;
use crate::extract::Asked;
use crate::feed::Topic;
use crate::kept::millis;
use crate::list::{self, List, LiveQuery};
use crate::problem::{Finding, Problem};
use crate::state::State;

use mutes::Mute;
pub(crate) use mutes::Mutes;
pub(crate) use sources::traffic::Failing;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(problems)).merge(mutes::routes())
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Trouble {
    /// Stable: `WFT1301`.
    pub code: &'static str,
    /// `error`, `warning` or `info`
    pub severity: &'static str,
    /// What kind of problem it is, in words.
    pub title: &'static str,
    /// Who says so: `configuration`, `analysis`, `compile`, `proxy`, `registry`, `service`, `identity`, `traffic`
    pub source: &'static str,
    /// What it is about: an object, a file, a proxy, a service, a registry.
    pub object: String,
    pub namespace: Option<String>,
    pub message: String,
    /// What to do.
    pub hint: &'static str,
    /// Where the object is in this API, if it is.
    pub link: Option<String>,
    /// Since when it is known, in Unix milliseconds.
    pub since: u64,
    /// The finer code of who says so: `IST0101`, `unknown-host`.
    pub reason: Option<&'static str>,
    /// The place in a text, if it is in one.
    pub finding: Option<Finding>,
    /// Who wants it out of the way, why and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted: Option<Mute>,
}

impl Trouble {
    pub(crate) fn new(code: &'static Code, source: &'static str, object: impl Into<String>, message: String) -> Self {
        Self {
            code: code.code,
            severity: code.severity.as_str(),
            title: code.title,
            source,
            object: object.into(),
            namespace: None,
            message,
            hint: code.hint,
            link: None,
            since: 0,
            reason: None,
            finding: None,
            muted: None,
        }
    }

    pub(crate) fn key(&self) -> (String, String, String) {
        (self.code.to_owned(), self.object.clone(), self.message.clone())
    }
}

/// What is wrong with the mesh now.
#[utoipa::path(get, path = "/problems", params(LiveQuery),
    responses((status = 200, description = "A page of problems, the worst first", body = List<Trouble>)))]
async fn problems(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(query): Asked<LiveQuery>,
) -> Result<Response, Problem> {
    mutes::refresh(&state).await;
    list::live(&state, &query, |news| news.topic == Topic::Problems, || seen(&state, &known)).await
}

/// What the caller may know of: all, or what is in their namespaces.
pub fn seen(state: &State, known: &Known) -> Vec<Trouble> {
    let mut all = collect(state);
    all.retain(|trouble| known.namespaces().is_empty() || trouble.namespace.as_ref().is_some_and(|of| known.sees(of)));
    all
}

/// How many there are of each severity that are not muted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    pub error: usize,
    pub warning: usize,
    pub info: usize,
}

pub fn count(all: &[Trouble]) -> Counts {
    let of = |severity| all.iter().filter(|trouble| trouble.severity == severity && trouble.muted.is_none()).count();
    Counts { error: of("error"), warning: of("warning"), info: of("info") }
}

/// All that is wrong, the worst first, and what is muted last.
pub fn collect(state: &State) -> Vec<Trouble> {
    let mut all = sources::all(state);
    let mut seen = BTreeSet::new();
    all.retain(|trouble| seen.insert(trouble.key()));
    state.kept.since.mark(&mut all);
    state.kept.mutes.mark(&mut all);
    // Errors before warnings; otherwise as they were found.
    all.sort_by_key(|trouble| match trouble.severity {
        _ if trouble.muted.is_some() => 3,
        "error" => 0,
        "warning" => 1,
        _ => 2,
    });
    all
}

/// Since when each problem is known.
#[derive(Default)]
pub(crate) struct Since(Mutex<BTreeMap<(String, String, String), u64>>);

impl Since {
    /// Tells each problem its age, and forgets those that are over. One of the same code and object as one that is over
    /// is that one in other words.
    fn mark(&self, all: &mut [Trouble]) {
        let now = millis(SystemTime::now());
        let mut known = self.0.lock();
        let mut before = std::mem::take(&mut *known);
        for trouble in &mut *all {
            trouble.since = before.remove(&trouble.key()).unwrap_or_default();
        }
        for trouble in all {
            if trouble.since == 0 {
                let (code, object, _) = trouble.key();
                let next = before.range((code, object, String::new())..).next().map(|(key, _)| key);
                let alike = next.filter(|(code, object, _)| code == trouble.code && *object == trouble.object);
                let alike = alike.cloned().and_then(|key| before.remove(&key));
                trouble.since = alike.unwrap_or(now);
            }
            known.insert(trouble.key(), trouble.since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue as codes;

    fn trouble(object: &str, message: &str) -> Trouble {
        Trouble::new(&codes::REQUESTS_FAIL, "traffic", object, message.into())
    }

    #[test]
    fn a_problem_whose_words_change_is_as_old_as_before() {
        let since = Since::default();
        since.0.lock().extend([
            (trouble("a > b", "more than one in twenty").key(), 100),
            (trouble("c", "one").key(), 200),
            (trouble("c", "two").key(), 300),
        ]);
        let mut now =
            [trouble("a > b", "at least half"), trouble("c", "three"), trouble("c", "one"), trouble("d", "x")];
        since.mark(&mut now);
        assert_eq!(now[..3].iter().map(|trouble| trouble.since).collect::<Vec<_>>(), [100, 300, 200]);
        assert!(now[3].since > 300, "a new one is of now");
        // What was over begins anew.
        since.mark(&mut []);
        let mut again = [trouble("a > b", "at least half")];
        since.mark(&mut again);
        assert!(again[0].since > 300);
    }
}
