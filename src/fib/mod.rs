//! Floor 2: what the kernel should hold, entry by entry, and whether it does. Knows no BGP and no netlink.
//!
//! Read `message` first: it is the language between this room's owner and the kernel.

pub mod device;
pub mod message;

pub use device::{DeviceSpec, DeviceState, ReadyDevice};
pub use message::{Batch, BatchDone, KernelCommand, KernelEvent, KernelRow, LocalMac, Op, OpKind, Remote};
