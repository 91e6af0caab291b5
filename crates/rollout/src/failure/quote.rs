//! Messages of Kubernetes, prepared for a quotation.

use std::collections::HashMap;

/// Replaces the end of a text that is too long.
const ELLIPSIS: char = '…';

/// `text` on one line. Each line break, with the space around it, becomes one space.
pub fn one_line(text: &str) -> String {
    let is_break = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    text.split(is_break).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `text`, or its beginning with an ellipsis if it has more than `limit` characters.
pub fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    kept.trim_end().chars().chain((limit > 0).then_some(ELLIPSIS)).collect()
}

/// The most frequent of `quotes`, without empty ones. Of equally frequent ones, the longest, and then the first, so that the result is always
/// the same.
pub fn most_frequent(quotes: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for (position, quote) in quotes.enumerate().filter(|(_, quote)| !quote.is_empty()) {
        counts.entry(quote).or_insert((0, position)).0 += 1;
    }
    let most =
        counts.into_iter().max_by_key(|(quote, (count, position))| (*count, quote.len(), std::cmp::Reverse(*position)));
    most.map(|(quote, _)| quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_become_spaces() {
        assert_eq!(one_line("  a \r\n\n b\tc\u{2028}d\u{85}e  f\n"), "a b c d e  f");
        assert_eq!(one_line("\n \n"), "");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("größer", 6), "größer");
        assert_eq!(shortened("größer", 5), "größ…");
        assert_eq!(shortened("ab cd", 4), "ab…", "no space before the ellipsis");
        assert_eq!(shortened("ab", 1), "…");
        assert_eq!(shortened("ab", 0), "");
    }

    #[test]
    fn most_frequent_quote_is_chosen() {
        let chosen = |quotes: &[&str]| most_frequent(quotes.iter().map(|quote| (*quote).to_owned()));
        assert_eq!(chosen(&["b", "a", "a", "longer"]).as_deref(), Some("a"));
        assert_eq!(chosen(&["", "", "short", "longer"]).as_deref(), Some("longer"), "empty quotes don't count");
        assert_eq!(chosen(&["bb", "aa"]).as_deref(), Some("bb"));
        assert_eq!(chosen(&["", ""]), None);
        assert_eq!(chosen(&[]), None);
    }
}
