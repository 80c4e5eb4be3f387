//! Which requests a tap shows: conditions that must all hold, in words that the operator, the control plane and the
//! proxy read alike.
//!
//! `method=GET, path=/api/*, status>=500, header.x-user=alice`: a field, `=`, `!=`, `>=` or `<=`, and a value, in which
//! `*` stands for anything. `5xx` is every status from 500 to 599.

use std::fmt;
use std::str::FromStr;

/// Conditions that must all hold; none: everything is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TapMatch(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    field: Field,
    test: Test,
    value: String,
    number: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Method,
    Path,
    Authority,
    Status,
    DurationMs,
    Flags,
    Principal,
    Header(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Is,
    IsNot,
    AtLeast,
    AtMost,
}

/// A request, as far as conditions look at it.
pub trait Tapped {
    fn method(&self) -> &str;
    fn path(&self) -> &str;
    fn authority(&self) -> &str;
    /// 0: there was no answer.
    fn status(&self) -> u16;
    fn duration_ms(&self) -> f64;
    fn flags(&self) -> String;
    fn principal(&self) -> &str;
    /// By its name in small letters.
    fn header(&self, name: &str) -> Option<&str>;
}

/// What is wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    #[error("{0:?} is no condition; write field=value, with =, !=, >= or <=")]
    Form(String),
    #[error(
        "there is no field {0:?}; there are method, path, authority, status, duration_ms, flags, principal and header.NAME"
    )]
    Field(String),
    #[error("{0:?} is compared as a number, and is none")]
    Number(String),
}

impl FromStr for TapMatch {
    type Err = TapError;

    fn from_str(text: &str) -> Result<Self, TapError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Condition {
    type Err = TapError;

    fn from_str(text: &str) -> Result<Self, TapError> {
        let tests = [("!=", Test::IsNot), (">=", Test::AtLeast), ("<=", Test::AtMost), ("=", Test::Is)];
        let found = tests.into_iter().filter_map(|(sign, test)| Some((text.find(sign)?, sign, test)));
        // Of signs at one place the longer comes first.
        let (at, sign, test) =
            found.min_by_key(|(at, sign, _)| (*at, 3 - sign.len())).ok_or_else(|| TapError::Form(text.into()))?;
        let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let field = match name {
            "method" => Field::Method,
            "path" => Field::Path,
            "authority" => Field::Authority,
            "status" => Field::Status,
            "duration_ms" => Field::DurationMs,
            "flags" => Field::Flags,
            "principal" => Field::Principal,
            other => match other.strip_prefix("header.") {
                Some(header) if !header.is_empty() => Field::Header(header.to_ascii_lowercase()),
                _ => return Err(TapError::Field(other.to_owned())),
            },
        };
        let number = value.parse().ok();
        let compares = matches!(test, Test::AtLeast | Test::AtMost);
        if compares && (number.is_none() || !matches!(field, Field::Status | Field::DurationMs)) {
            return Err(TapError::Number(text.to_owned()));
        }
        Ok(Self { field, test, value: value.to_owned(), number })
    }
}

impl TapMatch {
    pub fn matches(&self, request: &dyn Tapped) -> bool {
        self.0.iter().all(|condition| condition.holds(request))
    }
}

impl Condition {
    fn holds(&self, request: &dyn Tapped) -> bool {
        if let (Test::AtLeast | Test::AtMost, Some(bound)) = (self.test, self.number) {
            let value = match self.field {
                Field::Status => f64::from(request.status()),
                _ => request.duration_ms(),
            };
            return if self.test == Test::AtLeast { value >= bound } else { value <= bound };
        }
        let is = match &self.field {
            Field::Method => self.value.eq_ignore_ascii_case(request.method()),
            Field::Path => glob(&self.value, request.path()),
            Field::Authority => glob(&self.value, request.authority()),
            Field::Status => self.is_status(request.status()),
            Field::DurationMs => self.number == Some(request.duration_ms()),
            Field::Flags => request.flags().split(',').any(|flag| glob(&self.value, flag)),
            Field::Principal => glob(&self.value, request.principal()),
            Field::Header(name) => request.header(name).is_some_and(|value| glob(&self.value, value)),
        };
        is == (self.test == Test::Is)
    }

    fn is_status(&self, status: u16) -> bool {
        match self.value.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()) {
            Some(class) => status / 100 == class,
            None => glob(&self.value, &status.to_string()),
        }
    }
}

/// Whether a text is as a pattern says, in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl fmt::Display for TapMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, condition) in self.0.iter().enumerate() {
            let sign = match condition.test {
                Test::Is => "=",
                Test::IsNot => "!=",
                Test::AtLeast => ">=",
                Test::AtMost => "<=",
            };
            let field = match &condition.field {
                Field::Method => "method",
                Field::Path => "path",
                Field::Authority => "authority",
                Field::Status => "status",
                Field::DurationMs => "duration_ms",
                Field::Flags => "flags",
                Field::Principal => "principal",
                Field::Header(name) => &format!("header.{name}"),
            };
            write!(f, "{}{field}{sign}{}", if place > 0 { "," } else { "" }, condition.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{TapError, TapMatch, Tapped};

    struct Request;

    impl Tapped for Request {
        fn method(&self) -> &str {
            "GET"
        }
        fn path(&self) -> &str {
            "/api/v1/products?x=1"
        }
        fn authority(&self) -> &str {
            "reviews:9080"
        }
        fn status(&self) -> u16 {
            503
        }
        fn duration_ms(&self) -> f64 {
            12.5
        }
        fn flags(&self) -> String {
            "UF,URX".into()
        }
        fn principal(&self) -> &str {
            "spiffe://cluster.local/ns/default/sa/productpage"
        }
        fn header(&self, name: &str) -> Option<&str> {
            (name == "x-user").then_some("alice")
        }
    }

    #[test]
    fn conditions_must_all_hold() {
        for yes in [
            "",
            "method=get",
            "path=/api/*, status=5xx",
            "path=*products*",
            "status>=500,status<=503,duration_ms>=12",
            "flags=URX",
            "principal=*/sa/productpage",
            "header.X-User=a*e",
            "header.x-other!=a",
            "authority!=ratings*",
        ] {
            assert!(yes.parse::<TapMatch>().unwrap().matches(&Request), "{yes}");
        }
        for no in ["method!=GET", "path=/api", "status=404,method=GET", "status=4xx", "flags=NR", "header.x-other=a"] {
            assert!(!no.parse::<TapMatch>().unwrap().matches(&Request), "{no}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_by_name() {
        assert_eq!("status".parse::<TapMatch>(), Err(TapError::Form("status".into())));
        assert_eq!("statu=5".parse::<TapMatch>(), Err(TapError::Field("statu".into())));
        assert_eq!("path>=5".parse::<TapMatch>(), Err(TapError::Number("path>=5".into())));
        let text = "method=GET,header.x-user!=a*,status>=500";
        assert_eq!(text.parse::<TapMatch>().unwrap().to_string(), text);
    }
}
