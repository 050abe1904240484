//! The text of the new file: what was lost first, as remarks, then the sections.

use std::fmt::Write;

use super::finding::{Fate, Finding};
use super::finish::{FILL_IN, Section, Value};
use super::lines::tame;

/// Writes it. `name` is the file that it comes from.
pub(super) fn write(name: &str, sections: &[Section], findings: &[Finding]) -> String {
    let name = tame(name);
    let mut text =
        format!("# From {name}, by evpnctl import-frr. What the keys mean: docs/CONFIG.md; whether all is well: evpnd check.\n");
    let has = |wanted: &str| sections.iter().flat_map(|section| &section.keys).any(|(key, ..)| *key == wanted);
    if has("password") {
        text.push_str("# There are passwords in this file: nobody but root and evpnd may read it.\n");
    }
    if sections.iter().flat_map(|section| &section.keys).any(|(_, value, _)| *value == Value::Text(FILL_IN.to_owned())) {
        let _ = writeln!(text, "# Before it can be used, write what is meant wherever it says \"{FILL_IN}\".");
    }
    let lost: Vec<&Finding> = findings.iter().filter(|finding| finding.fate == Fate::NotCarried).collect();
    if lost.is_empty() {
        text.push_str("# Every line is carried over, or not needed.\n");
    } else {
        let _ = writeln!(text, "#\n# Not carried over:");
    }
    for finding in lost {
        let _ = writeln!(text, "#   {name}:{}: {}", lines_of(finding), finding.text);
        let _ = writeln!(text, "#     {}", sentence(finding));
    }
    for section in sections {
        let _ = writeln!(text, "\n{}", section.header);
        for (key, value, remark) in &section.keys {
            let remark = if remark.is_empty() { String::new() } else { format!(" # {}", tame(remark)) };
            let _ = writeln!(text, "{key} = {}{remark}", toml(value));
        }
    }
    text
}

/// `12`, or `12-40` of a block.
pub(super) fn lines_of(finding: &Finding) -> String {
    if finding.last_line > finding.line { format!("{}-{}", finding.line, finding.last_line) } else { finding.line.to_string() }
}

/// Why it is lost, and what to do about it.
pub(super) fn sentence(finding: &Finding) -> String {
    if finding.instead.is_empty() { finding.why.clone() } else { format!("{}; instead: {}", finding.why, finding.instead) }
}

fn toml(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Truth(truth) => truth.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(list) => format!("[{}]", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_reads_back() {
        for text in ["", "a\"b\\c", "tab\tand\u{7f}del", "§ 漢", "'''"] {
            let read: toml::Table = format!("a = {}", quoted(text)).parse().unwrap();
            assert_eq!(read["a"].as_str(), Some(text));
        }
    }
}
