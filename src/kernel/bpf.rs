//! The codes of the classic BPF machine (`linux/bpf_common.h`) that the filters of this room use: `filter` on notifications, `ears` on
//! frames.

/// Loads a big-endian word, half word or octet at an offset.
pub(super) const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
pub(super) const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
/// Loads the length of what is looked at.
pub(super) const LOAD_LEN: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_LEN) as u16;
/// Puts four times the low half of an octet into X: the length of an IPv4 header.
pub(super) const HEADER_LEN: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
/// Loads a half word at an offset from X.
pub(super) const LOAD_HALF_AFTER: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
/// Jumps by comparing with a constant.
pub(super) const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const IF_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
/// Keeps so many octets; 0 drops.
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
