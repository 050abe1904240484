//! What became of a line. A line that is read twice (in a group and by its members) has one finding all the same.

use super::lines::tame;

/// Whether a line lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Its meaning is in the new file.
    Carried,
    /// Nothing is lost without it: evpnd does so anyway, or it only concerns FRR.
    NotNeeded,
    /// Its meaning is lost.
    NotCarried,
}

/// What became of one line, or of a block of lines that belongs to something else than EVPN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the last line of the block; `line` where it is one line only.
    pub last_line: usize,
    /// The line as a report may show it: shortened, without secrets and control characters.
    pub text: String,
    /// What became of it.
    pub fate: Fate,
    /// Of a carried line: where its meaning is now, such as `[[neighbor]] hold-time`. Else: why it is not carried.
    pub why: String,
    /// What to do about it; empty where nothing.
    pub instead: String,
}

/// What a reader says of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub fate: Fate,
    pub why: String,
    pub instead: String,
}

/// It is in the new file, there.
pub(super) fn carried(key: &str) -> Verdict {
    Verdict { fate: Fate::Carried, why: key.to_owned(), instead: String::new() }
}

/// It need not be in the new file.
pub(super) fn not_needed(why: &str) -> Verdict {
    Verdict { fate: Fate::NotNeeded, why: why.to_owned(), instead: String::new() }
}

/// It is lost.
pub(super) fn not_carried(why: impl Into<String>, instead: impl Into<String>) -> Verdict {
    // Words of the file may be in it.
    Verdict { fate: Fate::NotCarried, why: tame(&why.into()).into_owned(), instead: instead.into() }
}
