//! `key=value` words.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Result;

/// The words after the mode.
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// Reads `key=value` words.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let pairs = words.into_iter().map(|word| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(format!("{word:?} is not key=value")),
        });
        Ok(Self(pairs.collect::<std::result::Result<_, _>>()?))
    }

    /// A value that must be there.
    pub fn need<T: FromStr>(&self, key: &str) -> Result<T> {
        let text = self.0.get(key).ok_or_else(|| format!("{key}= is missing"))?;
        text.parse().map_err(|_| format!("{key}={text} cannot be read").into())
    }

    /// A value, or what stands for it.
    pub fn or<T: FromStr>(&self, key: &str, otherwise: T) -> Result<T> {
        if self.0.contains_key(key) { self.need(key) } else { Ok(otherwise) }
    }
}
