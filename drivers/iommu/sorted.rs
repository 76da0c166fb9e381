// SPDX-License-Identifier: GPL-2.0-only

//! A sorted list in which finding, inserting and removing are fast, however long it is.
//!
//! The elements are in chunks of at most [`CHUNK`], and the chunks in a list. So a change moves the rest of one
//! chunk, and now and then the rest of the list of chunks, instead of all that comes after it; this goes for lists
//! that are filled from the front to the back and emptied in the same order, too, as vhost does it. A change that
//! must not fail is prepared with [`Sorted::reserve()`].
//!
//! Pure logic without I/O; `super::list` is the only way to allocate. The kernel module and the host tests compile
//! this same file.

use super::list::{
    self,
    List,
    NoMemory,
    CHUNK, //
};

/// What a list is sorted by.
pub(crate) trait Keyed {
    /// The key, which does not change while the element is in a list.
    fn key(&self) -> u64;
}

impl<T: Keyed> Keyed for &T {
    fn key(&self) -> u64 {
        (**self).key()
    }
}

/// A sorted list.
///
/// # Invariants
///
/// 1. Keys rise strictly, from chunk to chunk as well.
/// 2. No chunk is empty, or longer than [`CHUNK`], for which it has room.
/// 3. Two chunks in a row have more than `CHUNK / 2` elements together.
/// 4. `len` elements are in all chunks together.
pub(crate) struct Sorted<T> {
    chunks: List<List<T>>,
    /// Empty chunks, for insertions to come.
    spare: List<List<T>>,
    len: usize,
}

/// Where an element is, until the list changes.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    chunk: usize,
    index: usize,
}

impl<T: Keyed> Sorted<T> {
    /// An empty list.
    pub(crate) fn new() -> Self {
        Self {
            chunks: List::new(),
            spare: List::new(),
            len: 0,
        }
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first place with a key of `key` or more; behind all elements if there is none.
    pub(crate) fn find(&self, key: u64) -> Place {
        let is_before = |element: &T| element.key() < key;
        let chunk = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(is_before));
        let index = match self.chunks.get(chunk) {
            Some(chunk) => chunk.partition_point(is_before),
            None => 0,
        };

        Place { chunk, index }
    }

    /// The element at `place`.
    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        self.chunks.get(place.chunk)?.get(place.index)
    }

    /// The element before `place`.
    pub(crate) fn before(&self, place: Place) -> Option<&T> {
        match place.index.checked_sub(1) {
            Some(index) => self.chunks.get(place.chunk)?.get(index),
            None => self.chunks.get(place.chunk.checked_sub(1)?)?.last(),
        }
    }

    /// All elements from `place` on.
    pub(crate) fn iter_from(&self, place: Place) -> Iter<'_, T> {
        let mut chunks = self.chunks.get(place.chunk..).unwrap_or_default().iter();
        let first = chunks.next().and_then(|chunk| chunk.get(place.index..));

        Iter {
            chunk: first.unwrap_or_default().iter(),
            chunks,
        }
    }

    /// All elements.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        self.iter_from(Place { chunk: 0, index: 0 })
    }

    /// Appends an element, whose key is above all others. May sleep.
    ///
    /// # Errors
    ///
    /// There is no memory; the element is dropped, and nothing has changed.
    pub(crate) fn push(&mut self, element: T) -> Result<(), NoMemory> {
        if self.chunks.last().is_none_or(|last| last.len() >= CHUNK) {
            list::reserve(&mut self.chunks, 1)?;
            let chunk = list::with_capacity(CHUNK)?;
            let end = self.chunks.len();
            list::insert(&mut self.chunks, end, chunk);
        }
        if let Some(last) = self.chunks.last_mut() {
            let end = last.len();
            self.len += usize::from(list::insert(last, end, element));
        }
        Ok(())
    }

    /// Prepares `count` calls of [`Self::insert()`], which then can't fail. May sleep.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), NoMemory> {
        // An insertion makes one chunk at most.
        list::reserve(&mut self.chunks, count)?;
        while self.spare.len() < count {
            list::reserve(&mut self.spare, 1)?;
            let chunk = list::with_capacity(CHUNK)?;
            let end = self.spare.len();
            list::insert(&mut self.spare, end, chunk);
        }
        Ok(())
    }

    /// Inserts an element where its key belongs. Its key must not be in the list. Allocates nothing.
    ///
    /// Returns whether it could be inserted, which is always so after [`Self::reserve()`].
    pub(crate) fn insert(&mut self, element: T) -> bool {
        let Some(place) = self.make_room(element.key()) else {
            return false;
        };
        let inserted = match self.chunks.get_mut(place.chunk) {
            Some(chunk) => list::insert(chunk, place.index, element),
            None => false,
        };

        self.len += usize::from(inserted);
        inserted
    }

    /// Finds a place for a key in a chunk that isn't full.
    fn make_room(&mut self, key: u64) -> Option<Place> {
        let place = self.find(key);
        let room = |chunk: usize| {
            let chunk = self.chunks.get(chunk)?;
            (chunk.len() < CHUNK).then_some(chunk.len())
        };

        if room(place.chunk).is_some() {
            return Some(place);
        }
        if place.index == 0 {
            // Between two chunks, or at an end.
            let before = place.chunk.checked_sub(1);
            if let Some((chunk, index)) = before.and_then(|chunk| Some((chunk, room(chunk)?))) {
                return Some(Place { chunk, index });
            }
            let fresh = self.take_spare()?;
            return list::insert(&mut self.chunks, place.chunk, fresh).then_some(place);
        }

        // In the middle of a full chunk: its upper half moves to a new one.
        let mut upper = self.take_spare()?;
        let chunk = self.chunks.get_mut(place.chunk)?;
        while chunk.len() > CHUNK / 2 {
            let end = upper.len();
            list::insert(&mut upper, end, chunk.pop()?);
        }
        upper.reverse();
        if !list::insert(&mut self.chunks, place.chunk + 1, upper) {
            return None;
        }
        Some(match place.index.checked_sub(CHUNK / 2) {
            Some(index) if index > 0 => Place {
                chunk: place.chunk + 1,
                index,
            },
            _ => place,
        })
    }

    /// Takes an empty chunk, for which there is room in the list of chunks.
    fn take_spare(&mut self) -> Option<List<T>> {
        match self.chunks.len() < self.chunks.capacity() {
            true => self.spare.pop(),
            false => None,
        }
    }

    /// Takes the element at `place` out. Allocates nothing.
    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        let element = list::remove(self.chunks.get_mut(place.chunk)?, place.index)?;

        self.len -= 1;
        if self
            .chunks
            .get(place.chunk)
            .is_some_and(|chunk| chunk.is_empty())
        {
            list::remove(&mut self.chunks, place.chunk);
        } else {
            self.join(place.chunk);
        }
        if let Some(before) = place.chunk.checked_sub(1) {
            self.join(before);
        }
        Some(element)
    }

    /// Drops the elements that `stays` doesn't choose. It is asked once for each, in order. Allocates nothing.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        for chunk in self.chunks.iter_mut() {
            let before = chunk.len();
            list::retain(chunk, &mut stays);
            self.len -= before - chunk.len();
        }
        list::retain(&mut self.chunks, |chunk| !chunk.is_empty());
        let mut chunk = 0;
        while chunk < self.chunks.len() {
            let before = self.chunks.len();
            self.join(chunk);
            // One that has grown may be short yet.
            chunk += usize::from(self.chunks.len() == before);
        }
    }

    /// Makes one chunk of this one and the next if they are short.
    fn join(&mut self, chunk: usize) {
        let length = |chunk| self.chunks.get(chunk).map(|chunk: &List<T>| chunk.len());

        match (length(chunk), length(chunk + 1)) {
            (Some(first), Some(second)) if first + second <= CHUNK / 2 => (),
            _ => return,
        }
        let Some(moved) = list::remove(&mut self.chunks, chunk + 1) else {
            return;
        };
        if let Some(chunk) = self.chunks.get_mut(chunk) {
            for element in moved {
                let end = chunk.len();
                list::insert(chunk, end, element);
            }
        }
    }

    /// How many chunks there are.
    #[cfg(test)]
    pub(crate) fn num_chunks(&self) -> usize {
        self.chunks.len()
    }
}

/// Iterator over a [`Sorted`] list, by rising key.
pub(crate) struct Iter<'a, T> {
    chunk: core::slice::Iter<'a, T>,
    chunks: core::slice::Iter<'a, List<T>>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(element) = self.chunk.next() {
                return Some(element);
            }
            self.chunk = self.chunks.next()?.iter();
        }
    }
}
