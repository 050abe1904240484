//! The keys of TCP MD5 (RFC 2385): taken out of the configuration before the core sees it, kept here and nowhere else, wiped
//! when they go. The core knows a number for each, so that a reload sees that a key changed; what it knows can be shown.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{Config, NeighborAddress, Password, Secret};

/// The longest key the kernel takes, octets (`TCP_MD5SIG_MAXKEYLEN`).
pub const MAX_KEY_LEN: usize = 80;

/// The keys of the neighbors, those of a `password-file` as they were when the configuration was read.
#[derive(Debug, Default)]
pub struct Keys {
    kept: BTreeMap<NeighborAddress, (u64, Secret)>,
    files: BTreeMap<NeighborAddress, PathBuf>,
    next: u64,
}

impl Keys {
    /// Takes the passwords out of `config` and leaves their numbers. A neighbor's password that is the same as `before` keeps
    /// its number, wherever it stands.
    ///
    /// # Errors
    /// A password file that cannot be read or has no password in it, with its neighbor.
    pub fn take(before: &Self, config: &mut Config) -> io::Result<Self> {
        let mut keys = Self { next: before.next, ..Self::default() };
        for neighbor in &mut config.neighbors {
            let secret = match &neighbor.password {
                Some(Password::Text(secret)) => secret.clone(),
                Some(Password::File(path)) => {
                    keys.files.insert(neighbor.who, path.clone());
                    read(neighbor.who, path)?
                }
                Some(Password::Kept(_)) | None => continue,
            };
            let number = match before.kept.get(&neighbor.who) {
                Some((number, same)) if *same == secret => *number,
                _ => {
                    keys.next += 1;
                    keys.next
                }
            };
            keys.kept.insert(neighbor.who, (number, secret));
            neighbor.password = Some(Password::Kept(number));
        }
        Ok(keys)
    }

    /// The key that `password`, which is that of `who`, stands for: 1 to 80 octets.
    ///
    /// # Errors
    /// Where another one has taken its place.
    pub fn key(&self, who: NeighborAddress, password: &Password) -> io::Result<&[u8]> {
        match self.kept.get(&who) {
            Some((number, secret)) if *password == Password::Kept(*number) => Ok(secret.expose().as_bytes()),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("neighbor {who} has another password by now"))),
        }
    }

    /// The password files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.values().map(PathBuf::as_path)
    }

    /// Whether every password file can be read again.
    ///
    /// # Errors
    /// The first one that cannot, and why.
    pub fn check_files(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|(who, path)| read(*who, path).map(|_| ()))
    }
}

/// The password of `who`: the first line of a file.
fn read(who: NeighborAddress, path: &Path) -> io::Result<Secret> {
    let fail = |kind, why: &dyn std::fmt::Display| {
        io::Error::new(kind, format!("neighbor {who}: password-file {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| fail(error.kind(), &error))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > MAX_KEY_LEN {
        let why = format!("a password has 1 to {MAX_KEY_LEN} octets, its first line has {}", line.len());
        return Err(fail(io::ErrorKind::InvalidData, &why));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(passwords: &[(&str, &str)]) -> Config {
        let mut text = "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n".to_owned();
        for (address, password) in passwords {
            text += &format!("[[neighbor]]\naddress = \"{address}\"\n{password}\n");
        }
        crate::config::parse("test", &text).unwrap()
    }

    fn key_of(keys: &Keys, config: &Config, index: usize) -> io::Result<Vec<u8>> {
        let neighbor = &config.neighbors[index];
        keys.key(neighbor.who, neighbor.password.as_ref().unwrap()).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_core_sees_numbers_that_change_with_the_password() {
        let mut first = config(&[("10.0.0.2", "password = \"geheim\""), ("10.0.0.3", "")]);
        let keys = Keys::take(&Keys::default(), &mut first).unwrap();
        assert!(matches!(first.neighbors[0].password, Some(Password::Kept(_))));
        assert_eq!(first.neighbors[1].password, None);
        assert_eq!(key_of(&keys, &first, 0).unwrap(), b"geheim");
        assert!(!format!("{keys:?}{first:?}").contains("geheim"));

        let mut same = config(&[("10.0.0.2", "password = \"geheim\""), ("10.0.0.3", "")]);
        let keys = Keys::take(&keys, &mut same).unwrap();
        assert_eq!(same.neighbors, first.neighbors, "nothing changed");

        let mut other = config(&[("10.0.0.2", "password = \"anders\""), ("10.0.0.3", "password = \"geheim\"")]);
        let keys = Keys::take(&keys, &mut other).unwrap();
        assert_ne!(other.neighbors[0].password, first.neighbors[0].password);
        assert_eq!(key_of(&keys, &other, 0).unwrap(), b"anders");
        assert_eq!(key_of(&keys, &other, 1).unwrap(), b"geheim");
        assert!(key_of(&keys, &first, 0).is_err(), "the old number opens nothing");

        // Taken away and given again: never a number that stood for something else.
        let mut none = config(&[("10.0.0.2", "")]);
        let keys = Keys::take(&keys, &mut none).unwrap();
        let mut again = config(&[("10.0.0.2", "password = \"neu\"")]);
        Keys::take(&keys, &mut again).unwrap();
        assert_ne!(again.neighbors[0].password, other.neighbors[0].password);
        assert_ne!(again.neighbors[0].password, first.neighbors[0].password);
    }

    #[test]
    fn a_file_gives_its_first_line_or_its_name() {
        let path = std::env::temp_dir().join(format!("evpnd-keys-{}", std::process::id()));
        let config = || config(&[("10.0.0.2", &format!("password-file = \"{}\"", path.display()))]);
        let refused = || Keys::take(&Keys::default(), &mut config()).unwrap_err().to_string();
        let error = refused();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("10.0.0.2"), "{error}");
        for wrong in ["", "\n", &"x".repeat(81)] {
            std::fs::write(&path, wrong).unwrap();
            let error = refused();
            assert!(error.contains("1 to 80"), "{error}");
        }
        std::fs::write(&path, "geheim\r\nmore\n").unwrap();
        let mut first = config();
        let keys = Keys::take(&Keys::default(), &mut first).unwrap();
        assert_eq!(key_of(&keys, &first, 0).unwrap(), b"geheim");
        assert!(keys.files().eq([path.as_path()]) && keys.check_files().is_ok());
        // Another password in the same file is a change; the same in another place is none.
        std::fs::write(&path, "anders").unwrap();
        let mut second = config();
        Keys::take(&keys, &mut second).unwrap();
        assert_ne!(second.neighbors, first.neighbors);
        let mut inline = super::tests::config(&[("10.0.0.2", "password = \"geheim\"")]);
        Keys::take(&keys, &mut inline).unwrap();
        assert_eq!(inline.neighbors, first.neighbors);
        std::fs::remove_file(&path).unwrap();
        assert!(keys.check_files().is_err());
    }
}
