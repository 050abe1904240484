//! The life of a hostile peer at a whole daemon: octets, messages, UPDATEs, time, connections that come and go. No panic; the peer
//! that behaves keeps its session and its routes, and what is kept of the other stays within its limits.
#![no_main]

#[path = "../../device_support/mod.rs"]
mod device_support;
#[path = "../../hostile_support/mod.rs"]
mod hostile_support;

use std::time::Duration;

use hostile_support::{HEALTHY_ROUTES, HOSTILE, Stage, message};
use libfuzzer_sys::fuzz_target;

const MAX_ROUTES: u64 = 200;
const MAX_ATTRIBUTE_OCTETS: u64 = 100_000;

fuzz_target!(|data: &[u8]| {
    let mut stage = Stage::new(
        &format!("max-routes = {MAX_ROUTES}"),
        &format!("[limits]\nattribute-octets-per-neighbor = {MAX_ATTRIBUTE_OCTETS}\n"),
    );
    let mut rest = data;
    // What an octet and those after it mean; see `take`.
    while let [act, argument, ref after @ ..] = *rest {
        rest = after;
        match act % 8 {
            0 => {
                let octets = take(&mut rest, usize::from(argument));
                stage.hostile_says(octets);
            }
            1 => {
                let body = take(&mut rest, usize::from(argument));
                stage.hostile_says(&message(act >> 3, body));
            }
            // An UPDATE, the commonest.
            2 | 3 => {
                let len = usize::from(argument) | usize::from(act >> 3) << 8;
                let body = take(&mut rest, len);
                stage.hostile_says(&message(2, body));
            }
            4 => {
                stage.hostile_comes_up(argument & 1 != 0);
            }
            5 => stage.pass(Duration::from_millis(u64::from(argument) * 500)),
            6 if argument & 1 == 0 => stage.hostile_closes(),
            6 => {
                stage.hostile_connects();
            }
            _ if argument & 1 == 0 => {
                stage.hostile_reads(usize::from(argument) * 64);
            }
            _ => stage.clear_hostile(),
        }
    }
    stage.assert_session_unharmed();
    let hostile = stage.neighbor(HOSTILE);
    assert!(hostile.routes_received <= MAX_ROUTES && hostile.attribute_octets <= MAX_ATTRIBUTE_OCTETS, "{hostile:?}");
    assert!(stage.status().paths <= u64::from(HEALTHY_ROUTES) + MAX_ROUTES + 1, "{:?}", stage.status());
    assert!(stage.to_hostile.len() < 1 << 22);
});

/// Up to `len` octets off the front.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(len.min(rest.len()));
    *rest = after;
    taken
}
