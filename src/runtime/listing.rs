//! Re-lists: a list brings every object that exists, so what it does not bring is gone.

/// Counts the lists of one kind of objects.
///
/// A row keeps the mark of the list in which it was last seen. After the list is complete, the rows with an older mark are those of
/// objects that were deleted while nobody watched. The rows stay in place during a list, so a re-list needs no second copy of them.
#[derive(Debug, Default)]
pub struct Listing(u32);

/// The list in which an object was last seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListMark(u32);

impl Listing {
    /// A list begins.
    pub fn begin(&mut self) {
        self.0 = self.0.wrapping_add(1);
    }

    /// The mark for an object that is seen now, in the list or in a change after it.
    #[must_use]
    pub fn mark(&self) -> ListMark {
        ListMark(self.0)
    }

    /// Whether the last list did not bring the object with this mark. Meaningful once that list is complete.
    #[must_use]
    pub fn is_stale(&self, mark: ListMark) -> bool {
        mark != self.mark()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_list_brings_is_not_stale() {
        let mut listing = Listing::default();
        let (kept, gone) = (listing.mark(), listing.mark());
        assert!(!listing.is_stale(gone));
        listing.begin();
        let kept_again = listing.mark();
        assert!(listing.is_stale(kept) && listing.is_stale(gone) && !listing.is_stale(kept_again));
    }
}
