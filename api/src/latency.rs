//! How a distribution of durations crosses the wire: counts by bucket, whose widths grow with the value, four to each
//! doubling. Two sketches are added bucket by bucket, and a quantile read from one is within an eighth of the truth.

/// How many buckets there are; the last holds everything above two minutes.
pub const BUCKETS: usize = 108;

/// The bucket of a duration in microseconds.
pub fn bucket(microseconds: u64) -> usize {
    if microseconds < 4 {
        return microseconds as usize;
    }
    let octave = microseconds.ilog2();
    let part = (microseconds >> (octave - 2)) & 3;
    ((octave as usize - 1) * 4 + part as usize).min(BUCKETS - 1)
}

/// The least duration of a bucket, in microseconds.
pub fn lower_bound(bucket: usize) -> u64 {
    match bucket {
        0..4 => bucket as u64,
        _ => (4 + (bucket as u64 & 3)) << (bucket / 4 - 1),
    }
}

/// The duration in milliseconds below which this share of what was counted lies; `None` where nothing was.
pub fn quantile(counts: &[f64], share: f64) -> Option<f64> {
    quantile_of(counts.iter().copied().enumerate(), share)
}

/// The same of buckets in their order, of which empty ones may be left out.
pub fn quantile_of(counts: impl Iterator<Item = (usize, f64)> + Clone, share: f64) -> Option<f64> {
    let counts = counts.filter(|(_, count)| *count > 0.0);
    let mut wanted = share * counts.clone().map(|(_, count)| count).sum::<f64>();
    let mut counts = counts.peekable();
    while let Some((bucket, count)) = counts.next() {
        if wanted <= count || counts.peek().is_none() {
            let (low, high) = (lower_bound(bucket) as f64, lower_bound(bucket + 1) as f64);
            return Some((low + (high - low) * (wanted / count).clamp(0.0, 1.0)) / 1000.0);
        }
        wanted -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, bucket, lower_bound, quantile};

    #[test]
    fn every_duration_lies_in_its_bucket() {
        for microseconds in (0..5000).chain((0..27).map(|shift| 5 << shift)) {
            let bucket = bucket(microseconds);
            assert!(lower_bound(bucket) <= microseconds, "{microseconds} is below bucket {bucket}");
            assert!(
                bucket == BUCKETS - 1 || microseconds < lower_bound(bucket + 1),
                "{microseconds} is above {bucket}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_close_to_the_truth() {
        let mut counts = [0.0; BUCKETS];
        (1..=10_000_u64).for_each(|microseconds| counts[bucket(microseconds)] += 1.0);
        for share in [0.5, 0.95, 0.99] {
            let (found, truth) = (quantile(&counts, share).unwrap(), share * 10.0);
            assert!((found / truth - 1.0).abs() < 0.125, "{share}: {found}, not {truth}");
        }
        assert_eq!(quantile(&[0.0; BUCKETS], 0.5), None);
    }
}
