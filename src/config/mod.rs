//! Floor 2: text to a checked [`Config`], and the difference of two. Parse, don't validate: whoever holds a `Config` need
//! not check it again. Read `model` first: it is the whole of what a file can say.

mod model;

pub use model::{
    Config, Control, Difference, ExportTarget, ImportTarget, Limits, Neighbor, NeighborAddress, NeighborChange, Password, Router,
    VniChange, VniConfig, VniDefaults, Vxlan,
};
