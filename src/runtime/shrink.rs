//! Memory of maps after a burst.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Maps with at most this capacity are not worth the work.
const MIN_CAPACITY: usize = 64;

/// Frees memory of a map from which nearly all keys were removed. Call it after each removal.
///
/// A map keeps the capacity of its largest size. Without this, a burst of 5,000 keys would hold their memory until the process ends.
/// The work is constant on average, because a map shrinks only after most of its keys were removed one by one.
pub fn shrink_if_sparse<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > MIN_CAPACITY && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_burst_is_freed() {
        let mut map: HashMap<usize, usize> = (0..5_000).map(|key| (key, key)).collect();
        for key in 0..4_990 {
            map.remove(&key);
            shrink_if_sparse(&mut map);
        }
        assert!(map.len() == 10 && map.capacity() <= MIN_CAPACITY * 8, "{}", map.capacity());
        for key in 4_990..5_000 {
            map.remove(&key);
            shrink_if_sparse(&mut map);
        }
        assert!(map.capacity() <= MIN_CAPACITY, "{}", map.capacity());
    }
}
