//! The cases, by what they are about. Every case ends with `evpnctl diff` empty on every daemon that still runs.

mod adoption;
mod beside_frr;
mod demo;
mod graceful;
mod harness_itself;
mod healing;
mod hostile;
mod ipv6;
mod life;
mod local_macs;
mod metrics;
mod middles;
mod migration;
mod modes;
mod nexthops;
mod numbers;
mod on_demand;
mod privilege;
mod quiet;
mod refusals;
mod restart;
mod scenario;
mod security;
mod strangers;
mod suppression;
mod two_reflectors;
