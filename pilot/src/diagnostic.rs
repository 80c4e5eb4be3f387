//! What the compile has to say to operators. A diagnostic never stops a push.

use std::fmt;

/// One finding about a resource, in an operator's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// A stable word for the kind of finding, for filters and counters.
    pub code: Code,
    /// The object it is about: `VirtualService default/reviews`.
    pub object: String,
    pub message: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// A route leads to a host that no registry knows.
    UnknownHost,
    /// A route leads to a subset that no DestinationRule declares.
    UnknownSubset,
    /// A route leads to a port that the service does not have, or does not say which of several.
    UnknownPort,
    /// A delegate is missing, delegates again, or matches what its root does not.
    BadDelegate,
    /// Two objects claim the same host, name or port; the older has it.
    Conflict,
    /// A Secret that is named is not there, or does not hold what is needed.
    MissingSecret,
    /// A gateway serves with a private key that it may not have.
    WithheldKey,
    /// Telemetry is to go to a provider that there is not, or that takes none of its kind.
    UnknownProvider,
    /// A provider is asked over gRPC at a port that speaks no HTTP/2, or a rule looks at HTTP on a port that speaks none.
    WrongProtocol,
    /// The field is understood but cannot be served here.
    Unsupported,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown-host",
            Self::UnknownSubset => "unknown-subset",
            Self::UnknownPort => "unknown-port",
            Self::BadDelegate => "bad-delegate",
            Self::Conflict => "conflict",
            Self::MissingSecret => "missing-secret",
            Self::WithheldKey => "withheld-key",
            Self::UnknownProvider => "unknown-provider",
            Self::WrongProtocol => "wrong-protocol",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.object, self.message, self.code.as_str())
    }
}

/// Collects findings; the same finding twice is one.
#[derive(Debug, Default)]
pub(crate) struct Findings(std::collections::BTreeSet<Diagnostic>);

impl Findings {
    pub fn add(&mut self, code: Code, object: impl Into<String>, message: impl Into<String>) {
        self.0.insert(Diagnostic { code, object: object.into(), message: message.into() });
    }

    pub fn extend(&mut self, others: &[Diagnostic]) {
        self.0.extend(others.iter().cloned());
    }

    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.0.into_iter().collect()
    }
}
