//! `%START_TIME(…)%` and its kin: strftime with `%f` for fractions of a second, as Envoy prints them. Always UTC.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// A checked time format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeFormat(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    /// One of strftime's conversions that print one thing.
    Field(char),
    /// Fraction of a second with so many digits; without, as many as say something (`%E*f`).
    Fraction(Option<usize>),
    EpochSeconds,
}

impl TimeFormat {
    /// ISO 8601 with milliseconds.
    pub const ISO: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";
    /// As Envoy prints the dates of a certificate.
    pub const DATE: &str = "%Y-%m-%dT%H:%M:%S.000Z";

    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal(&mut parts, before);
            rest = conversion(&mut parts, after)?;
        }
        literal(&mut parts, rest);
        if parts.iter().any(|part| matches!(part, Part::Literal(text) if text.contains('\n'))) {
            return Err("a time has no line break".to_owned());
        }
        Ok(Self(parts))
    }

    pub fn write(&self, at: SystemTime, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(24);
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        for part in &self.0 {
            let _ = match part {
                Part::Literal(literal) => text.write_str(literal),
                Part::Field(conversion) => field(*conversion, time, &mut text),
                Part::Fraction(digits) => fraction(since.subsec_nanos(), *digits, &mut text),
                Part::EpochSeconds => write!(text, "{seconds}"),
            };
        }
        out.extend_from_slice(text.as_bytes());
    }
}

/// Reads what follows a percent sign, and gives what follows that.
fn conversion<'a>(parts: &mut Vec<Part>, text: &'a str) -> Result<&'a str, String> {
    if let Some(rest) = text.strip_prefix("E*f").or_else(|| text.strip_prefix("*f")) {
        parts.push(Part::Fraction(None));
        return Ok(rest);
    }
    for (short, meaning) in LONGER {
        if let Some(rest) = text.strip_prefix(short) {
            parts.extend(TimeFormat::parse(meaning)?.0);
            return Ok(rest);
        }
    }
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return Err("the format ends in `%`".to_owned()) };
    let rest = chars.as_str();
    match first {
        '1'..='9' if rest.starts_with(['f', 's']) => {
            let digits = first.to_digit(10).map(|digit| digit as usize);
            parts.push(if rest.starts_with('f') { Part::Fraction(digits) } else { Part::EpochSeconds });
            return Ok(&rest[1..]);
        }
        '%' => literal(parts, "%"),
        't' => literal(parts, "\t"),
        's' => parts.push(Part::EpochSeconds),
        'f' => parts.push(Part::Fraction(Some(9))),
        first if FIELDS.contains(first) => parts.push(Part::Field(first)),
        first => return Err(format!("`%{first}` is not a conversion that this proxy knows")),
    }
    Ok(rest)
}

/// Conversions that print one thing.
const FIELDS: &str = "YmbBdeHIklMSaAjuwyCpPgGUVWzZ";

/// Conversions that stand for others. The first that fits counts.
const LONGER: &[(&str, &str)] = &[
    ("F", "%Y-%m-%d"),
    ("T", "%H:%M:%S"),
    ("X", "%H:%M:%S"),
    ("R", "%H:%M"),
    ("r", "%I:%M:%S %p"),
    ("D", "%m/%d/%y"),
    ("x", "%m/%d/%y"),
    ("c", "%a %b %e %H:%M:%S %Y"),
    ("h", "%b"),
    ("E4Y", "%Y"),
    ("E*S", "%S.%E*f"),
    ("E3S", "%S.%3f"),
    ("E6S", "%S.%6f"),
    ("E9S", "%S.%9f"),
    ("E3f", "%3f"),
    ("E6f", "%6f"),
    ("E9f", "%9f"),
];

fn literal(parts: &mut Vec<Part>, text: &str) {
    if text.is_empty() {
        return;
    }
    match parts.last_mut() {
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

fn field(conversion: char, time: OffsetDateTime, out: &mut String) -> std::fmt::Result {
    let year = time.year();
    let twelve = (time.hour() + 11) % 12 + 1;
    let afternoon = time.hour() >= 12;
    let (iso_year, iso_week, _) = time.date().to_iso_week_date();
    match conversion {
        'Y' => write!(out, "{year:04}"),
        'C' => write!(out, "{:02}", year / 100),
        'y' => write!(out, "{:02}", year % 100),
        'G' => write!(out, "{iso_year:04}"),
        'g' => write!(out, "{:02}", iso_year % 100),
        'm' => write!(out, "{:02}", u8::from(time.month())),
        'b' => out.write_str(&time.month().to_string()[..3]),
        'B' => write!(out, "{}", time.month()),
        'd' => write!(out, "{:02}", time.day()),
        'e' => write!(out, "{:2}", time.day()),
        'H' => write!(out, "{:02}", time.hour()),
        'k' => write!(out, "{:2}", time.hour()),
        'I' => write!(out, "{twelve:02}"),
        'l' => write!(out, "{twelve:2}"),
        'M' => write!(out, "{:02}", time.minute()),
        'S' => write!(out, "{:02}", time.second()),
        'p' => out.write_str(if afternoon { "PM" } else { "AM" }),
        'P' => out.write_str(if afternoon { "pm" } else { "am" }),
        'a' => out.write_str(&time.weekday().to_string()[..3]),
        'A' => write!(out, "{}", time.weekday()),
        'u' => write!(out, "{}", time.weekday().number_from_monday()),
        'w' => write!(out, "{}", time.weekday().number_days_from_sunday()),
        'j' => write!(out, "{:03}", time.ordinal()),
        'U' => write!(out, "{:02}", time.sunday_based_week()),
        'V' => write!(out, "{iso_week:02}"),
        'W' => write!(out, "{:02}", time.monday_based_week()),
        'z' => out.write_str("+0000"),
        _ => out.write_str("UTC"),
    }
}

fn fraction(nanos: u32, digits: Option<usize>, out: &mut String) -> std::fmt::Result {
    let all = format!("{nanos:09}");
    match digits {
        Some(digits) => out.write_str(&all[..digits.min(9)]),
        None => out.write_str(Some(all.trim_end_matches('0')).filter(|text| !text.is_empty()).unwrap_or("0")),
    }
}
