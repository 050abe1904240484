//! The filter on the event socket: what the kernel need not even queue for us.
//!
//! A million rows that we write come back as a million notifications, with pid 0, so that they cannot be told from
//! others' by sender. Dropped are
//! - `RTM_NEWNEIGH` with `NTF_EXT_LEARNED`: what a control plane wrote, which on this host is us. Price: another control
//!   plane that rewrites our rows is seen by the audit only;
//! - the short form, 40 octets, that kernels before 6.16 or so add to the VXLAN driver's own notification of a write or
//!   delete (`rtnl_fdb_notify`, `net/core/rtnetlink.c`): it names no destination.
//!
//! Kept: every link, every `RTM_DELNEIGH` (rows and neighbours deleted behind our back), every row that a port learned, every
//! neighbour that somebody else wrote.

use socket2::SockFilter;

use super::bpf::{IF_EQUAL, IF_SET, LOAD_BYTE, LOAD_HALF, LOAD_LEN, RETURN};

/// The program. Offsets: `nlmsg_type` 4, then `struct ndmsg` at 16: family 16, flags 26. The classic machine loads
/// big-endian, netlink is in host order: the constants are turned, not the loads. Jumps count from the next line.
pub(super) fn program() -> [SockFilter; 13] {
    let host = |kind: u16| u32::from(kind.to_be());
    [
        /* 0 */ SockFilter::new(LOAD_HALF, 0, 0, 4),
        /* 1 */ SockFilter::new(IF_EQUAL, 1, 0, host(libc::RTM_NEWNEIGH)), // to 3
        /* 2 */ SockFilter::new(IF_EQUAL, 2, 8, host(libc::RTM_DELNEIGH)), // to 5, else keep
        /* 3 */ SockFilter::new(LOAD_BYTE, 0, 0, 26),
        /* 4 */ SockFilter::new(IF_SET, 7, 0, u32::from(libc::NTF_EXT_LEARNED)), // drop
        /* 5 */ SockFilter::new(LOAD_BYTE, 0, 0, 16),
        /* 6 */ SockFilter::new(IF_EQUAL, 0, 4, libc::AF_BRIDGE as u32), // else keep
        /* 7 */ SockFilter::new(LOAD_LEN, 0, 0, 0),
        /* 8 */ SockFilter::new(IF_EQUAL, 0, 2, 40), // else keep
        /* 9 */ SockFilter::new(LOAD_BYTE, 0, 0, 26),
        /* 10 */ SockFilter::new(IF_SET, 1, 0, u32::from(libc::NTF_SELF)), // drop
        /* 11 */ SockFilter::new(RETURN, 0, 0, u32::MAX),
        /* 12 */ SockFilter::new(RETURN, 0, 0, 0),
    ]
}
