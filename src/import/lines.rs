//! Octets to lines of words. FRR's files are lines of words with blocks; a line that begins with `!` or `#` is a remark.

use std::borrow::Cow;

use thiserror::Error;

/// The largest file that is read, in octets.
pub const MAX_OCTETS: usize = 4 << 20;
/// The most lines of it.
pub const MAX_LINES: usize = 100_000;
/// How much of a line a report shows, in characters.
const SHOWN: usize = 120;
/// Words behind which a secret stands, in any protocol of FRR.
const SECRETS: &[&str] =
    &["password", "key-string", "md5", "authentication-key", "message-digest-key", "secret", "key-chain-password", "plaintext"];

/// Why there is nothing to import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ImportError {
    /// It is no configuration of a router.
    #[error("it is larger than {} MiB: give the output of vtysh -c 'show running-config'", MAX_OCTETS >> 20)]
    TooLarge,
    /// The same.
    #[error("it has more than {MAX_LINES} lines: give the output of vtysh -c 'show running-config'")]
    TooManyLines,
    /// Nothing of it would be of use here.
    #[error(
        "there is no line \"router bgp ASN\" in it (of the default VRF): expected an integrated frr.conf, or the output of \
         vtysh -c 'show running-config' on a host that runs FRR's bgpd"
    )]
    NoRouter,
}

/// One line that says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// From 1.
    pub number: usize,
    /// Whether it begins with a blank, as lines within a block do.
    pub indented: bool,
    /// Without the blanks around it.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    pub fn words(&self) -> Vec<&'a str> {
        self.text.split_ascii_whitespace().collect()
    }

    /// What stands behind the first `count` words, as it is written: descriptions and passwords may hold blanks.
    pub fn behind(&self, count: usize) -> &'a str {
        let mut rest = self.text;
        for _ in 0..count {
            let rest_of_it = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
            let end = rest_of_it.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest_of_it.len());
            rest = &rest_of_it[end..];
        }
        rest.trim_matches(|c: char| c.is_ascii_whitespace())
    }

    /// As a report may show it.
    pub fn shown(&self) -> String {
        let mut shown: Vec<Cow<'_, str>> = Vec::new();
        for word in self.text.split_ascii_whitespace() {
            shown.push(tame(word));
            if SECRETS.contains(&word) {
                shown.push("***".into());
                break;
            }
        }
        let text = shown.join(" ");
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// `text` without what a terminal would obey or a TOML remark may not hold.
pub(super) fn tame(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

/// The file as text; octets that are not UTF-8 are replaced.
pub(super) fn text(octets: &[u8]) -> Result<Cow<'_, str>, ImportError> {
    if octets.len() > MAX_OCTETS {
        return Err(ImportError::TooLarge);
    }
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    Ok(String::from_utf8_lossy(octets))
}

/// The lines that say something.
pub(super) fn lines(text: &str) -> Result<Vec<Line<'_>>, ImportError> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if index >= MAX_LINES {
            return Err(ImportError::TooManyLines);
        }
        let words = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
        if !words.is_empty() && !words.starts_with(['!', '#']) {
            found.push(Line { number: index + 1, indented: line.starts_with([' ', '\t']), text: words });
        }
    }
    Ok(found)
}

/// Whether a line begins with the words of `pattern`, in which `*` stands for any one word.
pub(super) fn begins(words: &[&str], pattern: &str) -> bool {
    let mut given = words.iter();
    pattern.split(' ').all(|wanted| given.next().is_some_and(|word| wanted == "*" || *word == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Line<'_> {
        Line { number: 1, indented: false, text }
    }

    #[test]
    fn words_and_what_is_behind_them() {
        let line = one("neighbor 10.0.0.1  description  the\tsecond  one");
        assert_eq!(line.words()[1], "10.0.0.1");
        assert_eq!(line.behind(3), "the\tsecond  one");
        assert_eq!((line.behind(6), line.behind(9)), ("", ""));
    }

    #[test]
    fn reports_show_no_secret_and_nothing_a_terminal_obeys() {
        assert_eq!(one("neighbor RR password s3cret with blanks").shown(), "neighbor RR password ***");
        assert_eq!(one("ip ospf message-digest-key 1 md5 geheim").shown(), "ip ospf message-digest-key ***");
        assert_eq!(one("description \u{1b}[31mred").shown(), "description \u{fffd}[31mred");
        let long = "x ".repeat(500);
        assert_eq!(one(&long).shown().chars().count(), SHOWN + 1);
    }

    #[test]
    fn remarks_and_blank_lines_say_nothing() {
        let found = lines("\n! x\n # y\n a b \r\n\0\0\n\tc\n").unwrap();
        assert_eq!(
            found.iter().map(|line| (line.number, line.indented, line.text)).collect::<Vec<_>>(),
            [(4, true, "a b"), (6, true, "c")]
        );
        assert_eq!(lines(&"a\n".repeat(MAX_LINES + 1)), Err(ImportError::TooManyLines));
        assert_eq!(text(&vec![b'a'; MAX_OCTETS + 1]), Err(ImportError::TooLarge));
        assert_eq!(text(b"\xef\xbb\xbfa\xff").unwrap(), "a\u{fffd}");
    }

    #[test]
    fn patterns() {
        let words = ["neighbor", "x", "bfd", "profile"];
        assert!(begins(&words, "neighbor * bfd") && begins(&words, "neighbor"));
        assert!(!begins(&words, "neighbor * shutdown") && !begins(&words[..2], "neighbor * bfd"));
    }
}
