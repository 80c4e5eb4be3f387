//! What is said in an object's status, in the shape that Istio gives it (IstioStatus, "Configuration Status Field").
//! Pure.

use serde_json::{Value as Json, json};

use crate::diagnostic::{Diagnostic, code};
use crate::state::Verdict;

const ANALYSIS: &str = "https://istio.io/latest/docs/reference/config/analysis";

/// What there is to say about one state of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    generation: i64,
    reconciled: Condition,
    passed: Condition,
    messages: Vec<Json>,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Report {
    /// Of an object at a generation, with what is wrong with it alone and among all others.
    pub fn new(generation: i64, verdict: &Verdict, across: &[Diagnostic]) -> Self {
        let findings: Vec<&Diagnostic> = verdict.findings.iter().chain(across).collect();
        let messages = findings.iter().map(|found| message(found)).collect();
        Self { generation, reconciled: reconciled(verdict), passed: passed(&findings), messages }
    }

    /// The status to write in place of the present one; `None` if that says all this already. Conditions of others
    /// stay, and so does the time of a transition that was none.
    pub fn status(&self, present: &Json, now: &str) -> Option<Json> {
        let ours = [&self.reconciled, &self.passed];
        let before: Vec<Json> = present["conditions"].as_array().cloned().unwrap_or_default();
        let find = |kind: &str| before.iter().find(|condition| condition["type"] == kind);
        let says = |condition: &Condition| {
            find(condition.kind).is_some_and(|known| {
                known["status"] == condition.word()
                    && known["reason"] == condition.reason
                    && known["message"] == condition.message.as_str()
            })
        };
        let same_generation = match &present["observedGeneration"] {
            Json::String(text) => *text == self.generation.to_string(),
            number => number.as_i64() == Some(self.generation),
        };
        let known_messages = present["validationMessages"].as_array().map_or(&[][..], Vec::as_slice);
        if same_generation && ours.iter().all(|condition| says(condition)) && known_messages == self.messages {
            return None;
        }
        let others = before.iter().filter(|known| ours.iter().all(|own| known["type"] != own.kind)).cloned();
        let own = ours.iter().map(|condition| condition.written(find(condition.kind), now));
        Some(json!({
            "observedGeneration": self.generation,
            "conditions": own.chain(others).collect::<Vec<_>>(),
            "validationMessages": self.messages,
        }))
    }
}

impl Condition {
    fn word(&self) -> &'static str {
        if self.holds { "True" } else { "False" }
    }

    fn written(&self, before: Option<&Json>, now: &str) -> Json {
        let since = before.filter(|before| before["status"] == self.word());
        let since = since.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(now);
        json!({
            "type": self.kind,
            "status": self.word(),
            "reason": self.reason,
            "message": self.message,
            "lastProbeTime": now,
            "lastTransitionTime": since,
        })
    }
}

fn reconciled(verdict: &Verdict) -> Condition {
    let (holds, reason, message) = match (&verdict.overruled_by, verdict.taken, verdict.kept) {
        (Some(file), ..) => (false, "overruled", format!("{file} holds an object of this name, and decides")),
        (None, true, _) => (true, "inForce", "the control plane serves it to its proxies".to_owned()),
        (None, false, true) => {
            (false, "invalid", format!("refused; the last good one stays in force: {}", first(verdict)))
        }
        (None, false, false) => (false, "invalid", format!("refused: {}", first(verdict))),
    };
    Condition { kind: "Reconciled", holds, reason, message }
}

/// The first error, as an operator reads it.
fn first(verdict: &Verdict) -> String {
    verdict.findings.iter().find(|found| found.is_error()).map(text).unwrap_or_default()
}

fn text(found: &Diagnostic) -> String {
    let text = if found.path.is_empty() { found.message.clone() } else { format!("{}: {}", found.path, found.message) };
    match &found.suggestion {
        Some(suggestion) => format!("{text}; did you mean {suggestion:?}?"),
        None => text,
    }
}

fn passed(findings: &[&Diagnostic]) -> Condition {
    let errors = findings.iter().filter(|found| is_error(found)).count();
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let message = match (errors, findings.len() - errors) {
        (0, 0) => "no errors found".to_owned(),
        (errors, warnings) => {
            let (errors, warnings) = (count(errors, "error"), count(warnings, "warning"));
            format!("{errors} and {warnings} found; see validationMessages")
        }
    };
    let reason = if errors == 0 { "noErrorsFound" } else { "errorsFound" };
    Condition { kind: "PassedAnalysis", holds: errors == 0, reason, message }
}

fn is_error(found: &Diagnostic) -> bool {
    found.is_error() || code::istio(found.code).1
}

/// Istio's own messages hold only type, level and address; the text is what helps.
fn message(found: &Diagnostic) -> Json {
    json!({
        "type": { "code": found.code, "name": code::istio(found.code).0 },
        "level": if is_error(found) { "ERROR" } else { "WARNING" },
        "documentationUrl": format!("{ANALYSIS}/{}/", found.code.to_ascii_lowercase()),
        "message": text(found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(findings: Vec<Diagnostic>) -> Verdict {
        let taken = findings.is_empty();
        Verdict { taken, kept: !taken, overruled_by: None, findings }
    }

    fn wrong() -> Diagnostic {
        Diagnostic { path: "spec.hosts".into(), ..Diagnostic::general("x", "must not be empty") }
    }

    #[test]
    fn a_status_that_says_all_already_is_left_alone() {
        let report = Report::new(3, &verdict(Vec::new()), &[]);
        let written = report.status(&Json::Null, "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(written["conditions"][0]["status"], "True");
        assert_eq!(report.status(&written, "2026-01-02T00:00:00Z"), None);
        let mut as_text = written.clone();
        as_text["observedGeneration"] = "3".into();
        assert_eq!(report.status(&as_text, "2026-01-02T00:00:00Z"), None, "int64 is a string in Istio's JSON");
        assert!(Report::new(4, &verdict(Vec::new()), &[]).status(&written, "2026-01-02T00:00:00Z").is_some());
    }

    #[test]
    fn a_refusal_says_where_and_what_stays_in_force() {
        let good = Report::new(1, &verdict(Vec::new()), &[]).status(&Json::Null, "2026-01-01T00:00:00Z").unwrap();
        let status = Report::new(2, &verdict(vec![wrong()]), &[]).status(&good, "2026-01-02T00:00:00Z").unwrap();
        let (reconciled, passed) = (&status["conditions"][0], &status["conditions"][1]);
        assert_eq!(reconciled["reason"], "invalid");
        let message = "refused; the last good one stays in force: spec.hosts: must not be empty";
        assert_eq!(reconciled["message"], message);
        assert_eq!(reconciled["lastTransitionTime"], "2026-01-02T00:00:00Z");
        assert_eq!(passed["reason"], "errorsFound");
        assert_eq!(status["validationMessages"][0]["type"]["code"], "IST0106");
        assert_eq!(status["validationMessages"][0]["level"], "ERROR");
    }

    #[test]
    fn conditions_of_others_and_times_of_no_transition_stay() {
        let report = Report::new(1, &verdict(Vec::new()), &[]);
        let mut present = report.status(&Json::Null, "2026-01-01T00:00:00Z").unwrap();
        present["conditions"].as_array_mut().unwrap().push(json!({ "type": "Programmed", "status": "True" }));
        let later = Report::new(2, &verdict(Vec::new()), &[]).status(&present, "2026-01-02T00:00:00Z").unwrap();
        assert_eq!(later["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(later["conditions"][0]["lastProbeTime"], "2026-01-02T00:00:00Z");
        assert_eq!(later["conditions"][2]["type"], "Programmed");
    }
}
