//! Reads the fields of an object; what nobody asked for is an unknown field.

use std::cell::RefCell;
use std::time::Duration;

use super::text::{closest, snake};
use super::{Place, Report};
use crate::kinds::{Labels, Percent};
use crate::yaml::{Pair, Value};

pub(crate) struct Object<'a> {
    place: Place<'a>,
    pairs: &'a [Pair],
    /// Fields asked for so far: those that exist.
    known: RefCell<Vec<&'static str>>,
    /// What was missed: under any of these names, and what to say unless it is there under a misspelt one.
    missed: RefCell<Vec<(Vec<String>, String)>>,
}

impl<'a> Place<'a> {
    /// Reads an object; a field that `read` did not ask for is an error. `None` if the value is no object.
    pub fn object<T>(&self, read: impl FnOnce(&Object<'a>) -> T) -> Option<T> {
        let Value::Map(pairs) = &self.node.value else {
            self.expected("an object");
            return None;
        };
        let object = Object { place: self.clone(), pairs, known: RefCell::default(), missed: RefCell::default() };
        let value = read(&object);
        let suggested = object.refuse_unknown();
        object.refuse_missing(&suggested);
        Some(value)
    }
}

impl<'a> Object<'a> {
    /// The object itself, to report what concerns all of it.
    pub fn place(&self) -> &Place<'a> {
        &self.place
    }

    pub fn report(&self) -> &'a Report {
        self.place.report
    }

    /// The value of a field under its JSON name or its proto name; null is absent.
    pub fn field(&self, name: &'static str) -> Option<Place<'a>> {
        self.known.borrow_mut().push(name);
        let snake = snake(name);
        let mut hits = self.pairs.iter().filter(|pair| pair.key == name || pair.key == snake);
        let pair = hits.next()?;
        if let Some(second) = hits.next() {
            self.key(second).error(format!("the same field as {:?}", pair.key));
        }
        (!pair.value.is_null()).then(|| self.place.child(&pair.value, self.path(&pair.key)))
    }

    /// The place of a field's name, for what concerns its being there.
    fn key(&self, pair: &'a Pair) -> Place<'a> {
        Place { at: pair.at, ..self.place.child(&pair.value, self.path(&pair.key)) }
    }

    fn path(&self, key: &str) -> String {
        match self.place.path.as_str() {
            "" => key.to_owned(),
            path if key.contains(['.', '/', '[']) => format!("{path}[{key:?}]"),
            path => format!("{path}.{key}"),
        }
    }

    /// Points at the name of a field that is there.
    fn named(&self, name: &str) -> Option<Place<'a>> {
        let snake = snake(name);
        let pair = self.pairs.iter().find(|pair| pair.key == name || pair.key == snake)?;
        (!pair.value.is_null()).then(|| self.key(pair))
    }

    pub fn has(&self, name: &str) -> bool {
        self.named(name).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Reports an error at the name of a field, or at the object if the field is not there.
    pub fn error_at(&self, name: &str, message: impl Into<String>) {
        match self.named(name) {
            Some(place) => place.error(message),
            None => self.miss(&[name], message),
        }
    }

    fn miss(&self, names: &[&str], message: impl Into<String>) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.missed.borrow_mut().push((names, message.into()));
    }

    pub fn warn_at(&self, code: &'static str, name: &str, message: impl Into<String>) {
        self.named(name).unwrap_or_else(|| self.place.clone()).warn(code, message);
    }

    /// Warns that a field is going away.
    pub fn deprecated(&self, name: &str, instead: &str) {
        if let Some(place) = self.named(name) {
            place.warn(crate::code::DEPRECATED, format!("deprecated; use {instead}"));
        }
    }

    /// Refuses a field that is part of the schema and cannot be honoured.
    pub fn refuse(&self, name: &'static str, why: &str) {
        if let Some(place) = self.field(name) {
            place.error(why);
        }
    }

    /// Reports every field after the first of those that exclude one another.
    pub fn at_most_one(&self, names: &[&str]) {
        let mut present = names.iter().filter(|name| self.has(name));
        let Some(first) = present.next() else { return };
        for name in present {
            self.error_at(name, format!("cannot be combined with {first}"));
        }
    }

    /// Reports the object if none of these fields is there.
    pub fn at_least_one(&self, names: &[&str]) {
        if !names.iter().any(|name| self.has(name)) {
            self.miss(names, format!("one of these is required: {}", names.join(", ")));
        }
    }

    pub fn required(&self, name: &'static str) -> Option<Place<'a>> {
        let found = self.field(name);
        if found.is_none() {
            self.miss(&[name], format!("{name} is required"));
        }
        found
    }

    pub fn read<T>(&self, name: &'static str, read: impl FnOnce(&Place<'a>) -> Option<T>) -> Option<T> {
        read(&self.field(name)?)
    }

    /// Reads every item of a list.
    pub fn each<T>(&self, name: &'static str, mut read: impl FnMut(&Place<'a>) -> Option<T>) -> Vec<T> {
        let items = self.field(name).map(|place| place.list()).unwrap_or_default();
        items.iter().filter_map(&mut read).collect()
    }

    pub fn text(&self, name: &'static str) -> String {
        self.field(name).and_then(|place| place.text()).unwrap_or_default()
    }

    /// A text that must be there and not be empty.
    pub fn required_text(&self, name: &'static str) -> String {
        let text = self.required(name).and_then(|place| {
            let text = place.text()?;
            if text.is_empty() {
                place.error("must not be empty");
            }
            Some(text)
        });
        text.unwrap_or_default()
    }

    pub fn texts(&self, name: &'static str) -> Vec<String> {
        self.each(name, |place| place.text())
    }

    pub fn flag(&self, name: &'static str) -> bool {
        self.flag_if_set(name).unwrap_or_default()
    }

    pub fn flag_if_set(&self, name: &'static str) -> Option<bool> {
        self.field(name)?.flag()
    }

    pub fn count(&self, name: &'static str) -> Option<u32> {
        self.field(name)?.count()
    }

    /// A count in which zero means not set.
    pub fn positive(&self, name: &'static str) -> Option<u32> {
        self.count(name).filter(|count| *count > 0)
    }

    pub fn port(&self, name: &'static str) -> Option<u16> {
        self.field(name)?.port()
    }

    /// A duration of at least a millisecond, in whole milliseconds.
    pub fn duration(&self, name: &'static str) -> Option<Duration> {
        self.field(name)?.duration()
    }

    /// As `duration`, but zero is allowed.
    pub fn duration_or_zero(&self, name: &'static str) -> Option<Duration> {
        self.field(name)?.duration_or_zero()
    }

    pub fn percent(&self, name: &'static str) -> Option<Percent> {
        self.field(name)?.percent()
    }

    pub fn labels(&self, name: &'static str) -> Labels {
        self.field(name).map(|place| place.labels()).unwrap_or_default()
    }

    pub fn choice<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.field(name)?.choice(choices)
    }

    /// Returns the fields that were probably meant.
    fn refuse_unknown(&self) -> Vec<String> {
        let mut suggested = Vec::new();
        let known = self.known.borrow();
        for pair in self.pairs {
            if known.iter().any(|name| *name == pair.key || snake(name) == pair.key) {
                continue;
            }
            let suggestion = closest(&pair.key, known.iter().copied());
            suggested.extend(suggestion.clone());
            self.key(pair).suggest("unknown field", suggestion);
        }
        suggested
    }

    /// A field that is there by a misspelt name is not also missing.
    fn refuse_missing(&self, suggested: &[String]) {
        for (names, message) in self.missed.take() {
            if !names.iter().any(|name| suggested.contains(name)) {
                self.place.error(message);
            }
        }
    }
}
