//! Floor 3: MAC-VRFs. Changes of the RIB become wishes for the FIB, and local MACs become routes.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `config` | what an instance is told, and every limit |
//! | `numbers` | the numbers of route distinguishers |
//! | `import` | route targets to instances |
//! | `facts` | what a block of attributes means, once per block |
//! | `mobility` | who has a MAC: RFC 7432 §15 as comparisons |
//! | `macs` | the table of remote MACs and their routes |
//! | `instance` | [`Evpn`]; instances come and go, devices go up and down |
//! | `remote` | type 2 routes of others: one row per MAC |
//! | `addresses` | MAC/IP routes: what each address is answered with |
//! | `own_addresses` | addresses of MACs of our bridge: MAC/IP routes of ours |
//! | `guests` | what guests are told when an address goes over to another host's MAC |
//! | `local` | MACs of our bridge: type 2 routes of ours |
//! | `kept` | sequence numbers that outlive the process, or their routes |
//! | `lately` | a table of what was lately, with a bound |
//! | `duplicates` | MACs that move too often: RFC 7432 §15.1 |
//! | `violations` | addresses that may not move, claimed by guests of ours |
//! | `pace` | rows of MACs that may not move, put back no faster than is of use |
//! | `room` | limits, and what they refused when there is room again |
//! | `flood` | type 3 routes: flood lists |
//! | `event`, `view`, `explain` | for people |
//!
//! Read them in this order. No IRB: second labels are kept by the RIB and ignored here.

mod addresses;
mod config;
mod conflicts;
mod duplicates;
mod event;
mod explain;
mod facts;
mod flood;
mod guests;
mod host;
mod import;
mod imports;
mod instance;
mod kept;
mod lately;
mod local;
mod macs;
mod mobility;
mod numbers;
mod own_addresses;
mod pace;
mod remote;
mod room;
mod tracks;
mod view;
mod violations;

pub use config::{DuplicateDetection, EvpnConfig, EvpnLimits, ExportTarget, Flood, ImportTarget, InstanceConfig};
pub use conflicts::Conflict;
pub use event::{Event, Place};
pub use explain::{CandidateView, DuplicateView, LocalView, MacExplanation};
pub use instance::Evpn;
pub use kept::Sequences;
pub use mobility::{Claim, Step};
pub use numbers::assign_rd_numbers;
pub use view::{EvpnStats, InstanceView, MacView, VtepView};
pub use violations::Violation;
