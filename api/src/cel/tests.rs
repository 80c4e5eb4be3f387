//! Expressions over one request that was answered.

use super::*;

/// A request for `/shop?item=1` that was answered with 404 after 250 ms.
struct Sample;

impl Attributes for Sample {
    fn attribute(&self, of: Attribute) -> Option<Value<'_>> {
        Some(match of {
            Attribute::RequestPath => Value::text("/shop?item=1"),
            Attribute::RequestMethod => Value::text("GET"),
            Attribute::ResponseCode => Value::Int(404),
            Attribute::RequestDuration => Value::Duration(250_000_000),
            Attribute::ConnectionMtls => Value::Bool(true),
            Attribute::DestinationPort => Value::Int(9080),
            _ => return None,
        })
    }

    fn entry(&self, of: Map, key: &str) -> Option<Value<'_>> {
        (of == Map::RequestHeaders && key == "x-log").then(|| Value::text("yes"))
    }
}

fn value(text: &str) -> Option<String> {
    Expression::parse(text).unwrap().evaluate(&Sample).map(|value| value.to_string())
}

#[test]
fn expressions_of_istios_documentation_mean_what_they_say() {
    for (text, expected) in [
        ("response.code >= 400", "true"),
        ("response.code == 200", "false"),
        ("connection.mtls && request.headers['x-log'] == 'yes'", "true"),
        ("(connection.mtls && request.headers['X-Log'] == 'no') || request.path.contains('shop')", "true"),
        ("request.path.startsWith('/shop') && !request.path.endsWith('=2')", "true"),
        ("request.method in ['POST', 'PUT']", "false"),
        ("'x-log' in request.headers", "true"),
        ("has(request.headers.none)", "false"),
        ("has(request.referer) ? request.referer : 'none'", "none"),
        ("string(destination.port)", "9080"),
        ("request.duration > duration('200ms')", "true"),
        ("response.code / 100 * 100 + 4 % 3", "401"),
        ("request.method + ' ' + string(response.code)", "GET 404"),
        ("request.path.matches('^/shop[?]item=[0-9]+$')", "true"),
        ("size(request.method) == 3 && request.method.size() < 3.5", "true"),
        ("-1 < 0 && 1.5 > 1 && 0x10 == 16u && r'a\\b' != \"a\"", "true"),
    ] {
        assert_eq!(value(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_has_no_value_is_no_value_unless_the_rest_decides() {
    for text in ["request.referer == 'a'", "request.referer", "response.code / 0 > 1", "request.method > 3", "!1"] {
        assert_eq!(value(text), None, "{text}");
        assert!(!Expression::parse(text).unwrap().holds(&Sample), "{text}");
    }
    for text in
        ["request.referer == 'a' || response.code == 404", "!(request.referer == 'a' && connection.mtls == false)"]
    {
        assert!(Expression::parse(text).unwrap().holds(&Sample), "{text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_by_name() {
    for (text, message) in [
        ("", "at character 1: the expression ends too early"),
        ("response.code >= ", "ends too early"),
        ("response.code = 200", "at character 15: a comparison is written =="),
        ("response.cod > 3", "no attribute \"response.cod\" is known here; there are response.code,"),
        ("node.metadata", "there are those of request, response, connection"),
        ("request.headers == 1", "request.headers holds values by name"),
        ("'a'.lowerAscii() == 'a'", "at character 5: there is no function \"lowerAscii\" here"),
        ("timestamp('a')", "there is no function \"timestamp\" here"),
        ("request.path.matches(request.method)", "takes a regular expression that is written out"),
        ("request.path.matches('(')", "is no regular expression (RE2)"),
        ("request.path 'a'", "an operator or the end is expected here"),
        ("(response.code", "\")\" is expected here"),
        ("'open", "a text is not closed"),
        ("size('a', 'b')", "size() takes one value"),
        ("1 # 2", "'#' has no meaning"),
        ("has(request.headers['a'])", "has() takes a field; for others write"),
    ] {
        let error = Expression::parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(Expression::parse(&deep).is_err());
    let deep = format!("{}1", "!".repeat(400));
    assert!(Expression::parse(&deep).unwrap_err().message.contains("too deep"));
}

#[test]
fn what_can_be_true_is_told_from_what_cannot() {
    let is = |text: &str| Expression::parse(text).unwrap().is_condition();
    for yes in [
        "response.code >= 400",
        "true",
        "connection.mtls && !has(request.referer)",
        "'x-log' in request.headers",
        "request.path.startsWith('/a') ? true : response.code == 200",
    ] {
        assert!(is(yes), "{yes}");
    }
    let others = ["response.code", "'text'", "1 + 2", "request.headers['a']", "size(request.path)", "true ? 1 : 2"];
    assert_eq!(others.map(is), [false; 6]);
}
