//! Lines of the control socket, carried out by a whole daemon. No panic; what is read is written to the same again; every request
//! is answered, and harms no session.
#![no_main]

#[path = "../../device_support/mod.rs"]
mod device_support;
#[path = "../../hostile_support/mod.rs"]
mod hostile_support;

use evpnd::control::Request;
use hostile_support::Stage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let requests: Vec<Request> = data.split(|octet| *octet == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    if requests.is_empty() {
        return;
    }
    let mut stage = Stage::new("", "[limits]\nvnis = 50\n");
    for request in requests.into_iter().take(20) {
        let written = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&written).unwrap(), request);
        // These end the daemon's life, or wait for the rim.
        if matches!(request, Request::Drain {} | Request::Reload {} | Request::ClearNeighbor { .. }) {
            continue;
        }
        let reply = stage.ask(request);
        assert!(serde_json::to_string(&reply).is_ok());
    }
    stage.assert_session_unharmed();
});
