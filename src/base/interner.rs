//! Values that repeat, stored once and named by a small number.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

/// The name of an interned value; meaningful only with the interner that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InternId(pub u32);

/// A table of values by id, each counted by its users and freed with the last of them. Ids are reused.
///
/// The hash is keyed by a seed, because peers and tenants choose the values.
#[derive(Debug)]
pub struct Interner<T> {
    hasher: foldhash::quality::FixedState,
    index: HashTable<u32>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    users: u32,
}

impl<T: Eq + Hash> Interner<T> {
    /// An empty table whose hash is keyed by `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: foldhash::quality::FixedState::with_seed(seed),
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The id of `value` with one more user, storing it where it is new.
    pub fn acquire(&mut self, value: T) -> InternId {
        let hash = self.hasher.hash_one(&value);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let found = self.index.find(hash, |&id| slots[id as usize].value.as_ref() == Some(&value)).copied();
        let id = match found {
            Some(id) => id,
            None => {
                let id = match self.free.pop() {
                    Some(id) => {
                        self.slots[id as usize].value = Some(value);
                        id
                    }
                    None => {
                        self.slots.push(Slot { value: Some(value), users: 0 });
                        (self.slots.len() - 1) as u32
                    }
                };
                let slots = &self.slots;
                self.index
                    .insert_unique(hash, id, |&other| slots[other as usize].value.as_ref().map_or(0, |v| hasher.hash_one(v)));
                id
            }
        };
        self.slots[id as usize].users += 1;
        InternId(id)
    }

    /// The id of `value` where it is stored; its users stay as they are.
    pub fn find(&self, value: &T) -> Option<InternId> {
        let hash = self.hasher.hash_one(value);
        self.index.find(hash, |&id| self.slots[id as usize].value.as_ref() == Some(value)).map(|&id| InternId(id))
    }

    /// One more user of `id`.
    pub fn retain(&mut self, id: InternId) {
        self.slots[id.0 as usize].users += 1;
    }

    /// One user of `id` less; gives the value back when that was the last.
    pub fn release(&mut self, id: InternId) -> Option<T> {
        let slot = &mut self.slots[id.0 as usize];
        slot.users -= 1;
        if slot.users > 0 {
            return None;
        }
        let hash = self.hasher.hash_one(slot.value.as_ref()?);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id.0) {
            entry.remove();
        }
        self.free.push(id.0);
        self.slots[id.0 as usize].value.take()
    }

    /// The value of a live id; `None` for one that was freed.
    pub fn value(&self, id: InternId) -> Option<&T> {
        self.slots.get(id.0 as usize)?.value.as_ref()
    }

    /// How many values are stored.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The live values with their ids, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (InternId, &T)> {
        self.slots.iter().enumerate().filter_map(|(id, slot)| Some((InternId(id as u32), slot.value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_has_one_id_until_its_last_user_goes() {
        let mut table = Interner::new(1);
        let a = table.acquire("a".to_owned());
        let b = table.acquire("b".to_owned());
        assert_ne!(a, b);
        assert_eq!(table.acquire("a".to_owned()), a);
        assert_eq!(table.release(a), None);
        assert_eq!(table.release(a), Some("a".to_owned()));
        assert_eq!(table.find(&"a".to_owned()), None);
        assert_eq!(table.value(a), None);
        assert_eq!(table.acquire("c".to_owned()), a, "ids are reused");
        assert_eq!(table.len(), 2);
        assert_eq!(table.find(&"b".to_owned()), Some(b));
    }

    #[test]
    fn many_values_keep_their_ids_while_the_index_grows() {
        let mut table = Interner::new(1);
        let ids: Vec<_> = (0..10_000_u32).map(|n| table.acquire(n)).collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(table.value(*id), Some(&(n as u32)));
            assert_eq!(table.find(&(n as u32)), Some(*id));
        }
    }
}
