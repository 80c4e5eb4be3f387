//! Lines as an operator reads them, and values that try to forge them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::format::ISTIO_TEXT;
use super::*;
use crate::http::message::Version;

fn info() -> RequestInfo {
    let [local, remote] = ["127.0.10.11:9080", "127.0.10.12:40000"].map(|address| address.parse().unwrap());
    let connection = ConnectionInfo {
        requested_server_name: Some("outbound_.9080_._.reviews".to_owned()),
        ..ConnectionInfo::between(7, local, remote)
    };
    let mut info = RequestInfo::new(Arc::new(connection), 1);
    info.start_time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    info.protocol = Some(Version::Http11);
    info.response_code = Some(200);
    info.response_code_details = Some("via_upstream".into());
    info.bytes_sent = 42;
    info.duration = Some(Duration::from_millis(12));
    info.upstream_address = Some("127.0.10.13:9080".parse().unwrap());
    info
}

fn request(headers: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: "GET".to_owned(),
        scheme: "http",
        authority: "reviews:9080".to_owned(),
        path: "/reviews/0".to_owned(),
        version: Version::Http11,
        headers: headers.iter().copied().collect(),
        upgrade: None,
    }
}

fn line(format: &str, headers: &[(&str, &str)]) -> String {
    let (info, request, response) = (info(), request(headers), [("x-envoy-upstream-service-time", "9")]);
    let response: Headers = response.into_iter().collect();
    let context = LogContext::of_request(&info, &request).with_response(&response, None);
    let mut out = Vec::new();
    Format::parse(format).unwrap().write(&context, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn istios_default_line() {
    let line = line(ISTIO_TEXT, &[("user-agent", "curl/8"), ("x-request-id", "abc")]);
    assert_eq!(
        line,
        "[2023-11-14T22:13:20.123Z] \"GET /reviews/0 HTTP/1.1\" 200 - via_upstream - \"-\" 0 42 12 9 \"-\" \"curl/8\" \
         \"abc\" \"reviews:9080\" \"127.0.10.13:9080\" - - 127.0.10.11:9080 127.0.10.12:40000 \
         outbound_.9080_._.reviews -\n"
    );
}

#[test]
fn operators_take_alternatives_and_lengths() {
    let headers = [("x-b", "second"), ("x-long", "abcdefgh")];
    assert_eq!(line("%REQ(X-A?X-B)%|%REQ(X-A)%", &headers), "second|-");
    assert_eq!(line("%REQ(X-LONG):3%", &headers), "abc");
    assert_eq!(line("100%% %PROTOCOL%", &headers), "100% HTTP/1.1");
    assert_eq!(line("%START_TIME(%Y/%m/%d %H:%M:%S.%6f %s)%", &headers), "2023/11/14 22:13:20.123000 1700000000");
    assert_eq!(line("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", &headers), "127.0.10.12");
}

#[test]
fn what_is_wrong_in_a_format_is_named() {
    let error = |text: &str| Format::parse(text).unwrap_err().to_string();
    assert_eq!(error("a %NO_SUCH%"), "`%NO_SUCH%` at byte 2 is not an operator that this proxy knows");
    assert_eq!(error("a %PROTOCOL"), "`%` at byte 2 is not closed; write `%%` for a percent sign");
    assert_eq!(error("%REQ%"), "`%REQ%` at byte 0: a header name in parentheses is expected");
    assert_eq!(error("%PROTOCOL(x)%"), "`%PROTOCOL(x)%` at byte 0: the operator takes no argument");
    assert!(error("%START_TIME(%Q)%").contains("`%Q`"));
    assert!(error("%START_TIME_LOCAL%").contains("UTC"));
    for refused in [
        "%PROTOCOL:3%",
        "%REQ(A?B?C)%",
        "%REQ(A:B)%",
        "%REQ(A)x%",
        "%REQ(A):x%",
        "%COMMON_DURATION(DS_RX_BEG:US_CX_BEG:us)%",
        "%PATH(XX)%",
        "%GRPC_STATUS(X)%",
        "%CEL(request.path)%",
        "%COALESCE({})%",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(129)%",
    ] {
        assert!(Format::parse(refused).is_err(), "{refused}");
    }
}

#[test]
fn values_are_what_envoy_prints() {
    let headers = [("x-two", "1"), ("x-two", "2"), ("x-empty", ""), ("x-envoy-original-path", "/old?q=1")];
    for (format, expected) in [
        ("%REQ(X-TWO)%|%REQ(X-EMPTY)%|%REQ(X-EMPTY?X-TWO)%|%REQ(X-NOPE?X-TWO)%", "1|||1"),
        ("%PATH%|%PATH(NQ)%|%PATH(WQ:PATH)%|%PATH(:ORIG):3%", "/old?q=1|/old|/reviews/0|/ol"),
        ("%REQUESTED_SERVER_NAME(HOST_FIRST)%", "reviews:9080"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%", "127.0.0.0/8"),
        ("%DOWNSTREAM_DIRECT_REMOTE_PORT% %UPSTREAM_REMOTE_PORT%", "40000 9080"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)% %COMMON_DURATION(US_TX_BEG:DS_TX_END:ms)%", "12000 -"),
        ("%COALESCE({\"operators\":[{\"command\":\"REQ\",\"param\":\"X-NO\"},\"PROTOCOL\"]}):4%", "HTTP"),
        ("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "127.0.10.13:9080 127.0.10.13"),
        ("%GRPC_STATUS% %GRPC_STATUS_NUMBER% %TRAILER(X)% %FILTER_STATE(a:PLAIN)%", "- - - -"),
        ("%RESPONSE_FLAGS_LONG%|%ACCESS_LOG_TYPE%|%CUSTOM_FLAGS%", "-|NotSet|"),
    ] {
        assert_eq!(line(format, &headers), expected, "{format}");
    }
}

#[test]
fn times_have_strftimes_conversions() {
    let format = "%a %A %b %B %C %d %e %H %I %j %k %l %m %M %p %P %S %u %w %y %Y %U %V %W %z %Z %% %F %T %R %r %D %c";
    assert_eq!(
        line(&format!("%START_TIME({format} %3f %f %E*S %3s)%"), &[]),
        "Tue Tuesday Nov November 20 14 14 22 10 318 22 10 11 13 PM pm 20 2 2 23 2023 46 46 46 +0000 UTC % 2023-11-14 \
         22:13:20 22:13 10:13:20 PM 11/14/23 Tue Nov 14 22:13:20 2023 123 123000000 20.123 1700000000"
    );
}

#[test]
fn a_grpc_status_is_named_or_stands_for_the_http_status() {
    let mut info = info();
    let head = request(&[("content-type", "application/grpc")]);
    let shown = |info: &RequestInfo| {
        let mut out = Vec::new();
        let format = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)%";
        Format::parse(format).unwrap().write(&LogContext::of_request(info, &head), &mut out);
        String::from_utf8(out).unwrap()
    };
    info.grpc_status = Some(3);
    assert_eq!(shown(&info), "InvalidArgument INVALID_ARGUMENT 3");
    (info.grpc_status, info.response_code) = (None, Some(503));
    assert_eq!(shown(&info), "Unavailable UNAVAILABLE 14");
}

#[test]
fn a_filter_chooses_the_requests_that_are_logged() {
    use super::{Comparison, ComparisonOp, LogFilter};
    let (mut info, head) = (info(), request(&[("x-request-id", "000f4240-0000-4000-8000-000000000000")]));
    let status = |op, value| LogFilter::StatusCode(Comparison { op, value });
    let share = |parts| LogFilter::Share { fraction: crate::config::Fraction(parts), independent: false };
    let passes = |filter: &LogFilter, info: &RequestInfo| filter.passes(&LogContext::of_request(info, &head));
    assert!(passes(&status(ComparisonOp::Equal, 200), &info));
    assert!(!passes(&status(ComparisonOp::AtLeast, 400), &info));
    assert!(passes(&LogFilter::Any(vec![status(ComparisonOp::AtMost, 1), LogFilter::NotHealthCheck]), &info));
    assert!(!passes(&LogFilter::All(vec![status(ComparisonOp::NotEqual, 200), LogFilter::NotHealthCheck]), &info));
    // The first eight digits of the id are a million: nothing is left of it by parts in a million.
    assert!(passes(&share(1), &info) && !passes(&share(0), &info));
    assert!(!passes(&LogFilter::Flags(None), &info));
    info.flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
    assert!(passes(&LogFilter::Flags(None), &info));
    assert!(!passes(&LogFilter::Flags(Some(ResponseFlags::UPSTREAM_OVERFLOW)), &info));
    assert!(passes(&LogFilter::GrpcStatus { statuses: vec![0], exclude: true }, &info));
    assert!(!passes(&LogFilter::Kind { kinds: vec![LogKind::DownstreamStart], exclude: false }, &info));
}

#[test]
fn a_server_name_is_printed_as_a_name_whatever_it_holds() {
    let mut info = info();
    let mut connection = (*info.connection).clone();
    connection.requested_server_name = Some("a\"b\n c.example".to_owned());
    info.connection = Arc::new(connection);
    let mut out = Vec::new();
    Format::parse("%REQUESTED_SERVER_NAME%").unwrap().write(&LogContext::of_connection(&info), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "a_b__c.example");
}

#[test]
fn a_value_cannot_leave_its_quotes_or_its_line() {
    let info = info();
    let mut head = request(&[]);
    head.path = "/a\"b\\c\nd\u{85}".to_owned();
    let mut out = Vec::new();
    Format::parse("\"%REQ(:PATH)%\"").unwrap().write(&LogContext::of_request(&info, &head), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "\"/a\\\"b\\\\c\\nd\\u0085\"");
}

#[test]
fn json_lines_have_types_and_nulls() {
    use api::prost_types::{Struct, Value, value::Kind};
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let list = Value {
        kind: Some(Kind::ListValue(api::prost_types::ListValue { values: vec![text("a"), text("%BYTES_SENT%")] })),
    };
    let number = |number| Value { kind: Some(Kind::NumberValue(number)) };
    let fields = [
        ("code", text("%RESPONSE_CODE%")),
        ("flags", text("%RESPONSE_FLAGS%")),
        ("half", number(1.5)),
        ("id", text("%REQ(X-ID)%")),
        ("line", text("%REQ(:METHOD)% %REQ(X-ID)%%BYTES_SENT%")),
        ("list", list),
        ("seven", number(7.0)),
    ];
    let fields = Struct { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() };
    let (info, head) = (info(), request(&[]));
    let written = |format: Format| {
        let mut out = Vec::new();
        format.write(&LogContext::of_request(&info, &head), &mut out);
        String::from_utf8(out).unwrap()
    };
    let format = Format::parse_json(&fields).unwrap();
    assert_eq!(
        written(format.clone()),
        "{\"code\":200,\"flags\":\"-\",\"half\":\"1.5\",\"id\":null,\"line\":\"GET -42\",\"list\":[\"a\",42],\"seven\":7}\n"
    );
    assert_eq!(
        written(format.omitting_empty()),
        "{\"code\":200,\"flags\":\"-\",\"half\":\"1.5\",\"line\":\"GET 42\",\"list\":[\"a\",42],\"seven\":7}\n"
    );
}

#[test]
fn flags_have_envoys_names() {
    let flags = ResponseFlags::NO_HEALTHY_UPSTREAM | ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
    assert_eq!(flags.to_string(), "UH,UF");
    assert_eq!(ResponseFlags::NONE.to_string(), "-");
}

#[test]
fn the_sink_writes_lines_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (sink, writer) = LogSink::start().unwrap();
    let target = Target::of_path(path.to_str().unwrap());
    for number in 0..100 {
        sink.send(&target, format!("{number}\n").into_bytes());
    }
    sink.flush();
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines.lines().count(), 100);
    assert!(lines.starts_with("0\n1\n") && lines.ends_with("99\n"));
    drop(sink);
    writer.join().unwrap();
}

#[test]
fn a_log_that_was_moved_away_begins_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let (sink, writer) = LogSink::start().unwrap();
    let target = Target::of_path(path.to_str().unwrap());
    sink.send(&target, b"before\n".to_vec());
    sink.flush();
    std::fs::rename(&path, &moved).unwrap();
    sink.send(&target, b"between\n".to_vec());
    sink.reopen();
    sink.send(&target, b"after\n".to_vec());
    drop(sink);
    writer.join().unwrap();
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "before\nbetween\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
}

proptest! {
    #[test]
    fn any_format_parses_or_is_refused(text in ".*") {
        let _ = Format::parse(&text);
    }

    #[test]
    fn any_value_stays_on_one_line(path in ".*", operator in "%(REQ\\(:PATH\\)|REQ\\(:PATH\\):[0-9]{1,3})%") {
        let info = info();
        let mut head = request(&[]);
        head.path = path;
        let mut out = Vec::new();
        Format::parse(&operator).unwrap().write(&LogContext::of_request(&info, &head), &mut out);
        prop_assert!(!out.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)));
    }
}

/// CVE-2024-34363.
#[test]
fn a_json_line_is_json_whatever_bytes_a_header_holds() {
    use api::prost_types::{Struct, Value, value::Kind};
    let value = Value { kind: Some(Kind::StringValue("%REQ(X-ID)%".to_owned())) };
    let format = Format::parse_json(&Struct { fields: [("id".to_owned(), value)].into() }).unwrap();
    for bytes in [&b"\xff\xfe"[..], b"\xc3", b"\xed\xa0\x80", b"a\"b\\", b"\xf0\x9f\x98"] {
        let mut head = request(&[]);
        head.headers.try_append(b"x-id", bytes).unwrap();
        let mut out = Vec::new();
        format.write(&LogContext::of_request(&info(), &head), &mut out);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(line["id"].is_string(), "{line}");
    }
}
