//! A configuration file. No panic; what is refused says where and why, what is taken is the same when it is read again, and
//! a reload of the same file changes nothing.
#![no_main]

use evpnd::config::{difference, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse("evpnd.toml", text) {
        Ok(config) => {
            let again = parse("evpnd.toml", text).unwrap();
            assert_eq!(config, again);
            let change = difference(&config, &again);
            assert!(change.neighbors_added.is_empty() && change.neighbors_removed.is_empty() && change.neighbors_changed.is_empty());
            assert!(change.vnis_added.is_empty() && change.vnis_removed.is_empty() && change.vnis_changed.is_empty());
            assert!(change.applied.is_empty() && change.needs_restart.is_empty());
        }
        Err(error) => assert!(error.to_string().starts_with("evpnd.toml"), "{error}"),
    }
});
