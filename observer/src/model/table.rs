//! A bounded table: entries get rising numbers, the oldest makes room.
//!
//! Numbers rise, so an entry is found by its distance from the first, without hashing. The few that
//! outlive thousands of younger ones move to a tree, so that they do not hold the place of the gone.
//! The memory of entries that are given back is used for the next: it lies in the caches still.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;

/// Entries by number. When full, the entry inserted first goes, and is counted.
#[derive(Debug)]
pub struct Table<K, V> {
    /// Entries from number `first` on; gone ones leave a hole.
    young: VecDeque<Option<Box<V>>>,
    first: u64,
    /// Entries with a number below `first`.
    old: BTreeMap<u64, Box<V>>,
    /// Entries in `young`.
    live: usize,
    /// Memory of entries that are gone.
    spare: Vec<Box<V>>,
    limit: usize,
    evicted: u64,
    key: PhantomData<K>,
}

/// Places in `young` per entry allowed: holes cost a word each.
const PLACES: usize = 2;
/// Entries' memory kept to be used again: entries mostly come and go one by one.
const SPARE: usize = 64;

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            young: VecDeque::new(),
            first: 1,
            old: BTreeMap::new(),
            live: 0,
            spare: Vec::new(),
            limit: 1,
            evicted: 0,
            key: PhantomData,
        }
    }
}

impl<K: Copy + From<u64> + Into<u64>, V> Table<K, V> {
    /// For at most `limit` entries (at least one).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            ..Self::default()
        }
    }

    /// Adds what `make` builds for its number; gives the entry that had to make room, if one had.
    pub fn insert(&mut self, make: impl FnOnce(K) -> V) -> (K, Option<Box<V>>) {
        let made_room = if self.len() >= self.limit {
            self.oldest()
        } else {
            None
        };
        self.evicted += u64::from(made_room.is_some());
        if self.young.len() >= self.limit.saturating_mul(PLACES) {
            let number = self.first;
            if let Some(entry) = self.pop_front() {
                self.old.insert(number, entry);
            }
        }
        let number = self.first.saturating_add(self.young.len() as u64);
        let id = K::from(number);
        let value = make(id);
        let entry = match self.spare.pop() {
            Some(mut spare) => {
                *spare = value;
                spare
            }
            None => Box::new(value),
        };
        self.young.push_back(Some(entry));
        self.live += 1;
        (id, made_room)
    }

    /// Takes the entry out, and keeps its memory for another.
    pub fn discard(&mut self, id: K) {
        if let Some(gone) = self.remove(id) {
            self.recycle(gone);
        }
    }

    /// Takes back the memory of an entry that was taken out; what it holds goes when it is used again.
    pub fn recycle(&mut self, gone: Box<V>) {
        if self.spare.len() < SPARE {
            self.spare.push(gone);
        }
    }

    /// Takes the oldest entry out.
    fn oldest(&mut self) -> Option<Box<V>> {
        if let Some((_, entry)) = self.old.pop_first() {
            return Some(entry);
        }
        while !self.young.is_empty() {
            if let Some(entry) = self.pop_front() {
                return Some(entry);
            }
        }
        None
    }

    fn pop_front(&mut self) -> Option<Box<V>> {
        let front = self.young.pop_front()?;
        self.first = self.first.saturating_add(1);
        self.live -= usize::from(front.is_some());
        front
    }

    /// Where in `young` a number is; `None` for one that is older.
    fn place(&self, id: K) -> Option<usize> {
        usize::try_from(id.into().checked_sub(self.first)?).ok()
    }

    /// The entry.
    #[must_use]
    pub fn get(&self, id: K) -> Option<&V> {
        match self.place(id) {
            Some(place) => self.young.get(place)?.as_deref(),
            None => self.old.get(&id.into()).map(|entry| &**entry),
        }
    }

    /// The entry, to change.
    pub fn get_mut(&mut self, id: K) -> Option<&mut V> {
        match self.place(id) {
            Some(place) => self.young.get_mut(place)?.as_deref_mut(),
            None => self.old.get_mut(&id.into()).map(|entry| &mut **entry),
        }
    }

    /// Takes the entry out.
    pub fn remove(&mut self, id: K) -> Option<Box<V>> {
        let Some(place) = self.place(id) else {
            return self.old.remove(&id.into());
        };
        let entry = self.young.get_mut(place)?.take()?;
        self.live -= 1;
        while self.young.front().is_some_and(Option::is_none) {
            self.pop_front();
        }
        Some(entry)
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.old.retain(|_, entry| keep(entry));
        for slot in &mut self.young {
            if slot.as_deref().is_some_and(|entry| !keep(entry)) {
                *slot = None;
                self.live -= 1;
            }
        }
    }

    /// All entries, oldest first.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        let young = self.young.iter().filter_map(Option::as_deref);
        self.old.values().map(|entry| &**entry).chain(young)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live + self.old.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that had to go.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::model::ReqId;

    #[test]
    fn the_oldest_makes_room_and_is_counted() {
        let mut table: Table<ReqId, u64> = Table::new(3);
        let ids: Vec<ReqId> = (0..5).map(|n| table.insert(|_| n).0).collect();
        assert_eq!(table.len(), 3);
        assert_eq!(table.evicted(), 2);
        assert!(table.get(ids[1]).is_none());
        assert_eq!(table.get(ids[2]), Some(&2));
    }

    #[test]
    fn removed_entries_do_not_pile_up() {
        let mut table: Table<ReqId, u64> = Table::new(8);
        for n in 0..10_000 {
            let (id, _) = table.insert(|_| n);
            table.remove(id);
        }
        assert!(table.is_empty());
        assert!(table.young.len() <= 16);
        assert_eq!(table.evicted(), 0);
    }

    #[test]
    fn memory_that_is_used_again_holds_the_new_entry_only() {
        let mut table: Table<ReqId, Vec<u64>> = Table::new(8);
        for n in 0..1_000 {
            let (id, _) = table.insert(|_| vec![n]);
            assert_eq!(table.get(id), Some(&vec![n]));
            table.discard(id);
            assert_eq!(table.get(id), None);
        }
        assert_eq!(table.spare.len(), 1);
        let ids: Vec<ReqId> = (0..8).map(|n| table.insert(|_| vec![n]).0).collect();
        assert!(table.spare.is_empty());
        for (id, n) in ids.into_iter().zip(0..) {
            assert_eq!(table.get(id), Some(&vec![n]));
            table.discard(id);
        }
    }

    #[test]
    fn one_that_stays_outlives_thousands() {
        let mut table: Table<ReqId, u64> = Table::new(8);
        let (stays, _) = table.insert(|_| 77);
        for n in 0..10_000 {
            let (id, made_room) = table.insert(|_| n);
            assert!(made_room.is_none());
            assert_eq!(table.remove(id).as_deref(), Some(&n));
        }
        assert_eq!(table.get(stays), Some(&77));
        assert!(table.young.len() <= 16);
        assert_eq!(table.len(), 1);
        assert_eq!(table.remove(stays).as_deref(), Some(&77));
        assert!(table.is_empty());
    }
}
