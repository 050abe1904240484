//! Floor 2: text to a checked [`Config`], and the difference of two. Parse, don't validate: whoever holds a `Config` need
//! not check it again. Read `model` first: it is the whole of what a file can say.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `model` | what a configuration says, once it is checked |
//! | `keys` | every section and key, as a list |
//! | `parse` | the walk over the sections |
//! | `router`, `neighbor`, `vni`, `graceful`, `names` | what the sections mean, their defaults and limits |
//! | `reader` | typed access to TOML with mistakes noted |
//! | `report` | mistakes for people: line, column, caret, remedy |
//! | `secret` | passwords: a type that shows nothing, and what reports leave out |
//! | `difference` | what a reload has to do |

mod adopt;
mod difference;
mod graceful;
pub mod keys;
mod model;
mod names;
mod neighbor;
mod parse;
mod reader;
mod report;
mod router;
mod secret;
#[cfg(test)]
mod tests;
mod vni;

pub use adopt::is_ignored;
pub use difference::{difference, phrase, vni_change};
pub use graceful::GracefulRestart;
pub use model::{
    Config, Control, Cost, Difference, DuplicateDetection, ExportTarget, Flood, ImportTarget, Install, Learning, Limits, Metrics,
    NO_BRIDGE, Neighbor, NeighborAddress, NeighborChange, Password, Router, VniChange, VniConfig, VniSettings, Vxlan,
};
pub use parse::parse;
pub use report::ConfigError;
pub use secret::Secret;
pub use vni::vni_at_run_time;
