//! Numbered slots in chunks, so that a million of them never need a copy twice their size while a vector doubles.
//!
//! Read first: `table`, which keeps destinations and further paths here. The list of free slots runs through the free
//! slots themselves.

/// Slots of one chunk. 4096 destinations of 64 octets are 256 KiB.
const CHUNK: usize = 4096;
/// "No slot": the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// A value that can lend one of its fields to the list of free slots.
pub(super) trait Slot: Copy {
    /// The value of a free slot whose successor in the list of free slots is `next`.
    fn free(next: u32) -> Self;
    /// The successor, asked of free slots only.
    fn next_free(&self) -> u32;
}

/// A growing table of slots with ids that are reused; see the head of this file.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
    used: u32,
    free: u32,
}

impl<T: Slot> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0, used: 0, free: NONE }
    }

    /// Puts `value` into a free slot, or into a new one.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.used += 1;
        if self.free != NONE {
            let id = self.free;
            let slot = &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK];
            self.free = slot.next_free();
            *slot = value;
            return id;
        }
        let id = self.len;
        if (id as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[id as usize / CHUNK].push(value);
        self.len += 1;
        id
    }

    /// Frees the slot `id`, which must be in use.
    pub(super) fn remove(&mut self, id: u32) {
        self.chunks[id as usize / CHUNK][id as usize % CHUNK] = T::free(self.free);
        self.free = id;
        self.used -= 1;
    }

    /// The slot `id`, in use or free; `None` past the last.
    pub(super) fn slot(&self, id: u32) -> Option<&T> {
        self.chunks.get(id as usize / CHUNK)?.get(id as usize % CHUNK)
    }

    /// How many slots there are, free ones included: ids are below this.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// How many slots are in use.
    pub(super) const fn used(&self) -> u32 {
        self.used
    }

    /// Octets held.
    pub(super) fn octets(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, id: u32) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }
}
