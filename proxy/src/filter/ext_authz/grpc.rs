//! A service that speaks `envoy.service.auth.v3.Authorization`.

use std::collections::BTreeMap;

use api::envoy::config::core::v3 as core;
use api::envoy::service::auth::v3 as wire;
use core::header_value_option::HeaderAppendAction;
use wire::check_response::HttpResponse;

use super::verdict::{Action, Change, Outcome, Verdict};
use super::{ExtAuthz, Held, attributes};
use crate::access_log::LogContext;
use crate::config::AppendAction;
use crate::filter::Stream;
use crate::filter::grpc::GrpcService;

pub const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

pub async fn check(
    own: &ExtAuthz,
    service: &GrpcService,
    held: Option<&Held>,
    extensions: BTreeMap<String, String>,
    stream: &Stream<'_>,
) -> Verdict {
    let request = attributes::check_request(own, held, extensions, stream);
    let context = LogContext::of_request(&stream.exchange.info, stream.head);
    match service.call(stream.worker(), METHOD, &request, &context).await {
        Ok(response) => read(response),
        Err(error) => {
            tracing::debug!(cluster = %service.cluster, %error, "no answer from the authorization service");
            Verdict::default()
        }
    }
}

/// Without a status the answer is OK, as protobuf has it.
#[expect(deprecated, reason = "services in use still set `OkHttpResponse.dynamic_metadata`")]
pub fn read(response: wire::CheckResponse) -> Verdict {
    let code = response.status.as_ref().map_or(0, |status| status.code);
    let mut verdict = Verdict { metadata: response.dynamic_metadata, ..Verdict::default() };
    match (code, response.http_response) {
        (0, Some(HttpResponse::OkResponse(ok))) => {
            verdict.outcome = Outcome::Allowed;
            verdict.request = ok.headers.iter().filter_map(of_request).collect();
            verdict.response = ok.response_headers_to_add.iter().filter_map(of_answer).collect();
            verdict.remove = ok.headers_to_remove;
            verdict.query_set = ok.query_parameters_to_set.into_iter().map(|set| (set.key, set.value)).collect();
            verdict.query_remove = ok.query_parameters_to_remove;
            verdict.metadata = ok.dynamic_metadata.or(verdict.metadata);
        }
        (0, _) => verdict.outcome = Outcome::Allowed,
        (_, Some(HttpResponse::ErrorResponse(error))) => answer(&mut verdict, error),
        (_, Some(HttpResponse::DeniedResponse(denied))) => {
            verdict.outcome = Outcome::Denied;
            answer(&mut verdict, denied);
        }
        _ => verdict.outcome = Outcome::Denied,
    }
    verdict
}

fn answer(verdict: &mut Verdict, wire: wire::DeniedHttpResponse) {
    verdict.status = wire.status.and_then(|status| u16::try_from(status.code).ok());
    verdict.status = verdict.status.filter(|status| (200..=599).contains(status));
    verdict.reply = wire.headers.iter().filter_map(of_answer).collect();
    verdict.body = wire.body.into();
}

/// A header of the request is set, or joined to what is there if the service says `append`; other actions say nothing
/// here.
#[expect(deprecated, reason = "`append` is what the service says")]
fn of_request(wire: &core::HeaderValueOption) -> Option<Change> {
    let (name, value) = header(wire)?;
    Some(match wire.append {
        Some(true) => Change::new(name, value, Action::JoinIfExists),
        _ => Change::set(name, value),
    })
}

/// A header of an answer is treated as its action says.
#[expect(deprecated, reason = "`append` is what some services say")]
fn of_answer(wire: &core::HeaderValueOption) -> Option<Change> {
    let (name, value) = header(wire)?;
    let action = match (wire.append, HeaderAppendAction::try_from(wire.append_action)) {
        (Some(true), _) => AppendAction::AppendIfExistsOrAdd,
        (Some(false), _) => AppendAction::OverwriteIfExistsOrAdd,
        (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => AppendAction::AppendIfExistsOrAdd,
        (None, Ok(HeaderAppendAction::AddIfAbsent)) => AppendAction::AddIfAbsent,
        (None, Ok(HeaderAppendAction::OverwriteIfExists)) => AppendAction::OverwriteIfExists,
        (None, _) => AppendAction::OverwriteIfExistsOrAdd,
    };
    Some(Change::new(name, value, Action::As(action)))
}

fn header(wire: &core::HeaderValueOption) -> Option<(&str, &[u8])> {
    let header = wire.header.as_ref()?;
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    Some((&header.key, value))
}
