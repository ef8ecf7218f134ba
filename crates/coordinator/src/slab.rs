//! A store with keys that go stale: a key of something removed finds nothing, even where its place is used again.

/// Where something is. Small, so that queues of keys are cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    place: u32,
    generation: u32,
}

/// Values by [`Key`].
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Keeps `value`. The caller bounds how many there are; beyond 2^32 places the value is handed back.
    pub(crate) fn insert(&mut self, value: T) -> Result<Key, T> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => match u32::try_from(self.places.len()) {
                Ok(place) => {
                    self.places.push((0, None));
                    place
                }
                Err(_) => return Err(value),
            },
        };
        let Some(slot) = self.places.get_mut(place as usize) else { return Err(value) };
        slot.1 = Some(value);
        self.len += 1;
        Ok(Key { place, generation: slot.0 })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.place as usize).filter(|slot| slot.0 == key.generation)?.1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.place as usize).filter(|slot| slot.0 == key.generation)?.1.as_mut()
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.places.get_mut(key.place as usize).filter(|slot| slot.0 == key.generation)?;
        let value = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(key.place);
        self.len -= 1;
        Some(value)
    }

    /// Keys of all values that `which` holds of.
    pub(crate) fn keys_of(&self, which: impl Fn(&T) -> bool) -> Vec<Key> {
        let key = |(place, (generation, value)): (usize, &(u32, Option<T>))| {
            let place = u32::try_from(place).ok()?;
            value.as_ref().filter(|value| which(value)).map(|_| Key { place, generation: *generation })
        };
        self.places.iter().enumerate().filter_map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let a = slab.insert("a").unwrap();
        assert_eq!(slab.remove(a), Some("a"));
        let b = slab.insert("b").unwrap();
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (None, Some(&"b"), 1));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.keys_of(|_| true), [b]);
    }
}
