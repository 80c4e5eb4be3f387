//! From a text to words, numbers, texts and signs (CEL specification, syntax).

use super::CelError;

#[derive(Clone, Debug, PartialEq)]
pub enum Token<'t> {
    Word(&'t str),
    Int(i64),
    Double(f64),
    Text(String),
    Sign(&'static str),
    End,
}

/// The longer ones first.
const SIGNS: [&str; 23] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")", "[", "]", ".", ",", "?", ":",
    "=",
];

/// All of a text's tokens, with where each begins; the last is the end.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, CelError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or_default();
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = token(rest, first).map_err(|message| CelError { at, message })?;
        tokens.push((at, token));
        at += length;
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

fn token(rest: &str, first: char) -> Result<(Token<'_>, usize), String> {
    let raw = rest.strip_prefix(['r', 'R']).filter(|after| after.starts_with(['"', '\'']));
    if let Some(after) = raw {
        return quoted(after, true).map(|(text, length)| (Token::Text(text), length + 1));
    }
    if first == '"' || first == '\'' {
        return quoted(rest, false).map(|(text, length)| (Token::Text(text), length));
    }
    if first.is_ascii_digit() {
        return number(rest);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        return Ok((Token::Word(&rest[..end]), end));
    }
    let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
    let sign = sign.ok_or_else(|| format!("{first:?} has no meaning in an expression"))?;
    if sign == "=" {
        return Err("a comparison is written ==".to_owned());
    }
    Ok((Token::Sign(sign), sign.len()))
}

fn number(rest: &str) -> Result<(Token<'_>, usize), String> {
    let wrong = |text: &str| format!("{text:?} is no number");
    if let Some(digits) = rest.strip_prefix("0x") {
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let number = i64::from_str_radix(&digits[..end], 16).map_err(|_| wrong(&rest[..end + 2]))?;
        return Ok((Token::Int(number), end + 2));
    }
    let whole = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let fraction = rest[whole..].strip_prefix('.').filter(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    let Some(fraction) = fraction else {
        let number = rest[..whole].parse().map_err(|_| wrong(&rest[..whole]))?;
        // Whole numbers without a sign are numbers like others here.
        let unsigned = rest[whole..].starts_with(['u', 'U']);
        return Ok((Token::Int(number), whole + usize::from(unsigned)));
    };
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    let length = whole + 1 + end;
    let number = rest[..length].parse().map_err(|_| wrong(&rest[..length]))?;
    Ok((Token::Double(number), length))
}

/// A text between quotes, and its length with them.
fn quoted(rest: &str, raw: bool) -> Result<(String, usize), String> {
    let mut characters = rest.char_indices();
    let quote = characters.next().map(|(_, quote)| quote).unwrap_or_default();
    let mut text = String::new();
    while let Some((at, c)) = characters.next() {
        match c {
            c if c == quote => return Ok((text, at + 1)),
            '\\' if !raw => {
                let (_, escaped) = characters.next().ok_or("a text is not closed")?;
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '"' | '\'' | '`' | '?' => escaped,
                    other => return Err(format!("the escape \\{other} is not supported: write the character itself")),
                });
            }
            c => text.push(c),
        }
    }
    Err("a text is not closed".to_owned())
}
