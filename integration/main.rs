//! Tests with a real kernel and real peers: what a user would see, asserted on kernel rows and on traffic.
//!
//! They need root, iproute2, iputils-ping, and the peers' packages (frr, gobgpd, dnsmasq-base, udhcpc), and fail in one sentence where one of
//! them is missing: a test that passes because it did nothing is worse than one that fails. Each test builds a fabric
//! of network namespaces of its own (`harness/fabric.rs`), so they may run side by side. `EVPND_TEST_SLOW=10` stretches
//! every deadline (for emulated kernels).
//!
//! `harness/` is the machinery, `interop/` the peers, `cases/` the tests: read the cases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "the harness stands at the rim: it owns a clock and sleeps")]

mod harness;
mod interop;

mod cases;
