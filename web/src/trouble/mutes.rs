//! Problems that somebody knows of and wants out of the way until a certain time, with the reason. They stay in the
//! list, at its end, and count for nothing until then; every control plane on a store knows them.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::{Extension, Json};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Transaction;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Trouble;
use crate::auth::{Known, Noted};
use crate::catalogue;
use crate::extract::{Asked, At, Body};
use crate::feed::Topic;
use crate::kept::now_seconds;
use crate::list::{self, List, ListQuery};
use crate::problem::Problem;
use crate::state::State;

const PREFIX: &str = "problem-mute/";
/// Nothing is out of the way for ever.
const LONGEST_S: u64 = 90 * 24 * 3600;
/// The longest object and reason, in bytes.
const LONGEST_TEXT: usize = 1024;
/// The most there may be at a time.
const MOST: usize = 1000;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, mute)).routes(routes!(unmute))
}

/// A problem that is out of the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mute {
    /// The same for the same code and object.
    pub id: String,
    pub code: String,
    pub object: String,
    pub reason: String,
    /// Unix seconds.
    pub until: u64,
    pub author: String,
    /// Unix seconds.
    pub created: u64,
}

/// A problem to be muted.
#[derive(Deserialize, ToSchema)]
#[schema(as = MuteOrder)]
#[serde(deny_unknown_fields)]
struct Order {
    /// As in the list of problems.
    code: String,
    /// As in the list of problems.
    object: String,
    /// Why nobody needs to look at it, for those who find it later.
    reason: String,
    /// At most 90 days.
    ttl_seconds: u64,
}

#[derive(Serialize, ToSchema)]
struct Unmuted {
    unmuted: String,
}

/// As the store had them when it was last looked at.
#[derive(Default)]
pub(crate) struct Mutes(Mutex<Arc<Vec<Mute>>>);

impl Mutes {
    /// Those that are not over.
    fn live(&self, now: u64) -> Vec<Mute> {
        self.0.lock().iter().filter(|mute| mute.until > now).cloned().collect()
    }

    /// Tells each problem whether it is out of the way.
    pub fn mark(&self, all: &mut [Trouble]) {
        let known = self.live(now_seconds());
        for trouble in all {
            trouble.muted =
                known.iter().find(|mute| mute.code == trouble.code && mute.object == trouble.object).cloned();
        }
    }
}

/// Reads them anew. While the store is away, what was read last stands.
pub async fn refresh(state: &State) {
    match read(state).await {
        Ok(mutes) => *state.kept.mutes.0.lock() = Arc::new(mutes),
        Err(error) => tracing::warn!(?error, "which problems are muted cannot be read"),
    }
}

/// Those that are not over; the others are forgotten.
async fn read(state: &State) -> Result<Vec<Mute>, Problem> {
    let listing = state.store.list(PREFIX).await.map_err(Problem::internal)?;
    let (mut live, mut over) = (Vec::new(), Vec::new());
    for entry in listing.entries {
        match serde_json::from_slice::<Mute>(&entry.value) {
            Ok(mute) if mute.until > now_seconds() => live.push(mute),
            _ => over.push(entry.key),
        }
    }
    if !over.is_empty() {
        let gone = Transaction { delete: over, ..Transaction::default() };
        state.store.commit(gone).await.map_err(Problem::internal)?;
    }
    Ok(live)
}

/// The problems that are muted, whether or not they are there now.
#[utoipa::path(get, path = "/problems/_mutes", params(ListQuery),
    responses((status = 200, description = "A page of those", body = List<Mute>)))]
async fn list(Shared(state): Shared<State>, Asked(query): Asked<ListQuery>) -> Result<Json<List<Value>>, Problem> {
    refresh(&state).await;
    list::page(&state, &query, state.kept.mutes.live(now_seconds()))
}

/// Mutes a problem for a time. One that is muted already is muted anew.
#[utoipa::path(post, path = "/problems/_mutes", request_body = Order,
    responses((status = 201, description = "It is out of the way", body = Mute)))]
async fn mute(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Body(order): Body<Order>,
) -> Result<(StatusCode, Extension<Noted>, Json<Mute>), Problem> {
    let mute = order.check(&known.token.name, now_seconds())?;
    let others = read(&state).await?.into_iter().filter(|other| other.id != mute.id).count();
    if others >= MOST {
        return Err(Problem::conflict(format!("{MOST} problems are muted, and there may be no more; unmute some")));
    }
    let value = serde_json::to_vec(&mute).map_err(Problem::internal)?;
    state.store.commit(Transaction::put(key(&mute.id), value)).await.map_err(Problem::internal)?;
    changed(&state).await;
    let detail = format!("muted until {}: {}", mute.until, mute.reason);
    Ok((StatusCode::CREATED, noted(&mute, detail), Json(mute)))
}

/// Tells of a problem again.
#[utoipa::path(delete, path = "/problems/_mutes/{id}", params(("id" = String, Path)),
    responses((status = 200, description = "It counts again", body = Unmuted)))]
async fn unmute(
    Shared(state): Shared<State>,
    At(id): At<String>,
) -> Result<(Extension<Noted>, Json<Unmuted>), Problem> {
    let found = read(&state).await?.into_iter().find(|mute| mute.id == id);
    let mute = found.ok_or_else(|| Problem::not_found("no problem of that id is muted; it may be over by itself"))?;
    state.store.commit(Transaction::delete(key(&id))).await.map_err(Problem::internal)?;
    changed(&state).await;
    Ok((noted(&mute, "unmuted".into()), Json(Unmuted { unmuted: id })))
}

/// Whoever looks at the problems looks again.
async fn changed(state: &State) {
    refresh(state).await;
    let counts = super::count(&super::collect(state));
    state.kept.feed.publish(Topic::Problems, "modified", json!({ "problems": counts, "added": 0, "resolved": 0 }));
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn noted(mute: &Mute, detail: String) -> Extension<Noted> {
    Extension(Noted { object: format!("problem {} {}", mute.code, mute.object), detail, ..Noted::default() })
}

impl Order {
    fn check(self, author: &str, now: u64) -> Result<Mute, Problem> {
        if catalogue::find(&self.code).is_none() {
            let code = &self.code;
            return Err(Problem::malformed(format!("code: there is no problem {code:?}; take one of GET /problems")));
        }
        for (name, text) in [("object", &self.object), ("reason", &self.reason)] {
            if text.trim().is_empty() || text.len() > LONGEST_TEXT {
                return Err(Problem::malformed(format!("{name}: 1 to {LONGEST_TEXT} bytes, and not only spaces")));
            }
        }
        if !(1..=LONGEST_S).contains(&self.ttl_seconds) {
            let ttl = self.ttl_seconds;
            return Err(Problem::malformed(format!("ttl_seconds: {ttl} is not from 1 to {LONGEST_S} (90 days)")));
        }
        let hash = citadel::sha256(format!("{}\n{}", self.code, self.object).as_bytes());
        Ok(Mute {
            id: hash.chars().take(16).collect(),
            code: self.code,
            object: self.object,
            reason: self.reason.trim().to_owned(),
            until: now + self.ttl_seconds,
            author: author.to_owned(),
            created: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::router::tests::Mesh;

    fn order(code: &str, object: &str, reason: &str, ttl_seconds: u64) -> Order {
        Order { code: code.into(), object: object.into(), reason: reason.into(), ttl_seconds }
    }

    #[test]
    fn a_mute_needs_a_code_of_the_list_an_object_a_reason_and_an_end() {
        for wrong in [
            order("WFT0000", "a", "b", 60),
            order("WFT1301", "", "b", 60),
            order("WFT1301", "a", " ", 60),
            order("WFT1301", "a", "b", 0),
            order("WFT1301", "a", "b", LONGEST_S + 1),
        ] {
            assert!(wrong.check("me", 1).is_err());
        }
        let mute = order("WFT1301", "reviews-v1.default", " being replaced ", 60).check("me", 1000).unwrap();
        assert_eq!((mute.until, mute.reason.as_str()), (1060, "being replaced"));
        let again = order("WFT1301", "reviews-v1.default", "other", 60).check("you", 2000).unwrap();
        assert_eq!(mute.id, again.id, "the same problem is muted once");
    }

    const NOWHERE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost, namespace: default}
spec: {hosts: [lost], http: [{route: [{destination: {host: nowhere}}]}]}
";

    async fn send(mesh: &Mesh, method: &str, path: &str, body: impl ToString) -> (StatusCode, Value) {
        mesh.send(mesh.request(method, path).body(Body::from(body.to_string())).unwrap()).await
    }

    #[tokio::test]
    async fn a_muted_problem_comes_last_and_counts_for_nothing_until_it_is_unmuted() {
        let mesh = Mesh::start().await;
        assert_eq!(send(&mesh, "POST", "/api/v1/_apply", NOWHERE).await.0, StatusCode::OK);
        let problems = mesh.get("/api/v1/problems").await.1["items"].clone();
        let (code, object) = (&problems[0]["code"], &problems[0]["object"]);
        let count = async || mesh.get("/api/v1/overview").await.1["problems"].clone();
        let before = count().await;

        let order = json!({ "code": code, "object": object, "reason": "comes tomorrow", "ttl_seconds": 60 });
        let (status, mute) = send(&mesh, "POST", "/api/v1/problems/_mutes", &order).await;
        assert_eq!(status, StatusCode::CREATED, "{mute}");
        let after = mesh.get("/api/v1/problems").await.1["items"].clone();
        let last = after.as_array().and_then(|all| all.last()).unwrap();
        assert_eq!((&last["code"], &last["muted"]["reason"]), (code, &json!("comes tomorrow")));
        assert_ne!(count().await, before);

        let path = format!("/api/v1/problems/_mutes/{}", mute["id"].as_str().unwrap());
        assert_eq!(send(&mesh, "DELETE", &path, "").await.0, StatusCode::OK);
        assert_eq!(send(&mesh, "DELETE", &path, "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(count().await, before);
    }
}
