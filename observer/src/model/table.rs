//! A bounded table: entries get numbers, the oldest makes room.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Entries by number. When full, the entry inserted first goes, and is counted.
#[derive(Debug)]
pub struct Table<K, V> {
    entries: FxHashMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
    next: u64,
    evicted: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            entries: FxHashMap::default(),
            order: VecDeque::new(),
            limit: 1,
            next: 1,
            evicted: 0,
        }
    }
}

impl<K: Copy + Eq + Hash + From<u64>, V> Table<K, V> {
    /// For at most `limit` entries (at least one).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            ..Self::default()
        }
    }

    /// Adds what `make` builds for its number; gives the entry that had to make room, if one had.
    pub fn insert(&mut self, make: impl FnOnce(K) -> V) -> (K, Option<V>) {
        let id = K::from(self.next);
        self.next += 1;
        let mut made_room = None;
        while self.entries.len() >= self.limit && made_room.is_none() {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            made_room = self.entries.remove(&oldest);
        }
        self.evicted += u64::from(made_room.is_some());
        // Removed entries leave their number behind; sweep before that grows beyond the bound.
        if self.order.len() >= self.limit.saturating_mul(2) {
            let entries = &self.entries;
            self.order.retain(|id| entries.contains_key(id));
        }
        self.entries.insert(id, make(id));
        self.order.push_back(id);
        (id, made_room)
    }

    /// The entry.
    #[must_use]
    pub fn get(&self, id: K) -> Option<&V> {
        self.entries.get(&id)
    }

    /// The entry, to change.
    pub fn get_mut(&mut self, id: K) -> Option<&mut V> {
        self.entries.get_mut(&id)
    }

    /// Takes the entry out.
    pub fn remove(&mut self, id: K) -> Option<V> {
        self.entries.remove(&id)
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.entries.retain(|_, value| keep(value));
    }

    /// All entries, in no order that may be relied on.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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
        assert!(table.order.len() <= 16);
        assert_eq!(table.evicted(), 0);
    }
}
