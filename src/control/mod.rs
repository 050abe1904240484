//! Floor 1: the language of the control socket. Plain serde data and the words for people; no state, no IO.
//!
//! One JSON object per line over a Unix stream socket: a [`Request`] line is answered by one [`Reply`] line.
//! [`Request::Monitor`] is answered by [`Reply::Done`] as soon as the daemon listens, then by one [`Reply::Event`] line
//! an event until the client hangs up. Read `request` first, then `reply`; `event` is also what the log says;
//! `render` turns replies into tables and stories for people.

pub mod counters;
pub mod event;
pub mod metrics;
mod place;
pub mod render;
pub mod reply;
pub mod request;
mod table;
#[cfg(test)]
mod tests;

pub use event::{Event, MonitorLine};
pub use place::{Level, Place};
pub use reply::{
    Candidate, Count, DiffView, Duplicate, Explanation, MacCount, MacKind, MacView, MessageCounts, NeighborView, Page, Reply,
    RouteView, RowCounts, RowState, Status, VniView, VtepView,
};
pub use request::{Request, VniAdd};

/// The longest line of a request that the daemon reads, in octets: longer ones are refused and the connection closed.
pub const MAX_REQUEST_LEN: usize = 64 * 1024;

/// Who holds the VNIs of devices that the configuration takes as they come, among the `callers` of `show vnis`.
pub const HELD_BY_RULE: &str = "adopt = \"all\"";

/// The same for a VNI that was added without a caller.
pub const HELD_BY_HAND: &str = "evpnctl vni add";

/// How many items a page of a long table holds where the request names no limit.
pub const DEFAULT_PAGE: u32 = 1000;

/// How the warning begins that tells of addresses with an owner for good, which guests claim.
pub const VIOLATED: &str = "addresses that may not move are claimed";

/// The largest page a request may ask for: what bounds the daemon's memory for one reply (about 4 MB of JSON).
pub const MAX_PAGE: u32 = 10_000;

/// The page size to serve for a request's `limit`: between 1 and [`MAX_PAGE`], [`DEFAULT_PAGE`] where none was given.
pub fn page_size(limit: Option<u32>) -> usize {
    limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE) as usize
}
