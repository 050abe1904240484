//! Typed access to a parsed TOML table: what has the wrong type or lies outside its bounds becomes a [`Mistake`] that says
//! what was expected, and `None`. No meaning is known here; the sections' own files know it.
//!
//! [`Mistake`]: super::report::Mistake

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{SectionKeys, nearest};
use super::report::Mistakes;

/// One section (or one of several `[[…]]`) of the file.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    keys: &'static SectionKeys,
    table: &'a DeTable<'a>,
    /// Where its header is.
    start: usize,
    end: usize,
}

impl<'a> Section<'a> {
    /// The section with unknown keys noted as mistakes.
    pub fn open(keys: &'static SectionKeys, table: &'a DeTable<'a>, span: Range<usize>, mistakes: &mut Mistakes) -> Self {
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            if let Some((_, only)) = keys.fixed.iter().find(|(fixed, _)| *fixed == name) {
                let found = match value.get_ref() {
                    DeValue::String(text) => format!("{text:?}"),
                    DeValue::Boolean(value) => value.to_string(),
                    _ => String::new(),
                };
                if found != *only {
                    mistakes.add(
                        value.span(),
                        format!("this value of {name} is not supported by this version"),
                        format!("expected {only}"),
                        format!("write {name} = {only}, or leave {name} out"),
                    );
                }
            } else if keys.later.contains(&name) {
                mistakes.add(
                    key.span(),
                    format!("{name} is not supported by this version"),
                    "not known yet",
                    format!("leave {name} out"),
                );
            } else if !keys.keys.contains(&name) {
                // A slip in `password` must not show one; the value does not matter to this mistake.
                mistakes.hide(value.span());
                let all = || keys.keys.iter().copied();
                let help = match nearest(name, all()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("{} may hold: {}", keys.header(), all().collect::<Vec<_>>().join(", ")),
                };
                mistakes.add(key.span(), format!("unknown key {name:?} in {}", keys.header()), "no such key", help);
            }
        }
        Self { keys, table, start: span.start, end: span.end }
    }

    /// Where its header is.
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Whether the key is there, with whatever value, and where.
    pub fn has(&self, key: &str) -> Option<Range<usize>> {
        self.value(key).map(|_| self.table.get_key_value(key).map_or(self.span(), |(key, _)| key.span()))
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(self.keys.has(key), "{key} is missing in the list of keys");
        self.table.get(key)
    }

    /// A whole number within bounds. `what` says what it is, with its unit: "a TCP port".
    pub fn integer(&self, key: &str, bounds: RangeInclusive<u32>, what: &str, mistakes: &mut Mistakes) -> Option<Spanned<u32>> {
        let value = self.value(key)?;
        let expected = format!("expected {what}, {} to {}", bounds.start(), bounds.end());
        let Some(number) = value.get_ref().as_integer() else {
            mistakes.add(value.span(), wrong_type(key, value.get_ref()), expected, format!("write {key} = {}", bounds.start()));
            return None;
        };
        let found = i128::from_str_radix(number.as_str(), number.radix()).ok();
        match found.and_then(|found| u32::try_from(found).ok()).filter(|found| bounds.contains(found)) {
            Some(found) => Some(Spanned::new(value.span(), found)),
            None => {
                mistakes.add(value.span(), format!("{key} = {number} is out of bounds"), expected, "");
                None
            }
        }
    }

    /// Whether the value is a string.
    pub fn is_string(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().is_str())
    }

    /// The value where it is `true` or `false`, and nothing else said about it.
    pub fn as_boolean(&self, key: &str) -> Option<bool> {
        self.value(key)?.get_ref().as_bool()
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str, mistakes: &mut Mistakes) -> Option<Spanned<bool>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(found) => Some(Spanned::new(value.span(), *found)),
            other => {
                mistakes.add(
                    value.span(),
                    wrong_type(key, other),
                    "expected true or false",
                    format!("write {key} = true, without quotes"),
                );
                None
            }
        }
    }

    /// A string. `what` says what it is: "a path".
    pub fn string(&self, key: &str, what: &str, mistakes: &mut Mistakes) -> Option<Spanned<&'a str>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(found) => Some(Spanned::new(value.span(), found)),
            other => {
                let help = match other {
                    // A password is not repeated in a report.
                    DeValue::Integer(number) if key != "password" => format!("write it in quotes: {key} = \"{number}\""),
                    _ => "write it in quotes".to_owned(),
                };
                mistakes.add(value.span(), wrong_type(key, other), format!("expected {what}, as a string"), help);
                None
            }
        }
    }

    /// A list of strings; with `alone`, one string may stand for a list of one.
    pub fn strings(&self, key: &str, what: &str, alone: bool, mistakes: &mut Mistakes) -> Option<Spanned<Vec<Spanned<&'a str>>>> {
        let value = self.value(key)?;
        let list = match value.get_ref() {
            DeValue::Array(list) => list,
            DeValue::String(found) if alone => {
                return Some(Spanned::new(value.span(), vec![Spanned::new(value.span(), found.as_ref())]));
            }
            other => {
                let help = match other {
                    DeValue::String(text) => format!("write {key} = [{text:?}]"),
                    _ => format!("write {key} = [\"…\", \"…\"]"),
                };
                mistakes.add(value.span(), wrong_type(key, other), format!("expected a list of {what}"), help);
                return None;
            }
        };
        let mut found = Vec::with_capacity(list.len());
        for item in list.iter() {
            match item.get_ref() {
                DeValue::String(text) => found.push(Spanned::new(item.span(), text.as_ref())),
                other => {
                    let message = format!("{key} holds {}", type_name(other));
                    mistakes.add(item.span(), message, format!("expected a list of {what}, as strings"), "write it in quotes");
                }
            }
        }
        Some(Spanned::new(value.span(), found))
    }

    /// A string that is read as a `T`. `help` says what to do where it is none.
    pub fn parsed<T>(&self, key: &str, what: &str, help: &str, mistakes: &mut Mistakes) -> Option<Spanned<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.string(key, what, mistakes)?;
        parsed(key, &text, what, help, mistakes)
    }

    /// An absolute path.
    pub fn path(&self, key: &str, mistakes: &mut Mistakes) -> Option<Spanned<PathBuf>> {
        let text = self.string(key, "an absolute path", mistakes)?;
        let path = PathBuf::from(text.get_ref());
        if !path.is_absolute() || text.get_ref().contains('\0') {
            let message = if key == "password-file" {
                // Not repeated: the password itself may stand where the name of its file belongs.
                mistakes.hide(text.span());
                format!("{key} is not an absolute path")
            } else {
                format!("{key} = {:?} is not an absolute path", text.get_ref())
            };
            mistakes.add(
                text.span(),
                message,
                "expected a path that begins with /",
                "the daemon's working directory is no place to rely on",
            );
            return None;
        }
        Some(Spanned::new(text.span(), path))
    }
}

/// Reads `text` as a `T`, or notes that it is not `what`.
pub(super) fn parsed<T>(key: &str, text: &Spanned<&str>, what: &str, help: &str, mistakes: &mut Mistakes) -> Option<Spanned<T>>
where
    T: FromStr<Err: Display>,
{
    match text.get_ref().parse() {
        Ok(value) => Some(Spanned::new(text.span(), value)),
        Err(_) => {
            let message = format!("{key} = {:?} is not {what}", text.get_ref());
            mistakes.add(text.span(), message, format!("expected {what}"), help);
            None
        }
    }
}

fn wrong_type(key: &str, found: &DeValue<'_>) -> String {
    format!("{key} is {}", type_name(found))
}

/// What a TOML value is, in words.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
