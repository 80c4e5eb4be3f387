//! Small languages inside strings: durations, proto names, and guesses at what a misspelt word meant.

use std::time::Duration;

/// The proto spelling of a JSON name: `mirrorPercent` is `mirror_percent`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The word among `known` that was probably meant.
pub(crate) fn closest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<String> {
    let lower = word.to_lowercase().replace(['_', '-'], "");
    let allowed = (lower.chars().count() / 3).max(1);
    known
        .map(|candidate| {
            (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase().replace(['_', '-'], "")), candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Reads `10s`, `1.5s`, `100ms`, `1h30m`: numbers with a unit, as Go and proto-JSON write them.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        nanos = nanos.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = tail;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok().filter(|seconds| *seconds <= MAX_SECONDS)?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// Longest duration of proto-JSON: about ten thousand years.
const MAX_SECONDS: u64 = 315_576_000_000;

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A decimal number times a unit, without going through floats.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        total = total.checked_add(u128::from(digit - b'0') * place)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_and_proto_write_them() {
        let millis = |text| duration(text).map(|value| value.as_millis());
        assert_eq!(millis("10s"), Some(10_000));
        assert_eq!(millis("1.5s"), Some(1_500));
        assert_eq!(millis("0.000000001s"), Some(0));
        assert_eq!(millis("100ms"), Some(100));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("0"), Some(0));
        for bad in ["", "5", "s", "1x", "-1s", "1..5s", ".s", "1 s", "99999999999999999999999999999999999999999h"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn misspelt_words_are_guessed() {
        let known = ["weight", "destination", "headers", "mirrorPercentage"];
        let guess = |word| closest(word, known.into_iter());
        assert_eq!(guess("weigth").as_deref(), Some("weight"));
        assert_eq!(guess("Weight").as_deref(), Some("weight"));
        assert_eq!(guess("mirror_percentage").as_deref(), Some("mirrorPercentage"));
        assert_eq!(guess("colour"), None);
    }
}
