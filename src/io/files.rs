//! Files: the configuration and the state that outlives the process.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use crate::config::{self, Config};
use crate::speaker::KeptState;

use super::keys::Keys;

/// Reads and checks a configuration. The error is the whole report: file, line, column, caret, what was expected.
pub fn read_config(path: &Path) -> anyhow::Result<Config> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration {name}"))?;
    // There may be passwords in it.
    let text = Zeroizing::new(text);
    config::parse(&name, &text).map_err(|error| anyhow!("{error}"))
}

/// Reads a configuration for use: its passwords, those in files as well, apart.
pub fn read_with_keys(path: &Path, before: &Keys) -> anyhow::Result<(Config, Keys)> {
    let mut config = read_config(path)?;
    let keys = Keys::take(before, &mut config)?;
    Ok((config, keys))
}

const STATE_FILE: &str = "state.json";

/// The kept state, empty where there is none, and whether it is of this boot. Makes the directory: later nothing outside of
/// it may be made.
pub fn load_state(directory: &Path) -> KeptState {
    // Where it fails the first save will say so.
    let _ = std::fs::create_dir_all(directory);
    let mut state = read_state(directory);
    // Without the name of the boot nothing is known to have survived.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    state.is_restart = !boot.is_empty() && state.boot == boot;
    state.boot = boot;
    state
}

/// A broken file is set aside, not trusted.
fn read_state(directory: &Path) -> KeptState {
    let path = directory.join(STATE_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return KeptState::default(),
        Err(error) => {
            tracing::warn!("cannot read {}: {error}; route distinguishers are numbered anew", path.display());
            return KeptState::default();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        let aside = path.with_extension("json.broken");
        tracing::warn!("{} is broken ({error}): set aside as {}", path.display(), aside.display());
        let _ = std::fs::rename(&path, &aside);
        KeptState::default()
    })
}

/// Writes the state whole or not at all.
pub fn save_state(directory: &Path, state: &KeptState) {
    let save = || -> anyhow::Result<()> {
        std::fs::create_dir_all(directory)?;
        let (path, fresh) = (directory.join(STATE_FILE), directory.join("state.json.new"));
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.sync_all()?;
        std::fs::rename(fresh, path)?;
        Ok(())
    };
    if let Err(error) = save() {
        tracing::warn!(
            "cannot keep state in {}: {error}; route distinguishers may change at a restart (set `state-directory`)",
            directory.display()
        );
    }
}
