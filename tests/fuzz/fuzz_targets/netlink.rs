//! Datagrams as they come from netlink sockets: notifications, dumps, answers. No panic; the table of interfaces agrees with itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| evpnd::kernel::fuzz::datagram(data));
