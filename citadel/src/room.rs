//! How many connections a port has room for, and whose goes when there is none: nobody has more than a share, and when
//! all is taken, whoever has the most makes room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Client;

/// How often it is told that there was no room.
const TOLD: Duration = Duration::from_secs(60);

/// What a port takes of connections at once. The three add up to what it may have of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Whose handshake is not finished.
    pub handshakes: usize,
    /// Who showed no certificate.
    pub strangers: usize,
    /// Who showed one.
    pub known: usize,
}

impl Capacity {
    /// More of those whom anybody may be do no good: their connections are short.
    const MOST: usize = 1024;
    /// What is left for other ports, for files, and for connections that this process opens, is a quarter, and no more
    /// than this.
    const RESERVE: usize = 4096;

    /// For a process that may have so many descriptors.
    pub fn within(descriptors: usize) -> Self {
        let all = descriptors - (descriptors / 4).min(Self::RESERVE);
        let (handshakes, strangers) = ((all / 8).clamp(1, Self::MOST), (all / 4).clamp(1, Self::MOST));
        Self { handshakes, strangers, known: all.saturating_sub(handshakes + strangers).max(1) }
    }
}

/// Room for connections of one kind. Cloning shares.
#[derive(Clone)]
pub struct Room(Arc<Mutex<Taken>>);

struct Taken {
    /// For the log.
    kind: &'static str,
    all: usize,
    /// How many of them one client may have.
    each: usize,
    count: usize,
    next: u64,
    /// Of each client, the oldest first.
    of: HashMap<Client, VecDeque<Seat>>,
    told: Option<Instant>,
    turned_away: TurnedAway,
}

/// Who found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// There was none for them.
    pub refused: u64,
    /// They gave theirs to another.
    pub replaced: u64,
}

struct Seat {
    number: u64,
    /// Whether it makes room for another of the same client.
    idle: bool,
    cut: oneshot::Sender<()>,
}

/// A connection's place; without it the connection ends. It is idle until it is said to be busy.
pub struct Place {
    room: Room,
    client: Client,
    number: u64,
    cut: oneshot::Receiver<()>,
}

impl Room {
    /// One client has a quarter of it.
    pub fn new(kind: &'static str, all: usize) -> Self {
        let (each, of) = ((all / 4).max(1), HashMap::new());
        Self(Arc::new(Mutex::new(Taken {
            kind,
            all,
            each,
            count: 0,
            next: 0,
            of,
            told: None,
            turned_away: TurnedAway::default(),
        })))
    }

    /// A place, if need be another's: whoever has its share already gives its oldest that is idle; and when all is
    /// taken, whoever has the most gives its oldest, one that is idle if there is one.
    pub fn enter(&self, client: Client) -> Option<Place> {
        let mut taken = self.lock();
        let own = taken.of.get(&client).map_or(0, VecDeque::len);
        let has_room = if own >= taken.each {
            taken.make_room(&client, false)
        } else if taken.count >= taken.all {
            let most = taken.of.iter().max_by_key(|(_, seats)| seats.len());
            let most = most.map(|(most, seats)| (most.clone(), seats.len()));
            most.is_some_and(|(most, has)| taken.make_room(&most, has > own))
        } else {
            true
        };
        if !has_room || own >= taken.each || taken.count >= taken.all {
            let counted = &mut taken.turned_away;
            *(if has_room { &mut counted.replaced } else { &mut counted.refused }) += 1;
            taken.tell(&client, has_room);
        }
        if !has_room {
            return None;
        }
        let (cut, receiver) = oneshot::channel();
        let number = taken.next;
        taken.next += 1;
        taken.count += 1;
        taken.of.entry(client.clone()).or_default().push_back(Seat { number, idle: true, cut });
        Some(Place { room: self.clone(), client, number, cut: receiver })
    }

    pub fn turned_away(&self) -> TurnedAway {
        self.lock().turned_away
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Cuts the oldest of a client that is idle, or else, with `any`, its oldest.
    fn make_room(&mut self, client: &Client, any: bool) -> bool {
        let Some(seats) = self.of.get(client) else { return false };
        let oldest = seats.iter().position(|seat| seat.idle).or(any.then_some(0));
        let Some(number) = oldest.and_then(|at| seats.get(at)).map(|seat| seat.number) else { return false };
        // Whoever has the place may have gone just now.
        if let Some(seat) = self.remove(client, number) {
            let _ = seat.cut.send(());
        }
        true
    }

    fn remove(&mut self, client: &Client, number: u64) -> Option<Seat> {
        let seats = self.of.get_mut(client)?;
        let at = seats.iter().position(|seat| seat.number == number)?;
        let seat = seats.remove(at);
        if seats.is_empty() {
            self.of.remove(client);
        }
        self.count -= usize::from(seat.is_some());
        seat
    }

    fn tell(&mut self, client: &Client, has_room: bool) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now.duration_since(told) >= TOLD) {
            self.told = Some(now);
            let (kind, all, each) = (self.kind, self.all, self.each);
            let refused = !has_room;
            tracing::warn!(?client, all, each, refused, "the control plane's port has too many {kind}");
        }
    }
}

impl Place {
    /// Does not make room for others of its client.
    pub fn busy(&self) {
        self.set_idle(false);
    }

    pub fn idle(&self) {
        self.set_idle(true);
    }

    /// Until it is another's.
    pub async fn cut(&mut self) {
        // Nobody drops the sender while the place is here, unless it sends.
        let _ = (&mut self.cut).await;
    }

    fn set_idle(&self, idle: bool) {
        let mut taken = self.room.lock();
        let mut seats = taken.of.get_mut(&self.client).into_iter().flatten();
        if let Some(seat) = seats.find(|seat| seat.number == self.number) {
            seat.idle = idle;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.lock().remove(&self.client, self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn from(last: u8) -> Client {
        Client::Address(Some([192, 0, 2, last].into()))
    }

    fn is_cut(place: &mut Place) -> bool {
        place.cut().now_or_never().is_some()
    }

    #[test]
    fn a_client_with_its_share_gives_its_own_oldest_that_is_idle_and_busy_ones_stay() {
        let room = Room::new("connections", 16);
        let mut flood: Vec<Place> = (0..4).map(|_| room.enter(from(1)).unwrap()).collect();
        flood[0].busy();
        let mut next = room.enter(from(1)).unwrap();
        assert_eq!(flood.iter_mut().map(is_cut).collect::<Vec<_>>(), [false, true, false, false]);
        flood.iter().for_each(Place::busy);
        next.busy();
        assert!(room.enter(from(1)).is_none(), "all of its share is busy");
        flood[3].idle();
        assert!(room.enter(from(1)).is_some() && is_cut(&mut flood[3]) && !is_cut(&mut next));
        assert_eq!(room.turned_away(), TurnedAway { refused: 1, replaced: 2 });
        drop(flood);
        assert!(room.enter(from(1)).is_some());
    }

    #[test]
    fn when_all_is_taken_whoever_has_the_most_makes_room() {
        let room = Room::new("connections", 16);
        let mut floods: Vec<Place> = (0..16).map(|at| room.enter(from(at / 4)).unwrap()).collect();
        floods.iter().for_each(Place::busy);
        let honest: Vec<Place> = (0..4).map(|at| room.enter(from(10 + at)).unwrap()).collect();
        honest.iter().for_each(Place::busy);
        assert_eq!(floods.iter_mut().filter_map(|place| is_cut(place).then_some(())).count(), 4);
        assert_eq!(room.lock().count, 16);
        drop((floods, honest));
        let taken = room.lock();
        assert_eq!((taken.count, taken.of.len()), (0, 0));
    }

    #[test]
    fn as_many_as_there_is_room_for_come_one_from_each_address_and_the_oldest_idle_one_goes() {
        let room = Room::new("connections", 4);
        let crowd: Vec<Place> = (0..4).map(|at| room.enter(from(at)).unwrap()).collect();
        crowd.iter().for_each(Place::busy);
        assert!(room.enter(from(9)).is_some(), "one of those who have more than none goes");
    }

    #[test]
    fn what_a_port_takes_stays_below_the_limit_of_descriptors() {
        for descriptors in [256, 1024, 4096, 20_000, 1 << 20] {
            let Capacity { handshakes, strangers, known } = Capacity::within(descriptors);
            assert!(handshakes + strangers + known <= descriptors - (descriptors / 4).min(4096), "{descriptors}");
            assert!(known >= (handshakes + strangers) / 2, "{descriptors}");
        }
        let usual = Capacity::within(1024);
        assert_eq!(usual, Capacity { handshakes: 96, strangers: 192, known: 480 });
    }
}
