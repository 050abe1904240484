//! Floor 2: what the kernel should hold, entry by entry, and whether it does. Knows no BGP and no netlink.

pub mod device;
