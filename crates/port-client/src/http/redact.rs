//! Keeps secrets out of texts that come from outside: a proxy or a debugging page may repeat what it was sent.

use secrecy::{ExposeSecret, SecretString};

/// The secrets that a request carried.
#[derive(Default)]
pub(crate) struct Redactor(Vec<SecretString>);

impl Redactor {
    pub(crate) fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.expose_secret().is_empty()).collect())
    }

    /// The text with every secret replaced.
    pub(crate) fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), "[redacted]"))
    }

    /// The text cleaned, on one line, and cut to at most `longest` characters. It is cleaned before it is cut: a cut secret would no longer be found.
    pub(crate) fn excerpt(&self, text: &str, longest: usize) -> String {
        let cleaned = self.clean(text);
        let is_gap = |character: char| character.is_whitespace() || character.is_control();
        let mut excerpt = String::new();
        for word in cleaned.split(is_gap).filter(|word| !word.is_empty()) {
            if !excerpt.is_empty() {
                excerpt.push(' ');
            }
            excerpt.push_str(word);
            // Enough to cut: the rest of a large body is not copied.
            if excerpt.len() > longest * 4 {
                break;
            }
        }
        if excerpt.chars().count() > longest {
            excerpt = excerpt.chars().take(longest).collect();
            excerpt.push('…');
        }
        excerpt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_before_the_text_is_cut() {
        let redactor = Redactor::new(["hunter2".into(), "".into()]);
        assert_eq!(redactor.clean("a hunter2 b"), "a [redacted] b");
        let excerpt = redactor.excerpt("ab\n\u{7}  hunter2", 8);
        assert_eq!(excerpt, "ab [reda…");
        assert_eq!(redactor.excerpt("é é é", 3), "é é…");
        assert_eq!(redactor.excerpt("short", 5), "short");
    }
}
