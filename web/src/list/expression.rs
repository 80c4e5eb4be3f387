//! Conditions on the items of a list, in Consul's language of filters: `health == "failing" and not name matches "^x"`.
//! Numbers may be compared besides. A text is read once and then held against each item.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Longer ones, and deeper ones, are refused.
const LONGEST: usize = 2048;
const DEEPEST: usize = 32;
/// More patterns than these are refused, and each that takes more bytes: `\w{1000}` is short and large.
const MOST_PATTERNS: usize = 8;
const LARGEST_PATTERN: usize = 1 << 20;

#[derive(Debug)]
pub enum Expression {
    Not(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Test(Field, Test),
}

/// `endpoints.total`, `labels["app.kubernetes.io/name"]`
pub type Field = Vec<String>;

#[derive(Debug)]
pub enum Test {
    Compared(Operator, String),
    /// A text within a text, a value in a list, or a key of an object.
    Contains(String),
    Matches(Regex),
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Why a text is no condition.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The character at which it goes wrong, from 0.
    at: usize,
    message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at character {}: {}; write FIELD == \"VALUE\", FIELD contains \"TEXT\", ",
            self.at + 1,
            self.message
        )?;
        f.write_str("\"VALUE\" in FIELD, FIELD matches \"PATTERN\" or FIELD is empty, with and, or, not and brackets")
    }
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        if text.chars().nth(LONGEST).is_some() {
            return Err(Wrong { at: LONGEST, message: format!("a filter has at most {LONGEST} characters") });
        }
        let in_characters = |wrong: Wrong| Wrong { at: text[..wrong.at].chars().count(), ..wrong };
        Self::of(text).map_err(in_characters)
    }

    /// What goes wrong is told by bytes.
    fn of(text: &str) -> Result<Self, Wrong> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, place: 0, depth: 0, patterns: 0, end: text.len() };
        let all = parser.or()?;
        match parser.peek() {
            None => Ok(all),
            Some(_) => Err(parser.wrong("`and`, `or` or the end is expected here")),
        }
    }

    /// Whether an item meets it. What an item does not have is unequal to everything, and empty.
    pub fn holds(&self, item: &Value) -> bool {
        match self {
            Self::Not(inner) => !inner.holds(item),
            Self::And(both) => both.iter().all(|one| one.holds(item)),
            Self::Or(both) => both.iter().any(|one| one.holds(item)),
            Self::Test(field, test) => test.holds(field.iter().try_fold(item, |value, name| value.get(name))),
        }
    }

    /// The names of all fields that it asks for, as far as their first part.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Self::Not(inner) => inner.fields(),
            Self::And(both) | Self::Or(both) => both.iter().flat_map(Self::fields).collect(),
            Self::Test(field, _) => field.first().map(String::as_str).into_iter().collect(),
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&Value>) -> bool {
        let value = value.unwrap_or(&Value::Null);
        match self {
            Self::Compared(operator, wanted) => compared(value, *operator, wanted),
            Self::Contains(wanted) => match value {
                Value::Array(items) => items.iter().any(|item| word(item).as_deref() == Some(wanted)),
                Value::Object(fields) => fields.contains_key(wanted),
                value => word(value).is_some_and(|word| word.contains(wanted)),
            },
            Self::Matches(pattern) => word(value).is_some_and(|word| pattern.is_match(&word)),
            Self::Empty => match value {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                Value::Bool(_) | Value::Number(_) => false,
            },
        }
    }
}

fn compared(value: &Value, operator: Operator, wanted: &str) -> bool {
    let numbers = value.as_f64().zip(wanted.parse::<f64>().ok());
    if operator == Operator::Equal {
        return match numbers {
            Some((value, wanted)) => value == wanted,
            None => word(value).as_deref() == Some(wanted),
        };
    }
    numbers.is_some_and(|(value, wanted)| match operator {
        Operator::Equal => value == wanted,
        Operator::Less => value < wanted,
        Operator::AtMost => value <= wanted,
        Operator::Greater => value > wanted,
        Operator::AtLeast => value >= wanted,
    })
}

/// A single value as a text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Text(&'t str),
    Sign(&'static str),
}

const SIGNS: [&str; 10] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]"];

fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, Wrong> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = if matches!(first, '"' | '`') {
            let end = rest[1..].find(first);
            let end = end.ok_or_else(|| Wrong { at, message: "this text has no end".into() })?;
            (Token::Text(&rest[1..=end]), end + 2)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            let end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
            if end == 0 {
                return Err(Wrong { at, message: format!("{first:?} means nothing here") });
            }
            (Token::Word(&rest[..end]), end)
        };
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

struct Parser<'t> {
    tokens: &'t [(usize, Token<'t>)],
    place: usize,
    depth: usize,
    patterns: usize,
    end: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.place).map(|(_, token)| token)
    }

    fn wrong(&self, message: impl Into<String>) -> Wrong {
        Wrong { at: self.tokens.get(self.place).map_or(self.end, |(at, _)| *at), message: message.into() }
    }

    fn takes(&mut self, token: &Token<'_>) -> bool {
        let there = self.peek() == Some(token);
        self.place += usize::from(there);
        there
    }

    fn or(&mut self) -> Result<Expression, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("the filter is nested too deep"));
        }
        let mut all = self.and()?;
        while self.takes(&Token::Word("or")) {
            all = Expression::Or(Box::new([all, self.and()?]));
        }
        self.depth -= 1;
        Ok(all)
    }

    fn and(&mut self) -> Result<Expression, Wrong> {
        let mut all = self.one()?;
        while self.takes(&Token::Word("and")) {
            all = Expression::And(Box::new([all, self.one()?]));
        }
        Ok(all)
    }

    fn one(&mut self) -> Result<Expression, Wrong> {
        let mut negated = false;
        while self.takes(&Token::Word("not")) {
            negated = !negated;
        }
        let one = match self.takes(&Token::Sign("(")) {
            true => {
                let inner = self.or()?;
                if !self.takes(&Token::Sign(")")) {
                    return Err(self.wrong("`)` is expected here"));
                }
                inner
            }
            false => self.test()?,
        };
        Ok(if negated { Expression::Not(Box::new(one)) } else { one })
    }

    fn test(&mut self) -> Result<Expression, Wrong> {
        if let Some(Token::Text(_)) = self.peek() {
            let value = self.value()?;
            let negated = self.takes(&Token::Word("not"));
            if !self.takes(&Token::Word("in")) {
                return Err(self.wrong("`in` is expected after a value"));
            }
            return Ok(negate(negated, Expression::Test(self.field()?, Test::Contains(value))));
        }
        let field = self.field()?;
        let operators = [
            ("==", Operator::Equal),
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        if let Some((_, operator)) = operators.into_iter().find(|(sign, _)| self.takes(&Token::Sign(sign))) {
            return Ok(Expression::Test(field, Test::Compared(operator, self.value()?)));
        }
        if self.takes(&Token::Sign("!=")) {
            return Ok(negate(true, Expression::Test(field, Test::Compared(Operator::Equal, self.value()?))));
        }
        if self.takes(&Token::Word("is")) {
            let negated = self.takes(&Token::Word("not"));
            return match self.takes(&Token::Word("empty")) {
                true => Ok(negate(negated, Expression::Test(field, Test::Empty))),
                false => Err(self.wrong("`empty` or `not empty` is expected after `is`")),
            };
        }
        let negated = self.takes(&Token::Word("not"));
        let test = match () {
            () if self.takes(&Token::Word("contains")) => Test::Contains(self.value()?),
            () if self.takes(&Token::Word("matches")) => Test::Matches(self.pattern()?),
            () => return Err(self.wrong("==, !=, <, >, contains, matches or is is expected after a field")),
        };
        Ok(negate(negated, Expression::Test(field, test)))
    }

    fn field(&mut self) -> Result<Field, Wrong> {
        let Some(Token::Word(word)) = self.peek() else {
            return Err(self.wrong("the name of a field is expected here"));
        };
        self.place += 1;
        let mut field: Field = word.split('.').map(str::to_owned).collect();
        while self.takes(&Token::Sign("[")) {
            field.push(self.value()?);
            if !self.takes(&Token::Sign("]")) {
                return Err(self.wrong("`]` is expected here"));
            }
        }
        Ok(field)
    }

    fn pattern(&mut self) -> Result<Regex, Wrong> {
        let place = self.place;
        let text = self.value()?;
        self.patterns += 1;
        let wrong = |message: String| {
            let at = self.tokens.get(place).map_or(self.end, |(at, _)| *at);
            Wrong { at, message }
        };
        if self.patterns > MOST_PATTERNS {
            return Err(wrong(format!("a filter has at most {MOST_PATTERNS} patterns")));
        }
        let built = RegexBuilder::new(&text).size_limit(LARGEST_PATTERN).dfa_size_limit(LARGEST_PATTERN).build();
        built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                wrong(format!("this pattern takes more than {LARGEST_PATTERN} bytes; repeat less in it"))
            }
            error => wrong(format!("no regular expression: {}", error.to_string().lines().last().unwrap_or(""))),
        })
    }

    fn value(&mut self) -> Result<String, Wrong> {
        match self.peek() {
            Some(Token::Text(text) | Token::Word(text)) => {
                self.place += 1;
                Ok((*text).to_owned())
            }
            _ => Err(self.wrong("a value is expected here")),
        }
    }
}

fn negate(negated: bool, inner: Expression) -> Expression {
    if negated { Expression::Not(Box::new(inner)) } else { inner }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(text: &str) -> bool {
        let item = json!({
            "name": "reviews", "health": "failing", "stale": false, "versions": ["v1", "v2"], "conflicts": [],
            "endpoints": { "total": 3 }, "labels": { "app": "reviews", "app.kubernetes.io/name": "r" }, "host": null,
        });
        Expression::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}")).holds(&item)
    }

    #[test]
    fn conditions_are_as_consul_has_them() {
        for yes in [
            "name == reviews",
            "name == \"reviews\" and health != healthy",
            "health == healthy or endpoints.total >= 3",
            "not (name contains \"rat\") and stale == false",
            "\"v2\" in versions and `v3` not in versions",
            "conflicts is empty and versions is not empty and host is empty",
            "name matches \"^re.*s$\" and name not matches \"x\"",
            "labels.app == reviews and labels[\"app.kubernetes.io/name\"] == r and \"app\" in labels",
            "labels.none is empty and labels.none != x",
            "endpoints.total == 3.0",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in ["name == rev", "endpoints.total > 3", "name < 3", "not not name == x", "a == b or c == d"] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("name", 4),
            ("name =", 5),
            ("name == \"x", 8),
            ("name == x y", 10),
            ("(name == x", 10),
            ("name matches \"(\"", 13),
            ("name is full", 8),
            ("ünter == 1", 0),
            ("name == \"äöü\" ünd", 14),
            ("\"ä\" in", 6),
            ("labels[\"a\" == 1", 11),
        ] {
            let wrong = Expression::parse(text).unwrap_err();
            assert_eq!(wrong.at, at, "{text}: {wrong}");
        }
        assert!(Expression::parse(&"(".repeat(1000)).is_err() && Expression::parse(&"x".repeat(5000)).is_err());
        assert_eq!(Expression::parse(&"ä".repeat(LONGEST + 1)).unwrap_err().at, LONGEST);
    }

    #[test]
    fn patterns_are_few_and_small() {
        let several = |count: usize| vec!["name matches \"^r\""; count].join(" or ");
        assert!(holds(&several(MOST_PATTERNS)));
        let wrong = Expression::parse(&several(MOST_PATTERNS + 1)).unwrap_err();
        assert_eq!(wrong.at, several(MOST_PATTERNS + 1).rfind("\"^r\"").unwrap());
        assert!(wrong.to_string().contains("at most 8 patterns"), "{wrong}");
        let wrong = Expression::parse(r#"name matches "\w{1000}""#).unwrap_err().to_string();
        assert!(wrong.starts_with("at character 14: this pattern takes more than 1048576 bytes"), "{wrong}");
    }

    #[test]
    fn it_is_known_what_is_asked_for() {
        let all = Expression::parse("labels.app == x and (not host is empty or \"a\" in labels)").unwrap();
        assert_eq!(all.fields(), ["labels", "host", "labels"]);
    }
}
