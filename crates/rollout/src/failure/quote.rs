//! Messages of Kubernetes, made fit to be quoted.

use std::collections::HashMap;

/// Marks what was left out.
const ELLIPSIS: char = '…';

/// `text` on one line: each line break, with the space around it, becomes one space.
pub fn one_line(text: &str) -> String {
    let breaks = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    text.split(breaks).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `text` if it has at most `longest` characters, else its beginning and an ellipsis, together as long as that.
pub fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept: String = text.chars().take(longest.saturating_sub(1)).collect();
    kept.trim_end().chars().chain((longest > 0).then_some(ELLIPSIS)).collect()
}

/// The most frequent of `quotes` that says anything; of equally frequent ones the longest, then the first, so that
/// the answer is always the same.
pub fn most_frequent(quotes: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for (place, quote) in quotes.enumerate().filter(|(_, quote)| !quote.is_empty()) {
        counts.entry(quote).or_insert((0, place)).0 += 1;
    }
    let most =
        counts.into_iter().max_by_key(|(quote, (count, place))| (*count, quote.len(), std::cmp::Reverse(*place)));
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
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened("größer", 6), "größer");
        assert_eq!(shortened("größer", 5), "größ…");
        assert_eq!(shortened("ab cd", 4), "ab…", "no space before the ellipsis");
        assert_eq!(shortened("ab", 1), "…");
        assert_eq!(shortened("ab", 0), "");
    }

    #[test]
    fn the_most_frequent_quote_stands_for_all() {
        let chosen = |quotes: &[&str]| most_frequent(quotes.iter().map(|quote| (*quote).to_owned()));
        assert_eq!(chosen(&["b", "a", "a", "longer"]).as_deref(), Some("a"));
        assert_eq!(chosen(&["", "", "short", "longer"]).as_deref(), Some("longer"), "empty ones don't count");
        assert_eq!(chosen(&["bb", "aa"]).as_deref(), Some("bb"));
        assert_eq!(chosen(&["", ""]), None);
        assert_eq!(chosen(&[]), None);
    }
}
