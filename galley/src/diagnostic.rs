//! What is wrong with a configuration object, where, and what to do about it.

use std::fmt;

/// One finding. The code is Istio's message code (`IST0101`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: &'static str,
    pub severity: Severity,
    /// The file, or whatever the text was read from (`<stdin>`).
    pub file: String,
    /// Both count from 1; 0 when there is no place in a text to point at.
    pub line: u32,
    pub column: u32,
    /// The place in the document: `spec.http[0].route[0].weight`; may be empty.
    pub path: String,
    pub message: String,
    /// What was probably meant, if it can be guessed.
    pub suggestion: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

/// Codes in use, by Istio's names, and two of ours.
pub mod code {
    pub const DEPRECATED: &str = "IST0002";
    pub const REFERENCE_NOT_FOUND: &str = "IST0101";
    pub const SCHEMA_ERROR: &str = "IST0106";
    pub const CONFLICTING_MESH_HOSTS: &str = "IST0109";
    pub const UNREACHABLE_RULE: &str = "IST0130";
    pub const SCHEMA_WARNING: &str = "IST0133";
    pub const ADDRESSES_REQUIRED: &str = "IST0134";

    /// Ours: the object is not at the revision that its author saw.
    pub const MOVED: &str = "WFT1108";
    /// Ours: a VirtualService for a host of another namespace, which callers of third ones do not heed.
    pub const FOREIGN_HOST: &str = "WFT1109";

    /// What Istio calls a message of this code, and whether it is an error to Istio's analysis.
    pub fn istio(code: &str) -> (&'static str, bool) {
        match code {
            DEPRECATED => ("Deprecated", false),
            REFERENCE_NOT_FOUND => ("ReferencedResourceNotFound", true),
            CONFLICTING_MESH_HOSTS => ("ConflictingMeshGatewayVirtualServiceHosts", true),
            UNREACHABLE_RULE => ("VirtualServiceUnreachableRule", false),
            SCHEMA_WARNING => ("SchemaWarning", false),
            FOREIGN_HOST => ("VirtualServiceHostOfAnotherNamespace", false),
            ADDRESSES_REQUIRED => ("ServiceEntryAddressesRequired", false),
            _ => ("SchemaValidationError", true),
        }
    }
}

impl Diagnostic {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
            None => Ok(()),
        }
    }
}

/// Why a text or a request was refused. Nothing of it took effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// All findings, errors and warnings, in the order of the text; at least one error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Rejection {
    /// A refusal for a reason that no place in a text is to blame for.
    pub fn because(origin: &str, message: impl Into<String>) -> Self {
        Self { diagnostics: vec![Diagnostic::general(origin, message)] }
    }

    /// Whether it is refused only because it was changed meanwhile.
    pub fn is_moved(&self) -> bool {
        self.diagnostics.iter().any(|found| found.code == code::MOVED)
    }

    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|found| found.is_error())
    }
}

impl Diagnostic {
    pub(crate) fn general(origin: &str, message: impl Into<String>) -> Self {
        Self {
            code: code::SCHEMA_ERROR,
            severity: Severity::Error,
            file: origin.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message: message.into(),
            suggestion: None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, found) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            found.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}
