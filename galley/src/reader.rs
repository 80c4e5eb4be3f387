//! Reads typed values out of a tree, keeping the path and the place of each, and collects everything wrong on the way.
//!
//! A reader that meets an error reports it and goes on with a default: whoever reads must not use the result of a
//! report that holds errors.

mod object;
mod text;
mod value;

use std::cell::RefCell;

pub(crate) use object::Object;
pub(crate) use text::closest;

use crate::diagnostic::{Diagnostic, Severity, code};
use crate::yaml::{Mark, Node};

/// All findings in one text.
#[derive(Debug, Default)]
pub(crate) struct Report {
    file: String,
    found: RefCell<Vec<Diagnostic>>,
}

/// A value in the tree, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub node: &'a Node,
    /// Where to point at: usually the value; the key for what concerns the field.
    pub at: Mark,
    pub path: String,
    report: &'a Report,
}

impl Report {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: RefCell::default() }
    }

    pub fn add(&self, code: &'static str, severity: Severity, at: Mark, path: &str, message: String) {
        self.push(Diagnostic {
            code,
            severity,
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message,
            suggestion: None,
        });
    }

    pub fn push(&self, found: Diagnostic) {
        self.found.borrow_mut().push(found);
    }

    /// In the order of the text.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|found| (found.line, found.column));
        found
    }
}

impl<'a> Place<'a> {
    pub fn new(node: &'a Node, path: &str, report: &'a Report) -> Self {
        Self { node, at: node.at, path: path.to_owned(), report }
    }

    /// A part of this value.
    fn child(&self, node: &'a Node, path: String) -> Self {
        Self { node, at: node.at, path, report: self.report }
    }

    pub fn error(&self, message: impl Into<String>) {
        self.report.add(code::SCHEMA_ERROR, Severity::Error, self.at, &self.path, message.into());
    }

    pub fn warn(&self, code: &'static str, message: impl Into<String>) {
        self.report.add(code, Severity::Warning, self.at, &self.path, message.into());
    }

    pub fn suggest(&self, message: impl Into<String>, suggestion: Option<String>) {
        self.report.push(Diagnostic {
            code: code::SCHEMA_ERROR,
            severity: Severity::Error,
            file: self.report.file.clone(),
            line: self.at.line,
            column: self.at.column,
            path: self.path.clone(),
            message: message.into(),
            suggestion,
        });
    }
}
