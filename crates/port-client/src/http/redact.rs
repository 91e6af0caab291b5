//! Removes secrets from texts of the other side: a proxy or a debugging page may repeat what it received.

use secrecy::{ExposeSecret, SecretString};

/// The secrets of a request.
#[derive(Default)]
pub(crate) struct Redactor(Vec<SecretString>);

impl Redactor {
    pub(crate) fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.expose_secret().is_empty()).collect())
    }

    /// The text with every secret replaced.
    fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), "[redacted]"))
    }

    /// The redacted text on one line, with at most `max_characters` characters. The text is redacted before it is cut, since a part of a
    /// secret would not be found.
    pub(crate) fn excerpt(&self, text: &str, max_characters: usize) -> String {
        let redacted = self.redact(text);
        let is_separator = |character: char| character.is_whitespace() || character.is_control();
        let mut excerpt = String::new();
        for word in redacted.split(is_separator).filter(|word| !word.is_empty()) {
            if !excerpt.is_empty() {
                excerpt.push(' ');
            }
            excerpt.push_str(word);
            // A character has at most 4 bytes, so this is enough: the rest of a large body is not copied.
            if excerpt.len() > max_characters * 4 {
                break;
            }
        }
        if excerpt.chars().count() > max_characters {
            excerpt = excerpt.chars().take(max_characters).collect();
            excerpt.push('…');
        }
        excerpt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_redacted_before_it_is_cut() {
        let redactor = Redactor::new(["hunter2".into(), "".into()]);
        assert_eq!(redactor.redact("a hunter2 b"), "a [redacted] b");
        let excerpt = redactor.excerpt("ab\n\u{7}  hunter2", 8);
        assert_eq!(excerpt, "ab [reda…");
        assert_eq!(redactor.excerpt("é é é", 3), "é é…");
        assert_eq!(redactor.excerpt("short", 5), "short");
    }
}
