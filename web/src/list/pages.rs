//! Lists that somebody reads page by page. The rest of a list is kept as it was at its first page, so that no item is
//! missed or seen twice; when it was dropped, the reader begins anew (410).

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use super::{List, ListQuery};
use crate::problem::Problem;

/// How long a list is kept after its last page was read.
const KEPT: Duration = Duration::from_secs(300);
/// How many lists, and how many items of all of them, are kept.
const MOST_LISTS: usize = 64;
const MOST_ITEMS: usize = 200_000;

#[derive(Default)]
pub(crate) struct Pages {
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    count: u64,
    /// A cursor is a number that nobody guesses: a list may be for its reader's eyes only.
    seed: RandomState,
    /// The oldest first.
    kept: VecDeque<Kept>,
}

struct Kept {
    id: u64,
    of: Of,
    items: Arc<Vec<Value>>,
    revision: u64,
    read: Instant,
}

/// Which list it is: the path, and how was chosen from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Of {
    pub path: String,
    pub query: ListQuery,
}

impl Of {
    /// Whether who goes on asks for another list than at the beginning; what is left out is as it was.
    fn other(&self, now: &Self) -> Option<&'static str> {
        if self.path != now.path {
            return Some("path");
        }
        let ListQuery { namespace, q, labels, filter, sort, fields, .. } = &now.query;
        let first = &self.query;
        let pairs = [
            ("namespace", namespace, &first.namespace),
            ("q", q, &first.q),
            ("labels", labels, &first.labels),
            ("filter", filter, &first.filter),
            ("sort", sort, &first.sort),
            ("fields", fields, &first.fields),
        ];
        pairs.into_iter().find(|(_, now, first)| now.is_some() && now != first).map(|(name, ..)| name)
    }
}

impl Pages {
    /// The first page; the list is kept if there are more.
    pub fn first(&self, of: Of, mut items: Vec<Value>, limit: usize, revision: u64) -> List<Value> {
        let total = items.len();
        if total <= limit {
            return List { items, next: None, total, revision };
        }
        let page = items[..limit].to_vec();
        // What was read is not read again.
        items[..limit].fill(Value::Null);
        let id = self.lists.lock().keep(of, Arc::new(items), revision);
        List { items: page, next: Some(cursor(id, limit)), total, revision }
    }

    pub fn next(&self, of: &Of, text: &str, limit: usize) -> Result<List<Value>, Problem> {
        let (id, from) = parse(text).ok_or_else(|| Problem::malformed("the cursor is not one of ours"))?;
        let gone = || Problem::gone("the list behind this cursor is not kept any more; begin with the first page");
        let (first, items, revision) = self.lists.lock().read(id).ok_or_else(gone)?;
        if let Some(parameter) = first.other(of) {
            return Err(Problem::malformed(format!(
                "{parameter} is another than at the first page, of which the cursor is; leave it as it was, or begin anew"
            )));
        }
        let total = items.len();
        if from >= total {
            return Err(Problem::malformed("the cursor is not one of ours"));
        }
        let end = total.min(from.saturating_add(limit));
        let next = (end < total).then(|| cursor(id, end));
        Ok(List { items: items[from..end].to_vec(), next, total, revision })
    }
}

impl Lists {
    fn keep(&mut self, of: Of, items: Arc<Vec<Value>>, revision: u64) -> u64 {
        let read = Instant::now();
        self.kept.retain(|kept| read.saturating_duration_since(kept.read) < KEPT);
        let mut count: usize = items.len() + self.kept.iter().map(|kept| kept.items.len()).sum::<usize>();
        while !self.kept.is_empty() && (self.kept.len() >= MOST_LISTS || count > MOST_ITEMS) {
            count -= self.kept.pop_front().map_or(0, |oldest| oldest.items.len());
        }
        self.count += 1;
        let id = self.seed.hash_one(self.count);
        self.kept.push_back(Kept { id, of, items, revision, read });
        id
    }

    fn read(&mut self, id: u64) -> Option<(Of, Arc<Vec<Value>>, u64)> {
        let kept = self.kept.iter_mut().find(|kept| kept.id == id)?;
        kept.read = Instant::now();
        Some((kept.of.clone(), kept.items.clone(), kept.revision))
    }
}

/// Opaque to readers.
fn cursor(id: u64, from: usize) -> String {
    format!("{id:016x}{from:08x}")
}

fn parse(text: &str) -> Option<(u64, usize)> {
    if text.len() != 24 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some((u64::from_str_radix(&text[..16], 16).ok()?, usize::from_str_radix(&text[16..], 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u64) -> Vec<Value> {
        (0..count).map(Value::from).collect()
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let pages = Pages::default();
        let mut page = pages.first(Of::default(), numbers(25), 10, 7);
        let mut read = page.items.clone();
        while let Some(next) = &page.next {
            page = pages.next(&Of::default(), next, 10).unwrap();
            assert_eq!((page.total, page.revision), (25, 7));
            read.extend(page.items.clone());
        }
        assert_eq!(read, numbers(25));
    }

    #[test]
    fn a_list_that_was_dropped_is_gone_and_a_made_up_cursor_is_none() {
        let pages = Pages::default();
        let first = pages.first(Of::default(), numbers(3), 1, 1).next.unwrap();
        for _ in 0..MOST_LISTS {
            pages.first(Of::default(), numbers(3), 1, 1);
        }
        assert_eq!(pages.next(&Of::default(), &first, 1).err().map(|problem| problem.status), Some(410));
        for made_up in ["", "x", "ü000000000000000000000", &"0".repeat(24), &"f".repeat(24)] {
            let status = pages.next(&Of::default(), made_up, 1).err().map(|problem| problem.status);
            assert!(matches!(status, Some(400 | 410)), "{made_up}");
        }
    }

    #[test]
    fn a_cursor_goes_on_with_the_list_that_it_is_of_and_no_other() {
        let pages = Pages::default();
        let of = |path: &str, sort: Option<&str>| Of {
            path: path.into(),
            query: ListQuery { sort: sort.map(str::to_owned), ..ListQuery::default() },
        };
        let next = pages.first(of("/services", Some("name")), numbers(3), 1, 1).next.unwrap();
        let read = |now: Of| pages.next(&now, &next, 1).map(|page| page.items.len()).map_err(|problem| problem.detail);
        assert_eq!((read(of("/services", Some("name"))), read(of("/services", None))), (Ok(1), Ok(1)));
        assert!(read(of("/services", Some("nonsense"))).unwrap_err().starts_with("sort is another"));
        assert!(read(of("/endpoints", None)).unwrap_err().starts_with("path is another"));
    }
}
