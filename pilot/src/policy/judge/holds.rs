//! Three answers, and how they are put together: yes, no and why, open and what it turns on.

use std::fmt::Display;

use galley::kinds::Values;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    No(String),
    /// On what is not known.
    Open(Vec<String>),
}

impl Holds {
    /// All of them at once.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut open = Vec::new();
        for part in parts {
            match part {
                Self::Yes => {}
                Self::No(why) => return Self::No(why),
                Self::Open(on) => add(&mut open, &on),
            }
        }
        if open.is_empty() { Self::Yes } else { Self::Open(open) }
    }

    /// One of them.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let (mut open, mut reasons) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Self::Yes => return Self::Yes,
                Self::No(why) => reasons.push(why),
                Self::Open(on) => add(&mut open, &on),
            }
        }
        if open.is_empty() { Self::No(reasons.join("; ")) } else { Self::Open(open) }
    }
}

pub(super) fn add(open: &mut Vec<String>, on: &[String]) {
    for one in on {
        if !open.contains(one) {
            open.push(one.clone());
        }
    }
}

/// A field and its negation: one of the wanted values, and none of the unwanted.
pub(super) fn field<V: Display>(name: &str, about: &str, values: &Values<V>, is: impl Fn(&V) -> Option<bool>) -> Holds {
    let one_of = |values: &[V]| {
        let mut all = Some(false);
        for value in values {
            match is(value) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => all = None,
            }
        }
        all
    };
    let open = || Holds::Open(vec![about.to_owned()]);
    let wanted = match values.any.is_empty() {
        true => Holds::Yes,
        false => match one_of(&values.any) {
            Some(true) => Holds::Yes,
            Some(false) => Holds::No(format!("{about} is not in {name}: {}", list(values.any.iter()))),
            None => open(),
        },
    };
    let unwanted = match values.none.is_empty() {
        true => Holds::Yes,
        false => match one_of(&values.none) {
            Some(false) => Holds::Yes,
            Some(true) => Holds::No(format!("{about} is in {}: {}", negated(name), list(values.none.iter()))),
            None => open(),
        },
    };
    Holds::all([wanted, unwanted])
}

/// `notPaths` of `paths`.
fn negated(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| format!("not{}{}", first.to_ascii_uppercase(), letters.as_str()))
}

pub(super) fn list<V: Display>(values: impl Iterator<Item = V>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}
