//! `%START_TIME(…)%`: Envoy's strftime subset with `%f` for fractions of a second.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use time::{Month, OffsetDateTime};

/// A checked time format; always UTC.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeFormat(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Year,
    Month,
    MonthName,
    Day,
    Hour,
    Minute,
    Second,
    WeekDay,
    DayOfYear,
    /// Fraction of a second with so many digits.
    Fraction(usize),
    EpochSeconds,
    /// Seconds since the epoch with so many digits of a fraction, without a point (`%3s` is milliseconds).
    EpochFraction(usize),
    Offset,
    Zone,
}

impl TimeFormat {
    /// `None` is ISO 8601 with milliseconds.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        let text = match text {
            None | Some("") => "%Y-%m-%dT%H:%M:%S.%3fZ",
            Some(text) => text,
        };
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                literal(&mut parts, char);
                continue;
            }
            let mut next = chars.next();
            let digits = next.and_then(|c| c.to_digit(10)).filter(|d| (1..=9).contains(d));
            if digits.is_some() {
                next = chars.next();
            }
            conversion(&mut parts, next, digits.map(|d| d as usize))?;
        }
        Ok(Self(parts))
    }

    pub fn write(&self, at: SystemTime, out: &mut String) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let nanos = since.subsec_nanos();
        for part in &self.0 {
            let _ = match part {
                Part::Literal(text) => out.write_str(text),
                Part::Year => write!(out, "{:04}", time.year()),
                Part::Month => write!(out, "{:02}", u8::from(time.month())),
                Part::MonthName => out.write_str(month_name(time.month())),
                Part::Day => write!(out, "{:02}", time.day()),
                Part::Hour => write!(out, "{:02}", time.hour()),
                Part::Minute => write!(out, "{:02}", time.minute()),
                Part::Second => write!(out, "{:02}", time.second()),
                Part::WeekDay => out.write_str(&time.weekday().to_string()[..3]),
                Part::DayOfYear => write!(out, "{:03}", time.ordinal()),
                Part::Fraction(digits) => write!(out, "{:0digits$}", fraction(nanos, *digits)),
                Part::EpochSeconds => write!(out, "{seconds}"),
                Part::EpochFraction(digits) => write!(out, "{seconds}{:0digits$}", fraction(nanos, *digits)),
                Part::Offset => out.write_str("+0000"),
                Part::Zone => out.write_str("UTC"),
            };
        }
    }
}

fn literal(parts: &mut Vec<Part>, char: char) {
    if let Some(Part::Literal(text)) = parts.last_mut() {
        text.push(char);
    } else {
        parts.push(Part::Literal(char.into()));
    }
}

fn conversion(parts: &mut Vec<Part>, letter: Option<char>, digits: Option<usize>) -> Result<(), String> {
    let single = match (letter, digits) {
        (Some('f'), digits) => Part::Fraction(digits.unwrap_or(9)),
        (Some('s'), Some(digits)) => Part::EpochFraction(digits),
        (_, Some(_)) => return Err("a digit stands only before `f` and `s`".to_owned()),
        (Some('Y'), None) => Part::Year,
        (Some('m'), None) => Part::Month,
        (Some('b' | 'h'), None) => Part::MonthName,
        (Some('d'), None) => Part::Day,
        (Some('H'), None) => Part::Hour,
        (Some('M'), None) => Part::Minute,
        (Some('S'), None) => Part::Second,
        (Some('a'), None) => Part::WeekDay,
        (Some('j'), None) => Part::DayOfYear,
        (Some('s'), None) => Part::EpochSeconds,
        (Some('z'), None) => Part::Offset,
        (Some('Z'), None) => Part::Zone,
        (Some('F'), None) => {
            parts.extend([Part::Year, Part::Literal("-".into()), Part::Month, Part::Literal("-".into()), Part::Day]);
            return Ok(());
        }
        (Some('T'), None) => {
            let colon = || Part::Literal(":".into());
            parts.extend([Part::Hour, colon(), Part::Minute, colon(), Part::Second]);
            return Ok(());
        }
        (Some('E'), None) => return Err("`%E…` is not supported; use `%f`".to_owned()),
        (Some('%'), None) => {
            literal(parts, '%');
            return Ok(());
        }
        (Some(other), None) => return Err(format!("`%{other}` is not a conversion that this proxy knows")),
        (None, None) => return Err("the format ends in `%`".to_owned()),
    };
    parts.push(single);
    Ok(())
}

fn fraction(nanos: u32, digits: usize) -> u32 {
    nanos / 10u32.pow(9 - digits as u32)
}

fn month_name(month: Month) -> &'static str {
    const NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    NAMES[usize::from(u8::from(month)) - 1]
}
