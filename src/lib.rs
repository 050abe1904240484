//! evpnd: the BGP EVPN control plane for Linux VXLAN.
//!
//! This file is the map of the house and nothing else. Floors are numbered from the ground; a room imports rooms
//! of lower floors only, and siblings never import each other. `tests/tidy.rs` reads the `use` lines and keeps it so.
//!
//! | floor | room | what it is for |
//! | --- | --- | --- |
//! | 0 | [`base`] | small values: MAC address, VNI, ASN, virtual time, interner |
//! | 1 | [`wire`] | octets of BGP to values and back, no policy, no state |
//! | 1 | [`control`] | the language of the control socket: requests, replies, and their tables for people |
//! | 2 | [`session`] | one peer's protocol life: RFC 4271 as a pure machine |
//! | 2 | [`rib`] | interned attributes, paths, decision, reflection and what each peer is yet to hear |
//! | 2 | [`fib`] | what the kernel should hold, entry by entry, and whether it does |
//! | 2 | [`config`] | text to a checked configuration, and the difference of two |
//! | 3 | [`evpn`] | MAC-VRFs: import by route target, mobility, flood lists, origination |
//! | 3 | [`import`] | another control plane's configuration to ours, for `evpnctl` |
//! | 3 rim | [`kernel`] | netlink: devices, dumps, events, batches of writes |
//! | 4 | [`speaker`] | owns a whole daemon's state; the only place where rooms meet |
//! | 5 rim | [`lab`] | a fabric of network namespaces for demos and tests |
//! | 5 rim | [`io`] | tokio, TCP, the control socket, signals, the only clock |
//!
//! The walk of a route through these rooms is drawn in `docs/ARCHITECTURE.md`.

pub mod base;
pub mod config;
pub mod control;
pub mod evpn;
pub mod fib;
pub mod import;
pub mod io;
pub mod kernel;
pub mod lab;
pub mod rib;
pub mod session;
pub mod speaker;
pub mod wire;
