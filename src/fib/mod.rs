//! Floor 2: what the kernel should hold, entry by entry, and whether it does. Knows no BGP and no netlink.
//!
//! Read `message` first: it is the language between this room's owner and the kernel. Then `table`: wishes and the states
//! of a row; `batch`: writes and their results; `adopt` and `again`: what the kernel says by itself; `audit`: what it says when
//! asked; `fights`: rows that somebody undoes again and again; `defer`: moves that wait after a restart; `demand`: rows that
//! wait until somebody talks to them; `neighbors`: what ARP
//! and ND are answered from; `view`: for people.

mod adopt;
mod again;
mod audit;
mod batch;
mod counts;
mod defer;
mod demand;
pub mod device;
mod fights;
pub mod message;
mod neighbor_view;
mod neighbors;
mod pace;
mod row;
mod table;
mod view;

pub use counts::RowCounts;
pub use device::{DeviceSpec, DeviceState, FoundDevice, Leftover, MarkedLink, ReadyDevice, StoodDevice, UnfitDevice};
pub use fights::{Fought, Over};
pub use message::{
    Batch, BatchDone, Binding, CheckedRow, HostStation, KernelCommand, KernelEvent, KernelNeighbor, KernelRow, LimitsMet,
    LocalMac, MovedAddress, MovesOfBefore, NeighborOwner, Op, OpKind, Remote,
};
pub use neighbor_view::{NeighborDifference, NeighborView};
pub use pace::Pace;
pub use table::{Fib, FibLimits};
pub use view::{FibStats, RowDifference, RowView, Status, errno_words};
