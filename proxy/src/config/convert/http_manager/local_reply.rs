//! `local_reply_config`: how answers look that are made here.

use api::envoy::config::core::v3::SubstitutionFormatString;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use bytes::Bytes;

use crate::config::convert::{ReadFile, access_log, basics, log_filter, mutation};
use crate::config::error::{At, ConfigError};
use crate::config::{BodyFormat, LocalReplies, ReplyMapper};

pub(super) fn convert(
    wire: Option<&wire::LocalReplyConfig>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Option<LocalReplies>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    let at = at.field("local_reply_config");
    let mappers = at.field("mappers");
    let one = |(index, wire): (usize, &_)| mapper(wire, &mappers.index(index), read_file);
    let replies = LocalReplies {
        mappers: wire.mappers.iter().enumerate().map(one).collect::<Result<_, _>>()?,
        body: body_format(wire.body_format.as_ref(), &at.field("body_format"), read_file)?,
    };
    Ok(Some(replies))
}

fn mapper(wire: &wire::ResponseMapper, at: &At<'_>, read_file: ReadFile<'_>) -> Result<ReplyMapper, ConfigError> {
    let filter = wire.filter.as_ref().ok_or_else(|| at.field("filter").missing())?;
    let status = wire.status_code.map(|status| {
        let known = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
        known.ok_or_else(|| at.field("status_code").refuse(status, "is from 200 to 599"))
    });
    let body_at = at.field("body");
    let body = wire.body.as_ref().map(|body| basics::data_source(body, &body_at, Some(read_file))).transpose()?;
    Ok(ReplyMapper {
        filter: log_filter::convert(filter, &at.field("filter"))?,
        status: status.transpose()?,
        body: body.map(Bytes::from),
        format: body_format(wire.body_format_override.as_ref(), &at.field("body_format_override"), read_file)?,
        headers: mutation::adds(&wire.headers_to_add, false, &at.field("headers_to_add"))?,
    })
}

fn body_format(
    wire: Option<&SubstitutionFormatString>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Option<BodyFormat>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    let format = access_log::body_format(wire, at, read_file)?;
    let content_type = match wire.content_type.as_str() {
        "" if format.is_json() => "application/json".to_owned(),
        "" => "text/plain".to_owned(),
        other => other.to_owned(),
    };
    if content_type.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err(at.field("content_type").refuse(format_args!("{content_type:?}"), "is the value of a header"));
    }
    Ok(Some(BodyFormat { format, content_type }))
}
