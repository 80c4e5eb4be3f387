//! What a tree comes to. `None` is CEL's error: `&&` and `||` forgive it on one side where the other decides.

use std::cmp::Ordering;

use super::Attributes;
use super::parser::{Function, Operator, Relation, Tree};
use super::value::Value;

pub fn tree<'a>(tree: &'a Tree, of: &'a impl Attributes) -> Option<Value<'a>> {
    let value = |part: &'a Tree| self::tree(part, of);
    let flag = |part: &'a Tree| match value(part) {
        Some(Value::Bool(flag)) => Some(flag),
        _ => None,
    };
    Some(match tree {
        Tree::Literal(literal) => literal.clone(),
        Tree::List(items) => Value::List(items.iter().map(value).collect::<Option<_>>()?),
        Tree::One(attribute) => of.attribute(*attribute)?,
        Tree::Entry(map, key) => of.entry(*map, &lower(value(key)?)?)?,
        Tree::HasKey(key, map) => Value::Bool(of.entry(*map, &lower(value(key)?)?).is_some()),
        Tree::Has(attribute) => Value::Bool(of.attribute(*attribute).is_some()),
        Tree::Not(part) => Value::Bool(!flag(part)?),
        Tree::Negative(part) => match value(part)? {
            Value::Int(number) => Value::Int(number.checked_neg()?),
            Value::Double(number) => Value::Double(-number),
            _ => return None,
        },
        Tree::And(parts) => Value::Bool(decided(false, flag(&parts[0]), || flag(&parts[1]))?),
        Tree::Or(parts) => Value::Bool(decided(true, flag(&parts[0]), || flag(&parts[1]))?),
        Tree::Binary(operator, parts) => binary(*operator, value(&parts[0])?, value(&parts[1])?)?,
        Tree::Conditional(parts) => value(if flag(&parts[0])? { &parts[1] } else { &parts[2] })?,
        Tree::In(parts) => {
            let Value::List(items) = value(&parts[1])? else { return None };
            let wanted = value(&parts[0])?;
            Value::Bool(items.iter().any(|item| equal(item, &wanted)))
        }
        Tree::Call(function, part) => call(*function, value(part)?)?,
        Tree::CallWith(relation, parts) => {
            let (Value::Text(text), Value::Text(part)) = (value(&parts[0])?, value(&parts[1])?) else { return None };
            Value::Bool(match relation {
                Relation::StartsWith => text.starts_with(&*part),
                Relation::EndsWith => text.ends_with(&*part),
                Relation::Contains => text.contains(&*part),
            })
        }
        Tree::Matches(part, regex) => {
            let Value::Text(text) = value(part)? else { return None };
            Value::Bool(regex.is_match(&text))
        }
    })
}

/// One side is enough if it is `by`, even where the other has no value.
fn decided(by: bool, one: Option<bool>, other: impl FnOnce() -> Option<bool>) -> Option<bool> {
    match one {
        Some(one) if one == by => Some(by),
        Some(_) => other(),
        None => other().filter(|other| *other == by),
    }
}

fn lower(key: Value<'_>) -> Option<String> {
    match key {
        Value::Text(text) => Some(text.to_ascii_lowercase()),
        _ => None,
    }
}

fn equal(one: &Value<'_>, other: &Value<'_>) -> bool {
    match order(one, other) {
        Some(order) => order == Ordering::Equal,
        None => one == other,
    }
}

/// How two values of one kind stand to each other. Numbers are of one kind.
fn order(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    match (one, other) {
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        (Value::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn binary<'a>(operator: Operator, one: Value<'a>, other: Value<'a>) -> Option<Value<'a>> {
    let compared = |holds: fn(Ordering) -> bool| order(&one, &other).map(|order| Value::Bool(holds(order)));
    match operator {
        Operator::Equal => Some(Value::Bool(equal(&one, &other))),
        Operator::NotEqual => Some(Value::Bool(!equal(&one, &other))),
        Operator::Less => compared(Ordering::is_lt),
        Operator::AtMost => compared(Ordering::is_le),
        Operator::Greater => compared(Ordering::is_gt),
        Operator::AtLeast => compared(Ordering::is_ge),
        arithmetic => calculate(arithmetic, one, other),
    }
}

fn calculate<'a>(operator: Operator, one: Value<'a>, other: Value<'a>) -> Option<Value<'a>> {
    Some(match (one, other) {
        (Value::Int(a), Value::Int(b)) => Value::Int(match operator {
            Operator::Add => a.checked_add(b)?,
            Operator::Subtract => a.checked_sub(b)?,
            Operator::Multiply => a.checked_mul(b)?,
            Operator::Divide => a.checked_div(b)?,
            _ => a.checked_rem(b)?,
        }),
        (Value::Double(a), Value::Double(b)) => Value::Double(match operator {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => a / b,
            _ => return None,
        }),
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(match operator {
            Operator::Add => a.checked_add(b)?,
            Operator::Subtract => a.checked_sub(b)?,
            _ => return None,
        }),
        (Value::Text(a), Value::Text(b)) if operator == Operator::Add => Value::Text(a + b),
        _ => return None,
    })
}

fn call(function: Function, of: Value<'_>) -> Option<Value<'_>> {
    Some(match (function, of) {
        (Function::Text, of @ Value::Text(_)) => of,
        (Function::Text, Value::Null | Value::List(_)) => return None,
        (Function::Text, of) => Value::text(of.to_string()),
        (Function::Int, Value::Text(text)) => Value::Int(text.parse().ok()?),
        (Function::Int, Value::Double(number)) => Value::Int(number as i64),
        (Function::Int, of @ Value::Int(_)) => of,
        (Function::Double, Value::Text(text)) => Value::Double(text.parse().ok()?),
        (Function::Double, Value::Int(number)) => Value::Double(number as f64),
        (Function::Double, of @ Value::Double(_)) => of,
        (Function::Size, Value::Text(text)) => Value::count(text.chars().count() as u64),
        (Function::Size, Value::List(items)) => Value::count(items.len() as u64),
        (Function::Duration, Value::Text(text)) => Value::Duration(nanoseconds(&text)?),
        (Function::Duration, of @ Value::Duration(_)) => of,
        _ => return None,
    })
}

/// `1.5s`, `250ms`.
fn nanoseconds(text: &str) -> Option<i64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit].parse().ok()?;
    let of_unit = match &text[unit..] {
        "h" => 3_600e9,
        "m" => 60e9,
        "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        _ => return None,
    };
    Some((number * of_unit) as i64)
}
