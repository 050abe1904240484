//! The filter on the event socket: what the kernel need not even queue for us.
//!
//! A million rows that we write come back as a million notifications, with pid 0, so that they cannot be told from
//! others' by sender. Dropped are
//! - `RTM_NEWNEIGH` with `NTF_EXT_LEARNED`: what a control plane wrote, which on this host is us. Price: another control
//!   plane that rewrites our rows is seen by the audit only. Not those of a bridge port that is no tunnel of ours: a platform's static entry
//!   keeps the mark where one of our rows stood before (`fdb_add_entry`, `net/bridge/br_fdb.c`);
//! - the short form, 40 octets, that kernels before 6.16 or so add to the VXLAN driver's own notification of a write or
//!   delete (`rtnl_fdb_notify`, `net/core/rtnetlink.c`): it names no destination.
//! - `RTM_GETNEIGH`: what the kernel asks user space for (`l2miss`, `app_solicit`); those it asks of us for come elsewhere
//!   (`misses`), where no tenant can fill this buffer.
//!
//! Kept: every link, every `RTM_DELNEIGH` (rows and neighbours deleted behind our back), every row that a port learned, every
//! neighbour that somebody else wrote.

use std::collections::BTreeSet;

use socket2::SockFilter;

use super::bpf::{IF_EQUAL, IF_SET, LOAD_BYTE, LOAD_HALF, LOAD_LEN, LOAD_WORD, RETURN};

/// So many tunnels the program can tell from other ports: its jumps are short. With more, marked entries of other ports are seen by the audit.
pub(super) const TUNNELS: usize = 200;

/// The program, for these tunnels. Offsets: `nlmsg_type` 4, then `struct ndmsg` at 16: family 16, ifindex 20, flags 26. The classic machine
/// loads big-endian, netlink is in host order: the constants are turned, not the loads. Jumps count from the next line.
pub(super) fn program(tunnels: &BTreeSet<u32>) -> Vec<SockFilter> {
    let line = SockFilter::new;
    let host = |kind: u16| u32::from(kind.to_be());
    let known = tunnels.len() <= TUNNELS;
    let count = if known { tunnels.len() as u8 } else { 0 };
    // Where what is not marked is looked at, and the two ends.
    let (plain, keep, drop) = (11 + count, 17 + count, 18 + count);
    let to = |target: u8, at: u8| target - at - 1;
    let mut program = vec![
        /* 0 */ line(LOAD_HALF, 0, 0, 4),
        /* 1 */ line(IF_EQUAL, 2, 0, host(libc::RTM_NEWNEIGH)), // to 4
        /* 2 */ line(IF_EQUAL, to(plain, 2), 0, host(libc::RTM_DELNEIGH)),
        /* 3 */ line(IF_EQUAL, to(drop, 3), to(keep, 3), host(libc::RTM_GETNEIGH)),
        /* 4 */ line(LOAD_BYTE, 0, 0, 26),
        /* 5 */ line(IF_SET, 0, to(plain, 5), u32::from(libc::NTF_EXT_LEARNED)),
        /* 6 */ line(IF_SET, to(drop, 6), 0, u32::from(libc::NTF_SELF)),
        /* 7 */ line(LOAD_BYTE, 0, 0, 16),
        /* 8 */ line(IF_EQUAL, 0, to(drop, 8), libc::AF_BRIDGE as u32),
        /* 9 */ line(LOAD_WORD, 0, 0, 20),
    ];
    let each = tunnels.iter().take(usize::from(count)).zip(10..);
    program.extend(each.map(|(tunnel, at)| line(IF_EQUAL, to(drop, at), 0, tunnel.to_be())));
    program.extend([
        /* 10 + count */ line(RETURN, 0, 0, if known { u32::MAX } else { 0 }),
        /* plain */ line(LOAD_BYTE, 0, 0, 16),
        line(IF_EQUAL, 0, 4, libc::AF_BRIDGE as u32), // else keep
        line(LOAD_LEN, 0, 0, 0),
        line(IF_EQUAL, 0, 2, 40), // else keep
        line(LOAD_BYTE, 0, 0, 26),
        line(IF_SET, 1, 0, u32::from(libc::NTF_SELF)), // drop
        /* keep */ line(RETURN, 0, 0, u32::MAX),
        /* drop */ line(RETURN, 0, 0, 0),
    ]);
    program
}

/// The filter of the socket that hears of frames without a row: `RTM_GETNEIGH` and nothing else.
pub(super) fn misses() -> [SockFilter; 4] {
    [
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(IF_EQUAL, 0, 1, u32::from(libc::RTM_GETNEIGH.to_be())),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
