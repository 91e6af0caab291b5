//! Members by group, for indexes.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// The members of each group. A group without members takes no memory.
#[derive(Debug)]
pub struct Groups<K, M>(HashMap<K, BTreeSet<M>>);

impl<K, M> Default for Groups<K, M> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, M: Ord> Groups<K, M> {
    /// Adds `member` to `group`.
    pub fn insert(&mut self, group: K, member: M) {
        self.0.entry(group).or_default().insert(member);
    }

    /// Removes `member` from `group`.
    pub fn remove(&mut self, group: &K, member: &M) {
        if let Some(members) = self.0.get_mut(group) {
            members.remove(member);
            if members.is_empty() {
                self.0.remove(group);
            }
        }
    }

    /// Removes and returns all members of `group`.
    pub fn take(&mut self, group: &K) -> BTreeSet<M> {
        self.0.remove(group).unwrap_or_default()
    }

    /// The members of `group`.
    pub fn members(&self, group: &K) -> impl Iterator<Item = &M> {
        self.0.get(group).into_iter().flatten()
    }

    /// The number of groups.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
