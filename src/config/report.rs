//! What is wrong with a file, said so that it can be mended at once: `file:line:column`, the line, a caret under the thing,
//! what was expected and what to do. Plain ASCII, so that it reads the same in a terminal, a log and an editor.

use std::fmt;
use std::ops::Range;

use super::secret;

/// The most mistakes that are shown; the rest is counted.
const SHOWN: usize = 20;

/// The longest piece of a line that is shown, in characters.
const WIDTH: usize = 120;

/// One mistake, in octets of the text.
#[derive(Debug, Clone)]
pub(super) struct Mistake {
    /// The thing that is wrong.
    pub span: Range<usize>,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What was expected there: stands behind the caret.
    pub expected: String,
    /// What to do.
    pub help: String,
    /// Another place that has to do with it, and what is there.
    pub other: Option<(Range<usize>, String)>,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    found: Vec<Mistake>,
    /// Parts of the text that no report may show.
    hidden: Vec<Range<usize>>,
}

impl Mistakes {
    /// Notes a mistake.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>, expected: impl Into<String>, help: impl Into<String>) {
        self.found.push(Mistake { span, message: message.into(), expected: expected.into(), help: help.into(), other: None });
    }

    /// Notes that `span` says again, or contradicts, what `first` says.
    pub fn add_pair(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        expected: impl Into<String>,
        help: impl Into<String>,
        first: (Range<usize>, &str),
    ) {
        self.add(span, message, expected, help);
        if let Some(mistake) = self.found.last_mut() {
            mistake.other = Some((first.0, first.1.to_owned()));
        }
    }

    /// Keeps a part of the text out of every report, besides what [`secret::places`] finds: a value that may be a password.
    pub fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The error for people, in the order of the file.
    pub fn into_error(mut self, file_name: &str, text: &str) -> ConfigError {
        self.found.sort_by_key(|mistake| mistake.span.start);
        self.hidden.extend(secret::places(text));
        let total = self.found.len();
        let reports = self.found.iter().take(SHOWN);
        let reports = reports.map(|mistake| Report::new(file_name, text, &self.hidden, mistake)).collect();
        ConfigError { file_name: file_name.to_owned(), reports, total }
    }
}

/// Why a configuration was refused. `Display` is the whole report, many lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file_name: String,
    reports: Vec<Report>,
    total: usize,
}

/// One mistake, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    line: usize,
    column: usize,
    message: String,
    excerpt: String,
}

impl ConfigError {
    /// Name of the file as it was given.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// Line of the first mistake, from 1.
    pub fn line(&self) -> usize {
        self.reports.first().map_or(1, |report| report.line)
    }

    /// Column of the first mistake in characters, from 1.
    pub fn column(&self) -> usize {
        self.reports.first().map_or(1, |report| report.column)
    }

    /// How many mistakes were found.
    pub fn count(&self) -> usize {
        self.total
    }

    /// The first mistake in one line, `file:line:column: message`: for a log.
    pub fn summary(&self) -> String {
        let message = self.reports.first().map_or("", |report| &report.message);
        format!("{}:{}:{}: {message}", self.file_name, self.line(), self.column())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, report) in self.reports.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{}:{}:{}: {}\n{}", self.file_name, report.line, report.column, report.message, report.excerpt)?;
        }
        match self.total - self.reports.len() {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Report {
    fn new(file_name: &str, text: &str, hidden: &[Range<usize>], mistake: &Mistake) -> Self {
        let place = Place::find(text, hidden, &mistake.span);
        let other = mistake.other.as_ref().map(|(span, label)| (Place::find(text, hidden, span), label));
        let width = place.line.max(other.as_ref().map_or(0, |(place, _)| place.line)).to_string().len();
        let mut excerpt = format!("{:width$} |\n{}", "", place.underlined(width, '^', &mistake.expected));
        if let Some((place, label)) = other {
            excerpt += &format!("\n{:width$} |\n{}", "", place.underlined(width, '-', label));
            excerpt += &format!(" ({file_name}:{}:{})", place.line, place.column);
        }
        if !mistake.help.is_empty() {
            excerpt += &format!("\n{:width$} = {}", "", mistake.help);
        }
        Self { line: place.line, column: place.column, message: mistake.message.clone(), excerpt }
    }
}

/// A span found in its line.
struct Place {
    line: usize,
    column: usize,
    /// The line, or the piece of it around the span, fit to be shown.
    shown: String,
    /// What stands before the span in `shown`, as blanks (tabs stay tabs).
    indent: String,
    /// Characters to underline, at least 1.
    length: usize,
}

impl Place {
    fn find(text: &str, hidden: &[Range<usize>], span: &Range<usize>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(start));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = 1 + before.matches('\n').count();
        let (line, line_start, line_end, start, end) = if start == text.len() && line_start == start && line > 1 {
            // Behind the last newline there is no line to show: the end of the line before it is the place.
            let end = start - 1;
            (line - 1, text[..end].rfind('\n').map_or(0, |at| at + 1), end, end, end)
        } else {
            (line, line_start, line_end, start, end.min(line_end))
        };
        let column = text[line_start..start].chars().count() + 1;
        let length = text[start..end.max(start)].chars().count().max(1);
        let (line_text, hidden_from) = without_secret(text, line_start..line_end, hidden);
        let mut first = (column - 1).min(hidden_from);
        // A long line is cut to a window that begins some words before the span.
        let skipped = if line_text.chars().count() > WIDTH { first.saturating_sub(40) } else { 0 };
        first -= skipped;
        let shown: String =
            line_text.chars().skip(skipped).take(WIDTH).map(|c| if c == '\t' || !c.is_control() { c } else { '?' }).collect();
        let indent = shown.chars().take(first).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let length = length.min(shown.chars().count().saturating_sub(first).max(1));
        Self { line, column, shown, indent, length }
    }

    fn underlined(&self, width: usize, mark: char, label: &str) -> String {
        let marks = mark.to_string().repeat(self.length);
        format!("{:>width$} | {}\n{:width$} | {}{marks} {label}", self.line, self.shown, "", self.indent)
    }
}

/// The line up to the first part of it that is hidden, and the character from which it is.
fn without_secret(text: &str, line: Range<usize>, hidden: &[Range<usize>]) -> (String, usize) {
    let within = hidden.iter().filter(|place| place.start < line.end && place.end > line.start);
    match within.map(|place| floor(text, place.start.max(line.start))).min() {
        Some(from) => {
            let kept = &text[line.start..from];
            (format!("{kept}***"), kept.chars().count())
        }
        None => (text[line].trim_end_matches('\r').to_owned(), usize::MAX),
    }
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        let mut mistakes = Mistakes::default();
        mistakes.add(span, "wrong", "expected right", "mend it");
        mistakes.into_error("a.toml", text).to_string()
    }

    #[test]
    fn points_at_the_thing() {
        assert_eq!(
            shown("[a]\n\tb = 12\n", 9..11),
            "a.toml:2:6: wrong\n  |\n2 | \tb = 12\n  | \t    ^^ expected right\n  = mend it"
        );
    }

    #[test]
    fn the_end_of_the_file_is_in_its_last_line() {
        for (text, line) in [("", 1), ("a", 1), ("a\n", 1), ("a\nb\n", 2), ("a\n\n", 2)] {
            let mut mistakes = Mistakes::default();
            mistakes.add(text.len()..text.len(), "wrong", "", "");
            assert_eq!(mistakes.into_error("a.toml", text).line(), line, "{text:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let written =
            ["password = \"geheim\" # x", "n = [{ \"password\"='geheim', hold-time = 1 }]", "password = '''\ngeheim '''"];
        for text in written {
            let report = shown(text, text.len() - 3..text.len());
            assert!(!report.contains("geheim") && report.contains("***"), "{report}");
        }
        assert!(shown("password-file = \"/etc/key\"", 0..4).contains("/etc/key"));
        let mut mistakes = Mistakes::default();
        mistakes.hide(4..12);
        mistakes.add(0..1, "wrong", "", "");
        let report = mistakes.into_error("a.toml", "k = \"geheim\" # why").to_string();
        assert!(!report.contains("geheim") && report.contains("k = ***"), "{report}");
    }

    #[test]
    fn long_lines_and_control_characters_are_tamed() {
        let text = format!("{}\u{1b}[31m{}", "x".repeat(500), "y".repeat(500));
        let report = shown(&text, 500..501);
        assert!(report.lines().all(|line| line.chars().count() < 200));
        assert!(!report.contains('\u{1b}'));
    }

    #[test]
    fn many_mistakes_are_counted() {
        let mut mistakes = Mistakes::default();
        for _ in 0..30 {
            mistakes.add(0..1, "wrong", "", "");
        }
        let error = mistakes.into_error("a.toml", "a");
        assert_eq!(error.count(), 30);
        assert!(error.to_string().ends_with("and 10 more"));
    }
}
