//! The rows as people see them: status, difference to the kernel, counters.

use std::collections::BTreeMap;
use std::fmt;

use super::message::{KernelRow, Remote};
use super::row::{NONE, Row, flag};
use super::table::Fib;
use crate::base::{MacAddr, Time, Vni};

/// What was done and met. All but `in_flight` only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FibStats {
    /// Rows added or replaced, acknowledged.
    pub written: u64,
    /// Rows deleted, acknowledged.
    pub deleted: u64,
    /// Deletes of what was not there.
    pub already_gone: u64,
    /// Writes the kernel refused.
    pub failed: u64,
    /// Of these, those that no repetition mends (EAFNOSUPPORT, EOPNOTSUPP).
    pub permanent: u64,
    /// Failed writes tried again.
    pub retried: u64,
    /// Rows put back that were removed or changed behind our back, seen by an event.
    pub healed: u64,
    /// The same, and rows too many, found by a dump.
    pub differences: u64,
    /// Rows with EXT_LEARNED found in the kernel that we did not know.
    pub adopted: u64,
    /// Adopted rows that were wanted just as they stood: no write.
    pub confirmed: u64,
    /// Adopted rows that nobody wanted: deleted.
    pub swept: u64,
    /// Rows written again on request.
    pub reasserted: u64,
    /// Rows that somebody undid more than three times in two minutes.
    pub fights: u64,
    /// Times such a row was not put back at once.
    pub put_off: u64,
    /// Rows read one by one for an audit.
    pub checked: u64,
    /// Neighbours added or replaced, acknowledged.
    pub neighbors_written: u64,
    /// Neighbours deleted, acknowledged.
    pub neighbors_deleted: u64,
    /// Writes of neighbours that the kernel refused.
    pub neighbors_failed: u64,
    /// Frames to MACs of VNIs on demand that found no row, as far as the kernel and we told of them.
    pub misses: u64,
    /// Of these, to MACs that nobody announces.
    pub misses_unknown: u64,
    /// Questions (ARP, ND) of local hosts for addresses that nobody announces, where such are not flooded.
    pub asked_unknown: u64,
    /// Rows and neighbours written because somebody talked to them or asked.
    pub woken: u64,
    /// Rows and neighbours taken back because nobody did for their lifetime.
    pub put_to_sleep: u64,
    /// Rows not written because as many as may be are awake.
    pub awake_over_limit: u64,
    /// Batches cut.
    pub batches: u64,
    /// Results of batches that are not under way.
    pub unknown_batches: u64,
    /// Wishes refused because 65,535 devices have rows.
    pub refused: u64,
    /// Ops that wait for their result.
    pub in_flight: u64,
}

/// Whether the kernel agrees about one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does.
    InSync,
    /// It is to be told.
    Dirty,
    /// It was told and has not answered.
    InFlight,
    /// It refused.
    Failed {
        /// Why, a positive errno.
        errno: i32,
        /// How often so far.
        attempts: u32,
        /// When it is asked again.
        retry: Time,
    },
    /// Stood in the kernel when we came; nobody wanted it yet, and it is not swept yet.
    Unconfirmed,
    /// Stood in the kernel when we came and leads elsewhere than is wanted: moved when the neighbors have said all they have.
    Deferred,
    /// There is no usable device.
    NoDevice,
    /// It is not written before somebody talks to it.
    OnDemand,
    /// A neighbour of IPv6, which its bridge does not take while IPv6 is off there.
    Ipv6Off,
    /// The operator's row (without EXT_LEARNED) stands there and is left alone.
    Operator,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InSync => f.write_str("in sync"),
            Self::Dirty => f.write_str("to be written"),
            Self::InFlight => f.write_str("being written"),
            Self::Failed { errno: 0, .. } => {
                f.write_str("undone again and again by another program: not put back at once any more")
            }
            Self::Failed { errno, attempts: 1, .. } => write!(f, "failed: {}", errno_words(*errno)),
            Self::Failed { errno, attempts, .. } => write!(f, "failed {attempts} times: {}", errno_words(*errno)),
            Self::Unconfirmed => f.write_str("found at start, not confirmed yet"),
            Self::Deferred => f.write_str("moved when the neighbors have said all they have"),
            Self::OnDemand => f.write_str("on demand: not written before a frame for it, or a question, comes"),
            Self::NoDevice => f.write_str("no usable device"),
            Self::Ipv6Off => f.write_str("not written: IPv6 is off at the bridge"),
            Self::Operator => f.write_str("the operator's own row stands here and is left alone"),
        }
    }
}

/// What the kernel says with a number, in its words where they are common.
pub fn errno_words(errno: i32) -> String {
    let words = match errno {
        1 => "Operation not permitted",
        2 => "No such file or directory",
        5 => "Input/output error",
        11 => "Resource temporarily unavailable",
        12 => "Cannot allocate memory",
        16 => "Device or resource busy",
        17 => "File exists",
        19 => "No such device",
        22 => "Invalid argument",
        28 => "No space left",
        95 => "Operation not supported",
        97 => "Address family not supported (an IPv6 remote on an IPv4 device, or the other way)",
        100 => "Network is down",
        101 => "Network is unreachable",
        105 => "No buffer space available",
        _ => return format!("errno {errno}"),
    };
    words.to_owned()
}

/// One unicast row, for `show` and `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowView {
    /// What the kernel should hold.
    pub wanted: Option<Remote>,
    /// What it is believed to hold.
    pub installed: Option<Remote>,
    /// Whether it agrees.
    pub status: Status,
}

/// A row where the kernel differs from what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDifference {
    /// Which VNI.
    pub vni: Vni,
    /// Which MAC; zero: the flood list.
    pub mac: MacAddr,
    /// What should stand.
    pub wanted: Option<Remote>,
    /// What stands.
    pub found: Option<Remote>,
    /// The nexthop group that it names.
    pub nexthop: Option<u32>,
    /// What we know of it, in words: "failed: No space left, retried in 3 s".
    pub state: String,
}

impl Fib {
    /// What differs between a dump of a device and what it should hold, in the order of MACs. Changes nothing. Costs a
    /// look-up for each row of the dump; only where a row is missing in it, a walk over the table.
    pub fn diff(&self, vni: Vni, rows: &[KernelRow]) -> Vec<RowDifference> {
        let slot = self.by_vni.get(&vni).copied();
        let mut differences = Vec::new();
        let mut known: BTreeMap<u32, &KernelRow> = BTreeMap::new();
        for row in rows {
            match self.find(vni, row) {
                // Half a row counts as not there. A dump under change repeats entries: the first says it all.
                Some(_) if !row.bridged => {}
                Some(id) => {
                    known.entry(id).or_insert(row);
                }
                None if row.ext_learned => {
                    let state = slot.map_or("", |slot| self.devices[slot as usize].fate_of_strangers()).to_owned();
                    let (mac, found, nexthop) = (row.mac, Some(row.remote), row.nexthop);
                    differences.push(RowDifference { vni, mac, wanted: None, found, nexthop, state });
                }
                None => {}
            }
        }
        differences.extend(known.iter().filter_map(|(&id, row)| self.difference(vni, id, Some(row))));
        if known.len() < self.row_count(vni) {
            let ours = self.rows.iter().filter(|(id, row)| Some(row.device) == slot && !known.contains_key(id));
            differences.extend(ours.filter_map(|(id, _)| self.difference(vni, id, None)));
        }
        differences.sort_by_key(|difference| (difference.mac, difference.wanted, difference.found));
        differences
    }

    /// How one row of ours differs from what stands for it in the kernel.
    fn difference(&self, vni: Vni, id: u32, stands: Option<&KernelRow>) -> Option<RowDifference> {
        let row = self.rows.row(id);
        let view = self.view(id, row);
        let found = stands.map(|row| row.remote);
        // The mark of a member of a flood list may be another member's, who has gone since.
        let operators = stands.is_some_and(|stands| !stands.ext_learned || row.has(flag::FLOOD) && row.has(flag::FOREIGN));
        if found == view.wanted || (operators && view.wanted.is_none()) {
            return None;
        }
        let nexthop = stands.and_then(|row| row.nexthop);
        Some(RowDifference { vni, mac: row.mac, wanted: view.wanted, found, nexthop, state: self.state_words(view.status) })
    }

    pub(super) fn state_words(&self, status: Status) -> String {
        match status {
            Status::Failed { retry, .. } => {
                format!("{status}, retried in {} s", retry.since(self.now).as_millis().div_ceil(1000))
            }
            Status::InSync => "changed behind our back; put back at the next audit".to_owned(),
            _ => status.to_string(),
        }
    }

    /// The row of a MAC, wanted or only found.
    pub fn unicast(&self, vni: Vni, mac: MacAddr) -> Option<RowView> {
        let device = *self.by_vni.get(&vni)?;
        let row = self.rows.find_unicast(device, mac).map(|id| self.view(id, self.rows.row(id)));
        match row.filter(|row| row.wanted.is_some() || !self.devices[device as usize].on_demand) {
            Some(row) => Some(row),
            None => self.sleeper_view(device, mac, row.and_then(|row| row.installed)).or(row),
        }
    }

    /// Whether no write was cut that could have taken the bridge's entry for a MAC over from a local port.
    pub fn is_left_to_bridge(&self, vni: Vni, mac: MacAddr) -> bool {
        let slot = self.by_vni.get(&vni);
        let Some(id) = slot.and_then(|&slot| self.rows.find_unicast(slot, mac)) else { return true };
        let row = self.rows.row(id);
        row.has(flag::BRIDGE_LOCAL) || (row.installed == NONE && !row.has(flag::IN_FLIGHT | flag::UNSURE))
    }

    /// Whether a write that could have taken the bridge's entry over has not been answered, or failed, or was never made
    /// because the operator's row stands there.
    pub fn may_be_left_to_bridge(&self, vni: Vni, mac: MacAddr) -> bool {
        let slot = self.by_vni.get(&vni);
        let Some(id) = slot.and_then(|&slot| self.rows.find_unicast(slot, mac)) else { return true };
        self.rows.row(id).has(flag::BRIDGE_LOCAL | flag::IN_FLIGHT | flag::UNSURE | flag::FOREIGN)
    }

    /// Whether what stands of flood lists changed since this was asked last.
    pub fn take_floods_changed(&mut self) -> bool {
        std::mem::take(&mut self.floods_changed)
    }

    /// What stands of all flood lists, and whether it is ours.
    pub fn standing_floods(&self) -> impl Iterator<Item = (Vni, Remote, bool)> {
        let standing = self.rows.floods().filter(|row| row.installed != NONE);
        standing.filter_map(|row| {
            let vni = self.devices.get(usize::from(row.device))?.vni;
            Some((vni, self.remote(row.installed)?, !row.has(flag::FOREIGN)))
        })
    }

    /// The wanted flood list of a VNI, in order.
    pub fn flood(&self, vni: Vni) -> Vec<(Remote, Status)> {
        let rows = self.device_rows(vni).filter(|(mac, _)| *mac == MacAddr::ZERO);
        let mut list: Vec<_> = rows.filter_map(|(_, view)| Some((view.wanted?, view.status))).collect();
        list.sort_by_key(|(remote, _)| *remote);
        list
    }

    /// How many rows of both kinds a VNI has, with those that are about to go.
    pub fn row_count(&self, vni: Vni) -> usize {
        self.by_vni.get(&vni).map_or(0, |&slot| self.devices[slot as usize].rows)
    }

    pub(super) fn device_rows(&self, vni: Vni) -> impl Iterator<Item = (MacAddr, RowView)> + '_ {
        let slot = self.by_vni.get(&vni).copied();
        let rows = self.rows.iter().filter(move |(_, row)| Some(row.device) == slot);
        rows.map(|(id, row)| (row.mac, self.view(id, row)))
    }

    /// Rows of all VNIs in both tables.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Distinct destinations that rows point to, or did and are still written with.
    pub fn remote_count(&self) -> usize {
        self.remotes.len()
    }

    /// Rows that wait to be written.
    pub fn dirty_count(&self) -> usize {
        self.flood_queue.len + self.unicast_queue.len
    }

    /// Rows whose last write failed.
    pub fn failed_count(&self) -> usize {
        self.retries.len()
    }

    /// The failed rows, in the order of their ids; at most `limit` of them.
    pub fn failures(&self, limit: usize) -> Vec<(Vni, MacAddr, RowView)> {
        let ids = self.retries.keys().take(limit);
        ids.map(|&id| {
            let row = self.rows.row(id);
            (self.devices[row.device as usize].vni, row.mac, self.view(id, row))
        })
        .collect()
    }

    /// Counters.
    pub fn stats(&self) -> &FibStats {
        &self.stats
    }

    /// Whether nothing is dirty, under way or failed.
    pub fn is_settled(&self) -> bool {
        self.dirty_count() == 0 && self.in_flight.is_empty() && self.retries.is_empty() && self.neighbors.is_settled()
    }

    /// Octets of memory the rows and their indexes use, about.
    pub fn memory(&self) -> usize {
        self.rows.memory() + self.demand.memory() + self.retries.len() * 64 + self.neighbor_count() * 128
    }

    pub(super) fn view(&self, id: u32, row: &Row) -> RowView {
        let goal = row.goal();
        let status = if row.has(flag::FOREIGN) {
            Status::Operator
        } else if row.has(flag::UNCONFIRMED) {
            Status::Unconfirmed
        } else if row.has(flag::DEFERRED) {
            Status::Deferred
        } else if self.devices[row.device as usize].ifindex.is_none() {
            Status::NoDevice
        } else if let Some(retry) = self.retries.get(&id).filter(|_| row.has(flag::FAILED)) {
            Status::Failed { errno: retry.errno, attempts: retry.attempts, retry: retry.at }
        } else if row.has(flag::IN_FLIGHT) {
            Status::InFlight
        } else if row.needs_write() {
            Status::Dirty
        } else {
            Status::InSync
        };
        let wanted = if goal == NONE { None } else { self.remote(goal) };
        RowView { wanted, installed: self.remote(row.installed), status }
    }
}
