//! One test for every bug that was found by running evpnd, named for what broke. Most were met by the simulation
//! (`tests/sim.rs`); each stands here in the few steps that it needs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::net::IpAddr;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::fib::{BatchDone, Fib, KernelRow, Op, OpKind, Remote};

const NOW: Time = Time::from_secs(1);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn vni() -> Vni {
    Vni::new(100).unwrap()
}
fn to(ip: &str) -> Remote {
    Remote { ip: ip.parse::<IpAddr>().unwrap(), vni: None }
}
/// Cuts one batch and acknowledges it.
fn carry_out(fib: &mut Fib) -> Vec<(OpKind, MacAddr)> {
    let Some(batch) = fib.poll_batch(NOW) else { return Vec::new() };
    fib.handle_batch_done(NOW, &BatchDone { id: batch.id, ..BatchDone::default() });
    batch.ops.into_iter().map(|Op { kind, mac, .. }| (kind, mac)).collect()
}

/// A machine moved here while the daemon was down: the port took the bridge's half of its row, and the VXLAN half stood for
/// ever, so that frames for the machine went to the old host once the bridge had forgotten it.
#[test]
fn half_a_row_that_was_left_by_an_earlier_run_is_removed() {
    let half = KernelRow { mac: MAC, remote: to("10.0.0.2"), ext_learned: true, permanent: false, bridged: false };
    let mut fib = Fib::new(1);
    fib.device_ready(NOW, vni(), 7, Some(false), vec![half]);
    assert_eq!(carry_out(&mut fib), []);
    fib.sweep(NOW);
    assert_eq!(carry_out(&mut fib), [(OpKind::DeleteUnicast { self_only: true }, MAC)]);
    assert!(fib.is_cleared(vni()));

    // Wanted as it stands, it is written all the same: the bridge's half is missing.
    let mut fib = Fib::new(1);
    fib.device_ready(NOW, vni(), 7, Some(false), vec![half]);
    fib.set_unicast(NOW, vni(), MAC, to("10.0.0.2"));
    assert_eq!(carry_out(&mut fib), [(OpKind::ReplaceUnicast, MAC)]);
}
