//! Writes down which certificates and tokens were issued, to whom, and whose requests were refused.

use std::time::Duration;

use citadel::{Decided, Outcome, Sums, Told, Wanted};
use runtime::Clock;
use runtime::shutdown::Shutdown;
use tonic::Code;
use web::{Audit, AuditRecord};

/// So many lines are written at once.
const AT_ONCE: usize = 512;
/// How often it is looked for sums whose time is over.
const LOOK: Duration = Duration::from_secs(5);

/// Until `end` drains, which is when nothing is served any more; what was told by then is written.
pub async fn keep(mut decided: Decided, audit: Audit, clock: Clock, end: Shutdown) {
    let (mut sums, mut fresh) = (Sums::default(), Vec::new());
    let mut tick = tokio::time::interval(LOOK);
    loop {
        let ends = tokio::select! {
            open = decided.next(&mut fresh, AT_ONCE) => !open,
            _ = tick.tick() => false,
            () = end.draining() => true,
        };
        if ends {
            decided.rest(&mut fresh).await;
        }
        let now = clock.unix_seconds();
        let mut told: Vec<Told> = fresh.drain(..).filter_map(|decision| sums.take(decision, now)).collect();
        told.extend(if ends { sums.all(now) } else { sums.due(now) });
        let mut records: Vec<AuditRecord> = told.into_iter().map(record).collect();
        records.extend(Some(decided.missed()).filter(|missed| *missed > 0).map(missed));
        audit.write_all(records).await;
        if ends {
            return;
        }
    }
}

fn record(told: Told) -> AuditRecord {
    let Told { decision, count, within, of_others } = told;
    let (verb, noun) = words(decision.wanted);
    let known = if decision.identity.is_empty() || of_others { String::new() } else { decision.identity };
    let member = decision.member.filter(|_| !of_others).map(|member| format!("; member {member}")).unwrap_or_default();
    let by = if decision.attested_by.is_empty() { String::new() } else { format!("by {}", decision.attested_by) };
    let (object, result, mut detail) = match decision.outcome {
        Outcome::Issued { what, until } => {
            let object = match decision.wanted {
                Wanted::Certificate => format!("{noun} {what} of {known}"),
                Wanted::JwtSvid => format!("{noun} of {known} for {what}"),
            };
            (object, "done".to_owned(), format!("{by}{member}; until {until}"))
        }
        Outcome::Refused { code, reason } => {
            let object = if known.is_empty() { noun.to_owned() } else { format!("{noun} of {known}") };
            let by = if by.is_empty() { by } else { format!(" ({by}{member})") };
            (object, status(code).to_string(), format!("{reason}{by}"))
        }
    };
    if count > 1 || within > 0 {
        let whose = if of_others { " from many addresses" } else { "" };
        detail = format!("{count} more{whose} within {within} s; the last: {detail}");
    }
    AuditRecord {
        actor: if known.is_empty() { "unknown".into() } else { known },
        method: if decision.attested_by.is_empty() { "none" } else { "attested" }.into(),
        ip: decision.from.filter(|_| !of_others).map(|from| from.to_string()),
        verb: verb.into(),
        object,
        count: (count > 1 || within > 0).then_some(count),
        result,
        detail,
        ..AuditRecord::default()
    }
}

fn missed(count: u64) -> AuditRecord {
    let (verb, noun) = words(Wanted::Certificate);
    AuditRecord {
        actor: "unknown".into(),
        method: "none".into(),
        verb: verb.into(),
        object: noun.into(),
        count: Some(count),
        result: status(Code::ResourceExhausted).to_string(),
        detail: format!("{count} refusals in a flood, faster than they could be told apart"),
        ..AuditRecord::default()
    }
}

fn words(wanted: Wanted) -> (&'static str, &'static str) {
    match wanted {
        Wanted::Certificate => ("issue-certificate", "certificate"),
        Wanted::JwtSvid => ("issue-jwt-svid", "JWT-SVID"),
    }
}

/// As HTTP says it, which is how the log has refusals.
fn status(code: Code) -> u16 {
    match code {
        Code::InvalidArgument => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::FailedPrecondition => 412,
        Code::ResourceExhausted => 429,
        Code::Unavailable => 503,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use citadel::Decision;

    use super::*;

    fn told(outcome: Outcome, count: u64) -> AuditRecord {
        let decision = Decision {
            identity: "spiffe://a/ns/b/sa/c".into(),
            member: Some("m1".into()),
            attested_by: "join token t1".into(),
            from: "192.0.2.1".parse().ok(),
            outcome,
            ..Decision::default()
        };
        let within = if count > 1 { 60 } else { 0 };
        record(Told { decision, count, within, of_others: false })
    }

    #[test]
    fn a_line_says_who_got_what_by_which_proof() {
        let line = told(Outcome::Issued { what: "5f".into(), until: 99 }, 1);
        assert_eq!(line.object, "certificate 5f of spiffe://a/ns/b/sa/c");
        assert_eq!(line.detail, "by join token t1; member m1; until 99");
        let shown = (line.actor.as_str(), line.verb.as_str(), line.result.as_str(), line.count);
        assert_eq!(shown, ("spiffe://a/ns/b/sa/c", "issue-certificate", "done", None));
        assert_eq!(line.ip.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_sum_says_how_many_and_what_the_last_was_told() {
        let line = told(Outcome::Refused { code: Code::PermissionDenied, reason: "evicted".into() }, 7);
        assert_eq!(line.detail, "7 more within 60 s; the last: evicted (by join token t1; member m1)");
        assert_eq!((line.result.as_str(), line.count), ("403", Some(7)));
    }
}
