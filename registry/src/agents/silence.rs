//! Agents whose connection ended without a goodbye: when that is shown, and when they are taken for gone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Who is back sooner was never away.
const BLINK: Duration = Duration::from_secs(1);
/// So many that fall silent together are more likely cut off than gone, if they are the greater part of all.
const MANY: usize = 3;

/// How long nobody has been connected, and what became of that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Silence {
    at: Instant,
    /// In Unix seconds.
    since: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Unnoticed,
    Shown,
    /// Taken for gone.
    Doubted,
}

impl Silence {
    pub fn begin(now: Instant) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self { at: now, since, stage: Stage::Unnoticed }
    }

    /// Of one that was taken for gone by then.
    pub fn doubted(since: u64, now: Instant) -> Self {
        Self { at: now, since, stage: Stage::Doubted }
    }

    /// Since when, in Unix seconds, once it is to be shown.
    pub fn shown(&self) -> Option<u64> {
        (self.stage != Stage::Unnoticed).then_some(self.since)
    }

    pub fn is_doubted(&self) -> bool {
        self.stage == Stage::Doubted
    }

    /// When it is to be looked at again, if it is.
    pub fn next(&self, doubt: Doubt) -> Option<Instant> {
        match (self.stage, doubt) {
            (Stage::Unnoticed, _) => Some(self.at + BLINK),
            (Stage::Shown, Doubt::From(start, after)) => Some((self.at + after).max(start)),
            _ => None,
        }
    }

    /// Goes on to the next stage if its time has come; true if it did.
    pub fn step(&mut self, now: Instant, doubt: Doubt) -> bool {
        let due = self.next(doubt).is_some_and(|next| next <= now);
        if due {
            self.stage = if self.stage == Stage::Unnoticed { Stage::Shown } else { Stage::Doubted };
        }
        due
    }
}

/// Whether those who are silent are taken for gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Doubt {
    /// Not before this moment, and each after that long.
    From(Instant, Duration),
    /// Most of all are silent.
    Nobody,
}

impl Doubt {
    /// Of these, all that are not taken for gone already.
    pub fn of<'a>(all: impl Iterator<Item = Option<&'a Silence>>, start: Instant, after: Duration) -> Self {
        let (mut silent, mut total) = (0, 0);
        for silence in all.filter(|silence| silence.is_none_or(|silence| !silence.is_doubted())) {
            total += 1;
            silent += usize::from(silence.is_some());
        }
        if silent >= MANY && silent * 2 > total { Self::Nobody } else { Self::From(start, after) }
    }
}
