//! The filter on the event socket: what the kernel need not even queue for us.
//!
//! A million rows that we write come back as a million notifications, with pid 0, so that they cannot be told from
//! others' by sender. Dropped are
//! - `RTM_NEWNEIGH` with `NTF_EXT_LEARNED`: what a control plane wrote, which on this host is us. Price: another control
//!   plane that rewrites our rows is seen by the audit only;
//! - the short form, 40 octets, that kernels before 6.16 or so add to the VXLAN driver's own notification of a write or
//!   delete (`rtnl_fdb_notify`, `net/core/rtnetlink.c`): it names no destination.
//! - `RTM_GETNEIGH`: what the kernel asks user space for (`l2miss`, `app_solicit`); those it asks of us for come elsewhere
//!   (`misses`), where no tenant can fill this buffer.
//!
//! Kept: every link, every `RTM_DELNEIGH` (rows and neighbours deleted behind our back), every row that a port learned, every
//! neighbour that somebody else wrote.

use socket2::SockFilter;

use super::bpf::{IF_EQUAL, IF_SET, LOAD_BYTE, LOAD_HALF, LOAD_LEN, RETURN};

/// The program. Offsets: `nlmsg_type` 4, then `struct ndmsg` at 16: family 16, flags 26. The classic machine loads
/// big-endian, netlink is in host order: the constants are turned, not the loads. Jumps count from the next line.
pub(super) fn program() -> [SockFilter; 14] {
    let host = |kind: u16| u32::from(kind.to_be());
    [
        /* 0 */ SockFilter::new(LOAD_HALF, 0, 0, 4),
        /* 1 */ SockFilter::new(IF_EQUAL, 2, 0, host(libc::RTM_NEWNEIGH)), // to 4
        /* 2 */ SockFilter::new(IF_EQUAL, 3, 0, host(libc::RTM_DELNEIGH)), // to 6
        /* 3 */ SockFilter::new(IF_EQUAL, 9, 8, host(libc::RTM_GETNEIGH)), // drop, else keep
        /* 4 */ SockFilter::new(LOAD_BYTE, 0, 0, 26),
        /* 5 */ SockFilter::new(IF_SET, 7, 0, u32::from(libc::NTF_EXT_LEARNED)), // drop
        /* 6 */ SockFilter::new(LOAD_BYTE, 0, 0, 16),
        /* 7 */ SockFilter::new(IF_EQUAL, 0, 4, libc::AF_BRIDGE as u32), // else keep
        /* 8 */ SockFilter::new(LOAD_LEN, 0, 0, 0),
        /* 9 */ SockFilter::new(IF_EQUAL, 0, 2, 40), // else keep
        /* 10 */ SockFilter::new(LOAD_BYTE, 0, 0, 26),
        /* 11 */ SockFilter::new(IF_SET, 1, 0, u32::from(libc::NTF_SELF)), // drop
        /* 12 */ SockFilter::new(RETURN, 0, 0, u32::MAX),
        /* 13 */ SockFilter::new(RETURN, 0, 0, 0),
    ]
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
