//! The keys of TCP MD5 (RFC 2385): taken out of the configuration before the core sees it, kept here and nowhere else, wiped
//! when they go. The core knows a number for each, so that a reload sees that a key changed; what it knows can be shown.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::{Config, NeighborAddress, Password, Secret};

/// The longest key the kernel takes, octets (`TCP_MD5SIG_MAXKEYLEN`).
pub const MAX_KEY_LEN: usize = 80;

/// The keys that the configuration itself holds. Those in files are read whenever a socket needs one.
#[derive(Debug, Default)]
pub struct Keys {
    kept: BTreeMap<NeighborAddress, (u64, Secret)>,
    next: u64,
}

impl Keys {
    /// Takes the passwords out of `config` and leaves their numbers. A neighbor's password that is the same as `before` keeps
    /// its number.
    pub fn take(before: &Self, config: &mut Config) -> Self {
        let mut keys = Self { kept: BTreeMap::new(), next: before.next };
        for neighbor in &mut config.neighbors {
            let Some(Password::Text(secret)) = &neighbor.password else { continue };
            let number = match before.kept.get(&neighbor.who) {
                Some((number, same)) if same == secret => *number,
                _ => {
                    keys.next += 1;
                    keys.next
                }
            };
            keys.kept.insert(neighbor.who, (number, secret.clone()));
            neighbor.password = Some(Password::Kept(number));
        }
        keys
    }

    /// The key that `password`, which is that of `who`, stands for: 1 to 80 octets.
    ///
    /// # Errors
    /// A file that cannot be read, named; a key of a length that the kernel does not take.
    pub fn key(&self, who: NeighborAddress, password: &Password) -> io::Result<Zeroizing<Vec<u8>>> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("neighbor {who} has another password by now"));
        let key = match password {
            Password::Text(secret) => Zeroizing::new(secret.expose().as_bytes().to_vec()),
            Password::Kept(number) => match self.kept.get(&who) {
                Some((kept, secret)) if kept == number => Zeroizing::new(secret.expose().as_bytes().to_vec()),
                _ => return Err(gone()),
            },
            Password::File(path) => {
                read(path).map_err(|error| io::Error::new(error.kind(), format!("password-file {}: {error}", path.display())))?
            }
        };
        if key.is_empty() || key.len() > MAX_KEY_LEN {
            let place = if let Password::File(path) = password { format!("{}: ", path.display()) } else { String::new() };
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{place}a password has 1 to {MAX_KEY_LEN} octets, this one {}", key.len()),
            ));
        }
        Ok(key)
    }

    /// Whether every password of `config` can be had.
    ///
    /// # Errors
    /// The first one that cannot, and why.
    pub fn check(&self, config: &Config) -> io::Result<()> {
        for neighbor in &config.neighbors {
            if let Some(password) = &neighbor.password {
                let said = |error: io::Error| io::Error::new(error.kind(), format!("neighbor {}: {error}", neighbor.who));
                self.key(neighbor.who, password).map_err(said)?;
            }
        }
        Ok(())
    }
}

/// The first line of a file.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(std::fs::read(path)?);
    let end = text.iter().position(|octet| matches!(octet, b'\n' | b'\r')).unwrap_or(text.len());
    text.truncate(end);
    Ok(text)
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
        keys.key(neighbor.who, neighbor.password.as_ref().unwrap()).map(|key| key.to_vec())
    }

    #[test]
    fn the_core_sees_numbers_that_change_with_the_password() {
        let mut first = config(&[("10.0.0.2", "password = \"geheim\""), ("10.0.0.3", "")]);
        let keys = Keys::take(&Keys::default(), &mut first);
        assert!(matches!(first.neighbors[0].password, Some(Password::Kept(_))));
        assert_eq!(first.neighbors[1].password, None);
        assert_eq!(key_of(&keys, &first, 0).unwrap(), b"geheim");
        assert!(!format!("{keys:?}{first:?}").contains("geheim"));

        let mut same = config(&[("10.0.0.2", "password = \"geheim\""), ("10.0.0.3", "")]);
        let keys = Keys::take(&keys, &mut same);
        assert_eq!(same.neighbors, first.neighbors, "nothing changed");

        let mut other = config(&[("10.0.0.2", "password = \"anders\""), ("10.0.0.3", "password = \"geheim\"")]);
        let keys = Keys::take(&keys, &mut other);
        assert_ne!(other.neighbors[0].password, first.neighbors[0].password);
        assert_eq!(key_of(&keys, &other, 0).unwrap(), b"anders");
        assert_eq!(key_of(&keys, &other, 1).unwrap(), b"geheim");
        assert!(key_of(&keys, &first, 0).is_err(), "the old number opens nothing");

        // Taken away and given again: never a number that stood for something else.
        let mut none = config(&[("10.0.0.2", "")]);
        let keys = Keys::take(&keys, &mut none);
        let mut again = config(&[("10.0.0.2", "password = \"neu\"")]);
        Keys::take(&keys, &mut again);
        assert_ne!(again.neighbors[0].password, other.neighbors[0].password);
        assert_ne!(again.neighbors[0].password, first.neighbors[0].password);
    }

    #[test]
    fn a_key_is_one_to_eighty_octets() {
        let keys = Keys::default();
        let who = NeighborAddress::Address([10, 0, 0, 2].into());
        let key = |text: &str| keys.key(who, &Password::Text(Secret::new(text)));
        assert!(key("").is_err());
        assert!(key(&"x".repeat(81)).is_err());
        assert_eq!(*key("secret").unwrap(), b"secret");
    }

    #[test]
    fn a_file_gives_its_first_line_or_its_name() {
        let path = std::env::temp_dir().join(format!("evpnd-keys-{}", std::process::id()));
        let mut config = config(&[("10.0.0.2", &format!("password-file = \"{}\"", path.display()))]);
        let keys = Keys::take(&Keys::default(), &mut config);
        let error = keys.check(&config).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("10.0.0.2"), "{error}");
        std::fs::write(&path, "geheim\r\nmore\n").unwrap();
        assert_eq!(key_of(&keys, &config, 0).unwrap(), b"geheim");
        std::fs::write(&path, "\n").unwrap();
        let error = keys.check(&config).unwrap_err().to_string();
        assert!(error.contains("1 to 80"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
