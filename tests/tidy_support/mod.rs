//! Reading Rust, as much as the house rules need: code without comments and literals, without its tests, and the paths in it.
#![allow(clippy::unwrap_used, missing_docs)]

/// The text with comments and the insides of literals blotted out, so that only code is left; lines stay where they are.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let blot = |piece: &str, out: &mut String| out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let word_before = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if !word_before && let Some(length) = raw_string(rest) {
            length
        } else if rest.starts_with('"') {
            quoted(rest)
        } else if let Some(inner) = rest.strip_prefix('\'') {
            // A lifetime has no second quote right behind its first character.
            let mut inner = inner.char_indices();
            match (inner.next(), inner.next()) {
                (Some((_, '\\')), _) => rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(1, |(end, _)| end + 3),
                (Some(_), Some((end, '\''))) => end + 2,
                _ => 0,
            }
        } else {
            0
        };
        if length > 0 {
            blot(&rest[..length], &mut out);
            at += length;
        } else {
            let c = rest.chars().next().unwrap();
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let count = hashes.bytes().take_while(|b| *b == b'#').count();
    let inner = hashes[count..].strip_prefix('"')?;
    let end = inner.find(&format!("\"{}", "#".repeat(count))).map_or(inner.len(), |end| end + 1 + count);
    Some(rest.len() - inner.len() + end)
}

/// Code without what is behind `#[cfg(test)]`.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let body = &out[start..];
        let mut depth = 0_usize;
        let mut end = body.len();
        for (at, c) in body.char_indices().skip("#[cfg(test)]".len()) {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                end = at + 1;
                break;
            }
        }
        let blank: String = body[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..start + end, &blank);
    }
    out
}

/// Every path in the code with its line, groups of `use` spelt out: `use a::{b, c::d}` gives `a::b` and `a::c::d`.
pub fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut line = 1;
    // What stands before the group that is open, for each open brace; none where the brace is no group of `use`.
    let mut groups: Vec<Option<String>> = Vec::new();
    let mut path = String::new();
    let mut characters = code.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\n' => line += 1,
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = c.to_string();
                while let Some(c) = characters.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                if path.is_empty()
                    && let Some(Some(prefix)) = groups.last()
                {
                    path.clone_from(prefix);
                }
                path += &word;
                if characters.peek() == Some(&':') {
                    continue;
                }
                found.push((line, std::mem::take(&mut path)));
            }
            ':' if characters.next_if_eq(&':').is_some() => path += "::",
            '{' => groups.push(path.ends_with("::").then(|| std::mem::take(&mut path))),
            '}' => {
                groups.pop();
                path.clear();
            }
            c if c.is_whitespace() => {}
            _ => path.clear(),
        }
    }
    found
}

/// Whether `path` is `what` or something inside it.
pub fn inside(path: &str, what: &str) -> bool {
    path.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
