//! FRR's configuration as it comes from anywhere. No panic; what comes of it is a good file but for what the operator has to fill in.
#![no_main]

use evpnd::import::{Host, frr};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(import) = frr("frr.conf", data, &Host::default(), "evpnd.toml")
        && let Some(mistakes) = import.mistakes
    {
        assert!(import.toml.contains("\"FILL IN\""), "{mistakes}\n{}", import.toml);
    }
});
