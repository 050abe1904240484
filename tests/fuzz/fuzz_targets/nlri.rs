//! An EVPN NLRI field. No panic; every route that is read is emitted octet by octet as it came.
#![no_main]

use evpnd::wire::evpn::routes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut offset, mut emitted) = (0, Vec::new());
    for route in routes(data) {
        match route {
            Ok(route) => {
                emitted.clear();
                route.emit(&mut emitted);
                assert_eq!(emitted, data[offset..offset + emitted.len()]);
                assert!(route.to_string().starts_with('['));
                offset += emitted.len();
            }
            Err(error) => {
                assert_eq!(error.offset, offset);
                assert!(!error.to_string().is_empty());
                if !error.recoverable {
                    return;
                }
                offset += 2 + usize::from(data[offset + 1]);
            }
        }
    }
    assert_eq!(offset, data.len());
});
