//! Re-lists: a list contains every object that exists, so an object that it doesn't contain was deleted.

/// Counts the lists of one kind of object, to find the objects that a re-list didn't contain.
///
/// Each entry of an index keeps the [`ListMark`] of the list that last contained its object. When a list is complete,
/// an entry with an older mark belongs to an object that was deleted while the watch was interrupted. The entries stay
/// in place during a re-list, so it doesn't double the memory of the index.
#[derive(Debug, Default)]
pub struct Listing(u32);

/// The list that last contained an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListMark(u32);

impl Listing {
    /// Starts a new list.
    pub fn begin(&mut self) {
        self.0 = self.0.wrapping_add(1);
    }

    /// The mark for an object in the current list, or in a change after it.
    #[must_use]
    pub fn mark(&self) -> ListMark {
        ListMark(self.0)
    }

    /// Whether the current list doesn't contain the object with this mark. Call it when that list is complete.
    #[must_use]
    pub fn is_stale(&self, mark: ListMark) -> bool {
        mark != self.mark()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_missing_from_a_re_list_are_stale() {
        let mut listing = Listing::default();
        let (kept, deleted) = (listing.mark(), listing.mark());
        assert!(!listing.is_stale(deleted));
        listing.begin();
        let kept_again = listing.mark();
        assert!(listing.is_stale(kept) && listing.is_stale(deleted) && !listing.is_stale(kept_again));
    }
}
