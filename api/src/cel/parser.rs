//! From tokens to a tree, by CEL's precedence: `?:`, `||`, `&&`, comparisons, `+ -`, `* / %`, `! -`, members.

use regex::Regex;

use super::CelError;
use super::attribute::{self, Attribute, Kind, Map};
use super::lexer::{Token, tokens};
use super::value::Value;

#[derive(Clone, Debug)]
pub enum Tree {
    Literal(Value<'static>),
    List(Vec<Tree>),
    One(Attribute),
    Entry(Map, Box<Tree>),
    Not(Box<Tree>),
    Negative(Box<Tree>),
    And(Box<[Tree; 2]>),
    Or(Box<[Tree; 2]>),
    Binary(Operator, Box<[Tree; 2]>),
    Conditional(Box<[Tree; 3]>),
    In(Box<[Tree; 2]>),
    HasKey(Box<Tree>, Map),
    Has(Attribute),
    Call(Function, Box<Tree>),
    CallWith(Relation, Box<[Tree; 2]>),
    Matches(Box<Tree>, Regex),
}

impl Tree {
    pub fn is_condition(&self) -> bool {
        match self {
            Self::Literal(value) => matches!(value, Value::Bool(_)),
            Self::One(attribute) => *attribute == Attribute::ConnectionMtls,
            Self::Conditional(parts) => parts[1..].iter().all(Self::is_condition),
            Self::Not(inner) => inner.is_condition(),
            Self::And(both) | Self::Or(both) => both.iter().all(Self::is_condition),
            Self::Binary(operator, _) => {
                use Operator::{AtLeast, AtMost, Equal, Greater, Less, NotEqual};
                matches!(operator, Equal | NotEqual | Less | AtMost | Greater | AtLeast)
            }
            Self::In(_) | Self::HasKey(..) | Self::Has(_) | Self::CallWith(..) | Self::Matches(..) => true,
            Self::List(_) | Self::Entry(..) | Self::Negative(_) | Self::Call(..) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Functions of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Text,
    Int,
    Double,
    Size,
    Duration,
}

/// What may be asked of one text about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    StartsWith,
    EndsWith,
    Contains,
}

/// Trees that are deeper are refused.
const DEEPEST: usize = 64;
const LONGEST: usize = 4096;
const MOST_TOKENS: usize = 500;

pub fn parse(text: &str) -> Result<Tree, CelError> {
    if text.len() > LONGEST {
        return Err(CelError { at: LONGEST, message: format!("an expression has at most {LONGEST} characters") });
    }
    let tokens = tokens(text)?;
    if tokens.len() > MOST_TOKENS {
        let message = format!("an expression has at most {MOST_TOKENS} words and signs");
        return Err(CelError { at: text.len(), message });
    }
    let mut parser = Parser { tokens: &tokens, place: 0, depth: 0 };
    let tree = parser.conditional()?;
    match parser.peek() {
        Token::End => Ok(tree),
        _ => Err(parser.wrong("an operator or the end is expected here")),
    }
}

struct Parser<'t> {
    tokens: &'t [(usize, Token<'t>)],
    place: usize,
    depth: usize,
}

type Parsed = Result<Tree, CelError>;

impl<'t> Parser<'t> {
    fn peek(&self) -> &'t Token<'t> {
        &self.tokens[self.place].1
    }

    fn at(&self) -> usize {
        self.tokens[self.place].0
    }

    /// The end stays.
    fn next(&mut self) -> &'t Token<'t> {
        let token = self.peek();
        self.place = (self.place + 1).min(self.tokens.len() - 1);
        token
    }

    fn wrong(&self, message: impl Into<String>) -> CelError {
        CelError { at: self.at(), message: message.into() }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if there {
            self.next();
        }
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        if self.takes(sign) { Ok(()) } else { Err(self.wrong(format!("{sign:?} is expected here"))) }
    }

    fn conditional(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("the expression is nested too deep"));
        }
        let condition = self.or()?;
        let tree = if self.takes("?") {
            let holds = self.or()?;
            self.expect(":")?;
            Tree::Conditional(Box::new([condition, holds, self.conditional()?]))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn or(&mut self) -> Parsed {
        let mut tree = self.and()?;
        while self.takes("||") {
            tree = Tree::Or(Box::new([tree, self.and()?]));
        }
        Ok(tree)
    }

    fn and(&mut self) -> Parsed {
        let mut tree = self.comparison()?;
        while self.takes("&&") {
            tree = Tree::And(Box::new([tree, self.comparison()?]));
        }
        Ok(tree)
    }

    fn comparison(&mut self) -> Parsed {
        const SIGNS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let mut tree = self.sum()?;
        loop {
            if matches!(self.peek(), Token::Word("in")) {
                self.next();
                tree = self.member_of(tree)?;
                continue;
            }
            let Some((_, operator)) = SIGNS.into_iter().find(|(sign, _)| self.takes(sign)) else { return Ok(tree) };
            tree = Tree::Binary(operator, Box::new([tree, self.sum()?]));
        }
    }

    /// What follows `in`: a list, or the name of what holds values by key.
    fn member_of(&mut self, key: Tree) -> Parsed {
        let at = self.place;
        if let Token::Word(_) = self.peek()
            && let (_, Kind::Map(map)) = self.name()?
        {
            return Ok(Tree::HasKey(Box::new(key), map));
        }
        self.place = at;
        Ok(Tree::In(Box::new([key, self.sum()?])))
    }

    fn sum(&mut self) -> Parsed {
        let mut tree = self.product()?;
        loop {
            let operator = match () {
                () if self.takes("+") => Operator::Add,
                () if self.takes("-") => Operator::Subtract,
                () => return Ok(tree),
            };
            tree = Tree::Binary(operator, Box::new([tree, self.product()?]));
        }
    }

    fn product(&mut self) -> Parsed {
        let mut tree = self.unary()?;
        loop {
            let operator = match () {
                () if self.takes("*") => Operator::Multiply,
                () if self.takes("/") => Operator::Divide,
                () if self.takes("%") => Operator::Remainder,
                () => return Ok(tree),
            };
            tree = Tree::Binary(operator, Box::new([tree, self.unary()?]));
        }
    }

    fn unary(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("the expression is nested too deep"));
        }
        let tree = if self.takes("!") {
            Tree::Not(Box::new(self.unary()?))
        } else if self.takes("-") {
            Tree::Negative(Box::new(self.unary()?))
        } else {
            self.member()?
        };
        self.depth -= 1;
        Ok(tree)
    }

    /// A value, and what is asked of it.
    fn member(&mut self) -> Parsed {
        let mut tree = self.primary()?;
        while self.takes(".") {
            let at = self.at();
            let Token::Word(name) = *self.next() else {
                return Err(CelError { at, message: "a name is expected after the dot".to_owned() });
            };
            tree = self.method(name, tree, at)?;
        }
        Ok(tree)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        match self.peek() {
            Token::Int(number) => self.literal(Value::Int(*number)),
            Token::Double(number) => self.literal(Value::Double(*number)),
            Token::Text(text) => self.literal(Value::text(text.clone())),
            Token::Word("true") => self.literal(Value::Bool(true)),
            Token::Word("false") => self.literal(Value::Bool(false)),
            Token::Word("null") => self.literal(Value::Null),
            Token::Word(_) => self.named(),
            Token::Sign("(") => {
                self.next();
                let tree = self.conditional()?;
                self.expect(")")?;
                Ok(tree)
            }
            Token::Sign("[") => {
                self.next();
                Ok(Tree::List(self.arguments("]")?))
            }
            Token::End => Err(CelError { at, message: "the expression ends too early".to_owned() }),
            Token::Sign(sign) => Err(CelError { at, message: format!("{sign:?} is not expected here") }),
        }
    }

    fn literal(&mut self, value: Value<'static>) -> Parsed {
        self.next();
        Ok(Tree::Literal(value))
    }

    /// Values up to a closing sign.
    fn arguments(&mut self, end: &str) -> Result<Vec<Tree>, CelError> {
        let mut arguments = Vec::new();
        while !self.takes(end) {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.conditional()?);
        }
        Ok(arguments)
    }

    /// A function of the global kind, or an attribute.
    fn named(&mut self) -> Parsed {
        let at = self.at();
        if let (Token::Word(name), Some((_, Token::Sign("(")))) = (self.peek(), self.tokens.get(self.place + 1)) {
            self.place += 2;
            return self.call(name, at);
        }
        match self.name()? {
            (_, Kind::One(attribute)) => Ok(Tree::One(attribute)),
            (name, Kind::Map(map)) => {
                let key = self.key(&name)?;
                Ok(Tree::Entry(map, Box::new(key)))
            }
        }
    }

    /// A dotted name, as far as it is one of an attribute: what follows may be a method.
    fn name(&mut self) -> Result<(String, Kind), CelError> {
        let at = self.at();
        let mut name = String::new();
        while let Token::Word(part) = self.peek() {
            name.push_str(part);
            self.next();
            if let Some(kind) = attribute::named(&name) {
                return Ok((name, kind));
            }
            if !self.takes(".") {
                break;
            }
            name.push('.');
        }
        Err(CelError { at, message: attribute::unknown(name.trim_end_matches('.')) })
    }

    /// `["key"]`, or `.key`.
    fn key(&mut self, name: &str) -> Parsed {
        if self.takes("[") {
            let key = self.conditional()?;
            self.expect("]")?;
            return Ok(key);
        }
        if self.takes(".")
            && let Token::Word(key) = self.peek()
        {
            return self.literal(Value::text((*key).to_owned()));
        }
        Err(self.wrong(format!("{name} holds values by name: write {name}[\"…\"]")))
    }

    fn call(&mut self, name: &str, at: usize) -> Parsed {
        if name == "has" {
            return self.has(at);
        }
        let function = match name {
            "string" => Function::Text,
            "int" | "uint" => Function::Int,
            "double" => Function::Double,
            "size" => Function::Size,
            "duration" => Function::Duration,
            _ => return Err(CelError { at, message: no_function(name) }),
        };
        let mut arguments = self.arguments(")")?;
        match (arguments.pop(), arguments.is_empty()) {
            (Some(of), true) => Ok(Tree::Call(function, Box::new(of))),
            _ => Err(CelError { at, message: format!("{name}() takes one value") }),
        }
    }

    /// `has(request.referer)`, `has(request.headers.accept)`: CEL knows no other form.
    fn has(&mut self, at: usize) -> Parsed {
        let tree = match self.name()? {
            (_, Kind::One(attribute)) => Tree::Has(attribute),
            (name, Kind::Map(map)) => {
                self.takes(".");
                let Token::Word(key) = *self.peek() else {
                    let message = format!("has() takes a field; for others write \"…\" in {name}");
                    return Err(CelError { at, message });
                };
                self.next();
                Tree::HasKey(Box::new(Tree::Literal(Value::text(key.to_owned()))), map)
            }
        };
        self.expect(")")?;
        Ok(tree)
    }

    fn method(&mut self, name: &str, of: Tree, at: usize) -> Parsed {
        if !self.takes("(") {
            return Err(CelError { at, message: format!("{name:?} is no part of what stands before it") });
        }
        let mut arguments = self.arguments(")")?;
        if name == "size" && arguments.is_empty() {
            return Ok(Tree::Call(Function::Size, Box::new(of)));
        }
        let relation = match name {
            "startsWith" => Some(Relation::StartsWith),
            "endsWith" => Some(Relation::EndsWith),
            "contains" => Some(Relation::Contains),
            "matches" => None,
            _ => return Err(CelError { at, message: no_function(name) }),
        };
        let (Some(with), true) = (arguments.pop(), arguments.is_empty()) else {
            return Err(CelError { at, message: format!("{name}() takes one value") });
        };
        match relation {
            Some(relation) => Ok(Tree::CallWith(relation, Box::new([of, with]))),
            None => matches(of, &with).map_err(|message| CelError { at, message }),
        }
    }
}

fn matches(of: Tree, pattern: &Tree) -> Result<Tree, String> {
    let Tree::Literal(Value::Text(pattern)) = pattern else {
        return Err("matches() takes a regular expression that is written out".to_owned());
    };
    let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
    let regex = regex.map_err(|_| format!("{pattern:?} is no regular expression (RE2)"))?;
    Ok(Tree::Matches(Box::new(of), regex))
}

fn no_function(name: &str) -> String {
    let known = "string, int, double, size, duration, has, startsWith, endsWith, contains and matches";
    format!("there is no function {name:?} here; there are {known}")
}
