//! Durations as people write them: `20s`, `5m`, `1h`, `1500ms`.

use std::time::Duration;

/// For clap.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let wrong = || format!("{text:?} is no duration; write 20s, 5m, 1h or 1500ms");
    let number: u64 = text[..unit].parse().map_err(|_| wrong())?;
    let millis = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// For clap: how long a workload certificate may hold.
pub fn certificate_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = parse(text)?;
    match (Duration::from_secs(5)..=Duration::from_secs(24 * 3600)).contains(&lifetime) {
        true => Ok(lifetime),
        false => Err("a certificate holds 5s to 24h".into()),
    }
}

/// In the largest unit of which there are at least two, rounded down: `90m`, `2h`, `59s`.
pub fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let unit = [(86_400, "d"), (3_600, "h"), (60, "m")].into_iter().find(|(size, _)| seconds >= 2 * size);
    let (size, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_known() {
        assert_eq!(parse("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "20", "s", "1.5s", "-1s", "99999999999999999999h", "1y"] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_certificate_holds_five_seconds_to_a_day() {
        for (text, taken) in [("4999ms", false), ("5s", true), ("24h", true), ("25h", false)] {
            assert_eq!(certificate_lifetime(text).is_ok(), taken, "{text}");
        }
    }

    #[test]
    fn what_is_left_is_told_in_one_unit() {
        for (seconds, told) in [(59, "59s"), (2_400, "40m"), (5_400, "90m"), (7_200, "2h"), (200_000, "2d")] {
            assert_eq!(rough(Duration::from_secs(seconds)), told);
        }
    }
}
