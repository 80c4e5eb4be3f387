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
    assert_eq!(error("%NO_SUCH%"), "`%NO_SUCH%` is not an operator that this proxy knows");
    assert_eq!(error("a %PROTOCOL"), "`%` at byte 2 is not closed; write `%%` for a percent sign");
    assert_eq!(error("%REQ%"), "`%REQ%`: a header name in parentheses is expected");
    assert_eq!(error("%PROTOCOL(x)%"), "`%PROTOCOL(x)%`: the operator takes no argument");
    assert!(error("%START_TIME(%Q)%").contains("`%Q`"));
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
    let fields = [("code", "%RESPONSE_CODE%"), ("id", "%REQ(X-ID)%"), ("line", "%REQ(:METHOD)% %REQ(:PATH)%")];
    let fields = Struct { fields: fields.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect() };
    let (info, head) = (info(), request(&[]));
    let mut out = Vec::new();
    Format::parse_json(&fields).unwrap().write(&LogContext::of_request(&info, &head), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "{\"code\":200,\"id\":null,\"line\":\"GET /reviews/0\"}\n");
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
