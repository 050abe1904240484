//! What the demo looks like: headings, lines with the time, a matrix. A hundred columns; colour only on a terminal.

#![allow(clippy::disallowed_methods, reason = "each line shows when it happened")]

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where the story is told.
#[derive(Debug)]
pub struct Screen {
    began: Instant,
    has_colour: bool,
    chapter: u32,
}

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Headings.
    Bold,
    /// What is beside the point.
    Dim,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
}

impl Screen {
    /// On the standard output, from now on.
    pub fn new() -> Self {
        let has_colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { began: Instant::now(), has_colour, chapter: 0 }
    }

    /// How long the story has lasted.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// `text` as it looks.
    pub fn paint(&self, style: Style, text: impl Display) -> String {
        if !self.has_colour {
            return text.to_string();
        }
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Good => 32,
            Style::Bad => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A line as it is. An error means that nobody listens any more: the lab then ends.
    pub fn line(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// The heading of the next chapter.
    pub fn chapter(&mut self, title: &str, explanation: &str) -> io::Result<()> {
        self.chapter += 1;
        let title = self.paint(Style::Bold, format_args!("{} {title}", self.chapter));
        self.line(format_args!("\n{title}  {}", self.paint(Style::Dim, explanation)))
    }

    /// A line with the time and the node where it happened.
    pub fn event(&self, node: &str, text: impl Display) -> io::Result<()> {
        let at = self.paint(Style::Dim, format_args!("{:7.3} s", self.elapsed().as_secs_f64()));
        self.line(format_args!("{at}  {node:<9} {text}"))
    }

    /// `words` with the mark of their outcome.
    pub fn judge(&self, is_good: bool, words: impl Display) -> String {
        let (mark, style) = if is_good { ("✓", Style::Good) } else { ("✗", Style::Bad) };
        format!("{} {words}", self.paint(style, mark))
    }

    /// A line below an event, without time or node.
    pub fn detail(&self, text: impl Display) -> io::Result<()> {
        self.line(format_args!("{:11}{text}", ""))
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Milliseconds with as many digits as say something: `0.08`, `1.2`, `35`.
pub fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        m if m < 1.0 => format!("{m:.2}"),
        m if m < 10.0 => format!("{m:.1}"),
        m => format!("{m:.0}"),
    }
}

/// A square of cells with names at the top and at the left, as lines. `cell` gives text of at most `width` characters.
pub fn matrix(names: &[&str], width: usize, mut cell: impl FnMut(usize, usize) -> String) -> Vec<String> {
    let pad = |text: &str| format!("{text}{:1$}", "", width.saturating_sub(text.chars().count()));
    let head: String = names.iter().map(|name| pad(name)).collect();
    let mut lines = vec![format!("{:10}{head}", "from \\ to").trim_end().to_string()];
    for (row, name) in names.iter().enumerate() {
        let cells: String = (0..names.len()).map(|column| pad(&cell(row, column))).collect();
        lines.push(format!("{name:<10}{cells}").trim_end().to_string());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(millis(Duration::from_micros(83)), "0.08");
        assert_eq!(millis(Duration::from_micros(1234)), "1.2");
        assert_eq!(millis(Duration::from_millis(35)), "35");
    }

    #[test]
    fn a_matrix() {
        let lines = matrix(&["a", "b"], 6, |row, column| if row == column { "–".into() } else { "0.08".into() });
        assert_eq!(lines, ["from \\ to a     b", "a         –     0.08", "b         0.08  –"]);
    }
}
