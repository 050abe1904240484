//! What must not be seen: a password in memory, and the places of a file where one stands.
//!
//! A [`Secret`] shows nothing of itself and is wiped when it goes. Reports of mistakes show lines of the file; [`places`]
//! says which parts of it they leave out. It looks at the text alone, because a file with a wrong quote cannot be parsed,
//! and takes rather too much for a secret than too little.

use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use super::keys::nearest;

/// A password. Two of them can be compared, so that a reload sees a change; only [`Secret::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a copy of `text`.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The password, for the one who hands it to the kernel.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The parts of a file that hold a password, as far as its text shows: from behind a key that is or resembles `password` to
/// the end of the line, or of the string in triple quotes that begins there.
pub(super) fn places(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = next_word(text, at) {
        at = word.end;
        if !is_secret_key(&text[word.clone()]) {
            continue;
        }
        // The key may be quoted, and `:` is what people write who come from another format.
        let start = at + span_of(&text[at..], |c| matches!(c, '"' | '\''));
        let start = start + span_of(&text[start..], |c| matches!(c, ' ' | '\t' | '=' | ':'));
        let rest = &text[start..];
        let length = match ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(quotes)) {
            Some(quotes) => rest[3..].find(quotes).map_or(rest.len(), |end| end + 6),
            None => rest.find('\n').unwrap_or(rest.len()),
        };
        at = start + length;
        found.push(start..at);
    }
    found
}

fn is_secret_key(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    if matches!(lower.as_str(), "password-file" | "password_file") {
        return false;
    }
    ["passw", "passphrase", "secret"].iter().any(|piece| lower.contains(piece))
        || lower == "pass"
        || nearest(&lower, ["password"].into_iter()).is_some()
}

/// The next run of letters, digits, `-` and `_` at or behind `at`.
fn next_word(text: &str, at: usize) -> Option<Range<usize>> {
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let start = at + text[at..].find(in_word)?;
    Some(start..start + span_of(&text[start..], in_word))
}

/// How many octets at the beginning of `text` are such characters.
fn span_of(text: &str, such: impl Fn(char) -> bool) -> usize {
    text.find(|c| !such(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new("geheim");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.expose(), "geheim");
        assert_eq!(secret, Secret::new("geheim"));
        assert_ne!(secret, Secret::new("anders"));
    }

    #[test]
    fn the_places_of_passwords_are_found_however_they_are_written() {
        for text in [
            "password = \"geheim\"",
            "\"password\"='geheim'",
            "password: geheim",
            "password \"geheim\"",
            "n = [{ hold-time = 3, Password = \"geheim\" }]",
            "pasword = \"geheim\"",
            "auth-password = \"geheim\"",
            "password = \"\"\"\nge\"heim\ngeheim\"\"\"",
            "password = '''geheim\n\ngeheim",
        ] {
            let places = places(text);
            let mut left = text.to_owned();
            places.iter().rev().for_each(|place| left.replace_range(place.clone(), ""));
            assert!(!left.contains("heim") && !places.is_empty(), "{text:?} leaves {left:?}");
        }
    }

    #[test]
    fn other_keys_stay() {
        for text in ["password-file = \"/etc/key\"", "passive = true", "port = 179", "address = \"10.0.0.1\""] {
            assert!(places(text).is_empty(), "{text:?}");
        }
        let text = "password = \"\"\"x\"\"\"\nport = 179\n";
        assert_eq!(places(text), std::slice::from_ref(&(11..18)));
    }
}
