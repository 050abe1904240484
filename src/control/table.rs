//! Columns for people: no borders, so that `grep`, `awk` and `cut` work on them as on `ip` and `ss`. A long table comes in
//! pages; the widths of the pages before are kept, so that the columns do not dance and nothing is held back.

use std::borrow::Cow;

/// Blanks between two columns.
const GAP: usize = 2;

/// One row: its cells, and lines that stand below it, indented.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// One for each column.
    pub cells: Vec<String>,
    /// What is said below the row.
    pub notes: Vec<String>,
}

/// A table that is written page by page.
#[derive(Debug)]
pub(super) struct Table {
    header: &'static [&'static str],
    widths: Vec<usize>,
    begun: bool,
}

impl Table {
    /// A table with these headings. Headings that begin with `#` are of numbers: set to the right.
    pub fn new(header: &'static [&'static str]) -> Self {
        Self { header, widths: header.iter().map(|heading| heading.trim_start_matches('#').len()).collect(), begun: false }
    }

    /// The next rows, with the headings before the first of them.
    pub fn page(&mut self, rows: &[Row]) -> String {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        if !self.begun && !rows.is_empty() {
            self.begun = true;
            self.line(self.header.iter().map(|heading| heading.trim_start_matches('#')), &mut out);
        }
        for row in rows {
            self.line(row.cells.iter().map(String::as_str), &mut out);
            for note in &row.notes {
                wrapped("    ", "      ", note.split(' '), " ", &mut out);
            }
        }
        out
    }

    fn line<'t>(&self, cells: impl Iterator<Item = &'t str>, out: &mut String) {
        let mut line = String::new();
        for ((cell, width), heading) in cells.zip(&self.widths).zip(self.header) {
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, after) = if heading.starts_with('#') { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            line += before;
            line += &tame(cell);
            line += after;
            line += &" ".repeat(GAP);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// The text without what a terminal obeys: host names and shutdown texts are written by peers.
pub(super) fn tame(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The width that text is broken at, in characters.
const WIDTH: usize = 100;

/// Pieces put into lines of at most [`WIDTH`] characters where they fit, `first` before the first line and `rest` before
/// the others.
pub(super) fn wrapped<'t>(first: &str, rest: &str, pieces: impl Iterator<Item = &'t str>, between: &str, out: &mut String) {
    let mut line = first.to_owned();
    let mut empty = true;
    for piece in pieces {
        if !empty && line.chars().count() + between.len() + piece.chars().count() > WIDTH {
            out.push_str((line + between).trim_end());
            out.push('\n');
            line = rest.to_owned();
            empty = true;
        }
        if !empty {
            line += between;
        }
        line += &tame(piece);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_over_pages() {
        let row = |a: &str, b: &str| Row { cells: vec![a.to_owned(), b.to_owned()], notes: Vec::new() };
        let mut table = Table::new(&["NAME", "#N"]);
        assert_eq!(table.page(&[]), "");
        assert_eq!(table.page(&[row("longer", "1")]), "NAME    N\nlonger  1\n");
        assert_eq!(table.page(&[row("a", "23")]), "a       23\n");
        let noted = Row { cells: vec!["a".to_owned(), "1".to_owned()], notes: vec!["why".to_owned()] };
        assert_eq!(table.page(&[noted]), "a        1\n    why\n");
    }

    #[test]
    fn peers_do_not_drive_the_terminal() {
        let cells = vec!["\u{1b}[2J\nfake".to_owned()];
        assert_eq!(Table::new(&["A"]).page(&[Row { cells, notes: vec!["a\rb".to_owned()] }]), "A\n?[2J?fake\n    a?b\n");
    }

    #[test]
    fn long_text_is_broken() {
        let mut out = String::new();
        let piece = "x".repeat(60);
        wrapped("* ", "  ", [piece.as_str(), piece.as_str()].into_iter(), ", ", &mut out);
        assert_eq!(out, format!("* {piece},\n  {piece}\n"));
    }
}
