//! The long poll of scripts, as Consul has it: ask with the index of the last answer, and be answered when there is
//! something new.

use std::time::Duration;

use crate::feed::{Feed, News};
use crate::list::LiveQuery;
use crate::problem::Problem;

const DEFAULT: Duration = Duration::from_secs(300);
const MAX: Duration = Duration::from_secs(600);

/// Returns when something that concerns the list happened after the index, or the time is over.
pub async fn beyond(feed: &Feed, query: &LiveQuery, concerns: impl Fn(&News) -> bool) -> Result<(), Problem> {
    let wait = query.wait.as_deref().map(parse).transpose()?;
    // An index of 0 is known by nobody: the list as it is now.
    let Some(index) = query.index.filter(|index| *index > 0) else { return Ok(()) };
    let until = async {
        let mut at = index;
        // A revision that is not known any more is answered at once: much has happened since.
        while let Ok(news) = feed.since(at) {
            if news.iter().any(|news| concerns(news)) {
                return;
            }
            at = news.last().map_or(at, |last| last.revision);
            if !feed.beyond(at).await {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(wait.unwrap_or(DEFAULT), until).await;
    Ok(())
}

/// `30s`, `500ms`, `5m`
fn parse(text: &str) -> Result<Duration, Problem> {
    let wrong = || Problem::malformed(format!("wait is a time such as 30s or 5m, 10m at most; not {text:?}"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    let wait = Duration::from_millis(number.saturating_mul(unit));
    if wait > MAX { Err(wrong()) } else { Ok(wait) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_consul_has_them() {
        assert_eq!(parse("30s").ok(), Some(Duration::from_secs(30)));
        assert_eq!(parse("10m").ok(), Some(MAX));
        for wrong in ["", "s", "11m", "1h", "-1s", "99999999999999999999s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
