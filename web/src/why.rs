//! `POST /_why`: what would become of a request, decided as the caller's own proxy would decide it, step by step: the
//! route table, the virtual host, the route, the cluster, the endpoints, mutual TLS, the policies of who is asked.

mod access;
mod answer;
mod find;
mod rewritten;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::envoy::config::route::v3::route::Action;
use axum::Json;
use axum::extract::State as Shared;
use pilot::{Node, NodeKind, Snapshot};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Body;
use crate::problem::Problem;
use crate::state::State;
use answer::{Answer, Step};
use rewritten::{Found, Rewritten};

pub use target::endpoints;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(why))
}

/// A request that somebody might send.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who sends it: the id of a proxy, or a workload as `NAMESPACE/NAME` or `NAME`; the first gateway if it is left
    /// out.
    source: Option<String>,
    /// Where to: `reviews:9080`, `reviews.default.svc.cluster.local`, or a URL.
    destination: String,
    /// `GET` if it is left out.
    method: Option<String>,
    /// With the query; `/` if it is left out.
    path: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// A question, read.
#[derive(Clone, Debug)]
pub struct Asked {
    pub host: String,
    pub port: Option<u16>,
    pub scheme: String,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// What would become of a request, and why: each step of the decision.
#[utoipa::path(post, path = "/_why", request_body = Question,
    responses((status = 200, description = "The decision, step by step", body = Answer)))]
async fn why(Shared(state): Shared<State>, Body(question): Body<Question>) -> Result<Json<Answer>, Problem> {
    let asked = Asked::read(&question)?;
    let (node, snapshot) = source(&state, question.source.as_deref())?;
    let mut steps = vec![Step::new("source", format!("{} {}", node.kind.as_str(), node.name))];
    let outcome = decide(&state, &node, &snapshot, &asked, &mut steps);
    Ok(Json(Answer::new(&node, &asked, outcome, steps)))
}

impl Asked {
    fn read(question: &Question) -> Result<Self, Problem> {
        let (scheme, rest) = question.destination.split_once("://").unwrap_or(("http", &question.destination));
        let (authority, path) = rest.find('/').map_or((rest, None), |at| (&rest[..at], Some(&rest[at..])));
        let (host, port) = split_port(authority)?;
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(Problem::malformed(format!("destination {:?} names no host", question.destination)));
        }
        let path = question.path.as_deref().or(path).unwrap_or("/");
        if !path.starts_with('/') {
            return Err(Problem::malformed(format!("path begins with /; {path:?} does not")));
        }
        let headers = question.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port: port.or((scheme == "https").then_some(443)),
            scheme: scheme.to_owned(),
            method: question.method.clone().unwrap_or_else(|| "GET".into()).to_ascii_uppercase(),
            path: path.to_owned(),
            headers: headers.collect(),
        })
    }

    /// As in the request's `host` header.
    pub fn authority(&self) -> String {
        match (self.headers.get("host"), self.port) {
            (Some(host), _) => host.to_ascii_lowercase(),
            (None, Some(port)) => format!("{}:{port}", self.host),
            (None, None) => self.host.clone(),
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), Problem> {
    // An IPv6 address without a port holds colons inside of its brackets only.
    let Some((host, port)) = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
        return Ok((authority, None));
    };
    let port = port.parse().map_err(|_| Problem::malformed(format!("{port:?} is no port")))?;
    Ok((host, Some(port)))
}

fn source(state: &State, wanted: Option<&str>) -> Result<(Arc<Node>, Arc<Snapshot>), Problem> {
    let mut nodes = state.discovery.nodes();
    nodes.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let Some(wanted) = wanted else {
        let gateway = nodes.into_iter().find(|(node, _)| node.kind == NodeKind::Router);
        return gateway.ok_or_else(|| Problem::not_found("no gateway is connected; say which proxy is the source"));
    };
    let called = |node: &Node| {
        let names = [node.name.clone(), node.id.clone(), format!("{}/{}", node.namespace, node.workload)];
        names.iter().any(|name| name == wanted) || node.workload == wanted
    };
    let serves = |node: &Node| {
        let (namespace, name) = wanted.split_once('/').unwrap_or((&node.namespace, wanted));
        node.namespace == namespace && node.services.iter().any(|served| served.service == name)
    };
    let found = nodes.iter().find(|(node, _)| called(node)).or_else(|| nodes.iter().find(|(node, _)| serves(node)));
    found.cloned().ok_or_else(|| {
        Problem::not_found(format!("no proxy of {wanted:?} is connected; /api/v1/proxies lists those that are"))
    })
}

fn decide(state: &State, node: &Node, snapshot: &Snapshot, asked: &Asked, steps: &mut Vec<Step>) -> answer::Outcome {
    let Some(table) = find::table(node, snapshot, asked) else {
        steps.push(Step::new("route table", "the proxy has none that the request would be looked up in"));
        return answer::Outcome::refused(404, "no route table");
    };
    steps.push(Step::new("route table", table.name.clone()));
    let authority = asked.authority();
    let Some((host, domain)) = find::virtual_host(&table, &authority) else {
        steps.push(Step::new("virtual host", format!("no domain of {} takes {authority}", table.name)));
        return answer::Outcome::refused(404, "no virtual host");
    };
    steps.push(Step::new("virtual host", format!("{} (by {domain})", host.name)));
    let mut passed = Vec::new();
    let route = find::route(host, asked, &mut passed);
    steps.extend(passed.into_iter().map(|words| Step::new("route passed over", words)));
    let Some(route) = route else {
        steps.push(Step::new("route", format!("none of {} takes {} {}", host.name, asked.method, asked.path)));
        return answer::Outcome::refused(404, "no route");
    };
    let mut outcome = answer::of_route(state, snapshot, route, steps);
    if access::at_gateway(state, node, asked, &mut outcome, steps) || outcome.decision != "forwarded" {
        return outcome;
    }
    if let Some(Action::Route(action)) = &route.action {
        let rewritten = Rewritten::of(asked, &Found { table: &table, host, route, action });
        access::at_targets(state, node, &rewritten, &mut outcome, steps);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(destination: &str) -> Question {
        let destination = destination.to_owned();
        Question { source: None, destination, method: None, path: None, headers: BTreeMap::new() }
    }

    #[test]
    fn a_destination_is_a_host_a_host_with_a_port_or_a_url() {
        let read = |text: &str| {
            let asked = Asked::read(&question(text)).unwrap();
            (asked.authority(), asked.path)
        };
        assert_eq!(read("reviews"), ("reviews".into(), "/".into()));
        assert_eq!(read("Reviews:9080"), ("reviews:9080".into(), "/".into()));
        assert_eq!(read("https://a.example/x?y"), ("a.example:443".into(), "/x?y".into()));
        assert_eq!(read("[::1]"), ("[::1]".into(), "/".into()));
        for wrong in ["", "http://", "a:b", "a b"] {
            assert!(Asked::read(&question(wrong)).is_err(), "{wrong}");
        }
    }
}
