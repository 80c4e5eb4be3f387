//! Everything that can be wrong with a mesh, by a code that never changes its meaning. The list of problems, the
//! console, `weft check` and `weft doctor` all speak of these.
//!
//! 10xx the control plane · 11xx configuration · 12xx registries and services · 13xx proxies · 14xx identity ·
//! 15xx the machine · 16xx traffic.

/// One kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `WFT1101`
    pub code: &'static str,
    pub severity: Severity,
    pub title: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    Info,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $severity:ident, $title:literal, $hint:literal;)*) => {
        $(pub const $name: Code =
            Code { code: $code, severity: Severity::$severity, title: $title, hint: $hint };)*
        /// All of them, by code.
        pub const ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    UNREACHABLE = "WFT1001", Error, "The control plane cannot be reached",
        "start it with `weft up` or `weft control-plane`, or give --api";
    VERSION_SKEW = "WFT1002", Warning, "A proxy and the control plane are of different versions",
        "update the older one; proxies one minor version behind are fine while you do";
    CLOCK_SKEW = "WFT1003", Error, "The clocks of this machine and of the control plane differ",
        "set the clock by NTP: certificates are valid for an hour only, and a wrong clock refuses them";
    REFUSED = "WFT1101", Error, "Configuration is refused",
        "correct the place that is named; what was in force before stays in force until then";
    DANGLING = "WFT1102", Warning, "A rule refers to something that is not there",
        "apply what is missing, or correct the name: requests that meet this rule fail or are not matched";
    CLAIMED_TWICE = "WFT1103", Warning, "Two objects claim the same",
        "one is in force, mostly the older, and the other is not; merge the two, or delete one";
    DOUBTFUL = "WFT1104", Warning, "A rule does not do what it seems to",
        "read the message: the rule is in force, and part of it has no effect";
    UNSERVED = "WFT1105", Warning, "A field is understood and cannot be served here",
        "take the field out, or use what the message names instead";
    UNKNOWN_PORT = "WFT1106", Warning, "A route does not say which port, or one that there is not",
        "give the destination a port.number that the service has";
    BAD_DELEGATE = "WFT1107", Warning, "A VirtualService delegates to nothing usable",
        "apply the delegate, and let it match only what its root matches";
    FOREIGN_HOST = "WFT1109", Warning, "A VirtualService is for a host of another namespace",
        "only callers of its own namespace heed it: apply it in the namespace of the host to route for all of them";
    FOREIGN_ADDRESS = "WFT1110", Warning, "A ServiceEntry names the address of another namespace's workload",
        "callers of its host are led there, and mutual TLS with that workload fails: name the workload's own service instead";
    REGISTRY_LOST = "WFT1201", Warning, "A registry is out of reach",
        "what it last told stays in force; see that its platform runs, and that address and credentials are right";
    REGISTRIES_DISAGREE = "WFT1202", Warning, "Registries disagree about a service",
        "the registry that comes first decides; make the platforms say the same";
    REGISTRY_FINDING = "WFT1203", Warning, "A platform says something that the mesh cannot use",
        "change it on that platform; all else it says is used";
    NO_ENDPOINTS = "WFT1204", Error, "A service has endpoints and none is healthy",
        "see why its workloads are not ready: `weft endpoints` lists them";
    REGISTRY_PAUSED = "WFT1205", Warning, "A registry is paused",
        "resume it, which reads it anew: weft registry resume NAME";
    NACK = "WFT1301", Error, "A proxy refused its configuration",
        "the proxy goes on with its last good configuration; the message names the field that it refuses";
    BEHIND = "WFT1302", Warning, "A proxy has not taken its newest configuration",
        "see that its machine is not overloaded; it takes it when it answers, or reconnects";
    CA_EXPIRES = "WFT1401", Warning, "The certificate authority ends soon",
        "put a new one in place before it does: proxies cannot prove who they are with an expired one";
    CA_EXPIRED = "WFT1402", Error, "The certificate authority has expired",
        "put a new one in place; until then no new connection between proxies is made";
    CERTIFICATE_EXPIRES = "WFT1403", Warning, "A workload's certificate was not renewed in time",
        "see that its proxy is connected and that its membership was not ended";
    DENIED = "WFT1404", Info, "Somebody is turned away by the deny list",
        "once the cause is mended, `weft ca allow` lets them back in";
    WITHHELD_KEY = "WFT1405", Warning, "A gateway gets no private keys",
        "if it is yours, grant them as the message says; the servers that need them are left out until then";
    ROOTS_HELD_BACK = "WFT1406", Warning, "Other roots of the certificate authority are not put in force",
        "what was in force stays so; wait for those who are named, correct the files, or put the old ones back: `weft ca status`";
    CUT_OFF = "WFT1407", Error, "Workloads have certificates under a root that is not trusted any more",
        "trust that root again beside the one that signs until they have others, or have them join again";
    AT_ODDS = "WFT1408", Error, "Control planes of one store do not trust each other's roots",
        "this one issues no certificate until they do: give both the roots of both, or end the one that is not of this mesh";
    SAME_NAME = "WFT1409", Error, "Two control planes go by one name",
        "one data directory is a copy of the other: remove control-plane/replica from the copy, and start it again";
    PORT_TAKEN = "WFT1501", Warning, "A port that the mesh uses is taken by another program",
        "stop the other program, or give weft another port";
    CAPTURE = "WFT1502", Warning, "The machine's rules of capture are not as they should be",
        "run `weft leave` and `weft join` again, or start the agent: it puts its rules back";
    DNS = "WFT1503", Warning, "Names of the mesh are not resolved on this machine",
        "see that the agent runs with --listen-dns, and that the machine asks it";
    REQUESTS_FAIL = "WFT1601", Error, "Requests fail",
        "open the edge to see which codes and which version; roll back what changed last";
    NOT_EXPORTED = "WFT1602", Warning, "An exporter of metrics cannot deliver",
        "see that what it sends to runs and takes it; totals are sent again until they are taken";
    REQUESTS_DENIED = "WFT1603", Warning, "Requests are denied by policy",
        "`weft authz check --from CALLER --to SERVICE` names the rule; let the caller in, or have it stop asking";
}

/// The code that is written so.
pub fn find(code: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|known| known.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_in_order_and_say_what_to_do() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        for code in ALL {
            let number = code.code.strip_prefix("WFT").map(str::len);
            assert!(number == Some(4) && !code.hint.is_empty() && !code.title.is_empty(), "{code:?}");
            assert_eq!(find(code.code), Some(*code));
        }
    }
}
