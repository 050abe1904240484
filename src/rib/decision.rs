//! Which of several paths to one destination is the best: numbered steps, each with its source.
//!
//! Read first: RFC 4271 §9.1.2.2, RFC 4456 §9, RFC 7432 §15, RFC 9494 §4.3. The steps before and after MED are total orders. MED is
//! not, because it counts only among paths of one neighbouring AS; therefore all paths are looked at together, and the
//! outcome does not depend on the order in which they came.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use super::attrs::Rank;
use super::key::number;
use super::peers::{PeerKind, PeerSlot};
use super::table::Path;
use crate::base::compare_sequences;

/// The steps, in their order and with the number shown by `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Local = 1,
    LongLived,
    Mobility,
    LocalPref,
    AsPath,
    Origin,
    Med,
    External,
    RouterId,
    ClusterList,
    Stale,
    Address,
}

/// What the steps compare of one path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    local: bool,
    stale: bool,
    external: bool,
    /// Everything of the attributes. Mobility is blank unless the destination is a type 2.
    rank: Rank,
    router_id: u32,
    address: IpAddr,
    peer: u16,
}

impl Candidate {
    pub(super) fn new(path: &Path, rank: &Rank, slot: &PeerSlot, mac_ip: bool) -> Self {
        let mut rank = *rank;
        if !mac_ip {
            (rank.sticky, rank.sequence) = (false, 0);
        }
        Self {
            local: slot.peer.kind == PeerKind::Local,
            stale: path.is_stale(),
            external: slot.peer.kind == PeerKind::External,
            rank,
            // RFC 4456 §9: ORIGINATOR_ID stands for the identifier where there is one.
            router_id: rank.originator.unwrap_or(number(slot.peer.identifier)),
            address: slot.peer.address,
            peer: path.peer,
        }
    }
}

impl Candidate {
    /// Whose path it is.
    pub(super) const fn peer(&self) -> u16 {
        self.peer
    }
}

/// The steps before MED. `Less` is better.
fn before_med(a: &Candidate, b: &Candidate) -> (Ordering, Step) {
    // 1. Our own route. RFC 4271 §9.1.1 leaves its preference to us; nobody else speaks for our RD.
    let order = b.local.cmp(&a.local);
    if order.is_ne() {
        return (order, Step::Local);
    }
    // 2. LLGR_STALE, last of all that others announce (RFC 9494 §4.3).
    let order = a.rank.long_lived_stale.cmp(&b.rank.long_lived_stale);
    if order.is_ne() {
        return (order, Step::LongLived);
    }
    // 3. MAC mobility, type 2 only (RFC 7432 §15, §15.2): sticky, then the higher sequence number. Before everything that
    //    a policy may set: the same RD and MAC through two reflectors during a move are an older and a newer truth.
    //    Over the wrap: 0 follows 2^32 - 1.
    let order = b.rank.sticky.cmp(&a.rank.sticky).then_with(|| compare_sequences(b.rank.sequence, a.rank.sequence));
    if order.is_ne() {
        return (order, Step::Mobility);
    }
    // 4. The higher LOCAL_PREF (RFC 4271 §9.1.2 "degree of preference"), 100 where there is none.
    let order = b.rank.local_pref.cmp(&a.rank.local_pref);
    if order.is_ne() {
        return (order, Step::LocalPref);
    }
    // 5. The shorter AS_PATH, an AS_SET counting one (RFC 4271 §9.1.2.2 a).
    let order = a.rank.as_path_len.cmp(&b.rank.as_path_len);
    if order.is_ne() {
        return (order, Step::AsPath);
    }
    // 6. The lower ORIGIN (RFC 4271 §9.1.2.2 b).
    (a.rank.origin.cmp(&b.rank.origin), Step::Origin)
}

/// 7. The lower MED, among paths of one neighbouring AS only (RFC 4271 §9.1.2.2 c): whether `b` puts `a` out.
fn beaten_by_med(a: &Candidate, b: &Candidate) -> bool {
    a.rank.neighbor_as == b.rank.neighbor_as && b.rank.med < a.rank.med
}

/// The steps after MED. `Less` is better.
fn after_med(a: &Candidate, b: &Candidate) -> (Ordering, Step) {
    // 8. External over internal (RFC 4271 §9.1.2.2 d). The interior cost (e) is unknown here: the underlay is not ours.
    let order = b.external.cmp(&a.external);
    if order.is_ne() {
        return (order, Step::External);
    }
    // 9. The lower ORIGINATOR_ID or else identifier (RFC 4271 §9.1.2.2 f, RFC 4456 §9).
    let order = a.router_id.cmp(&b.router_id);
    if order.is_ne() {
        return (order, Step::RouterId);
    }
    // 10. The shorter CLUSTER_LIST (RFC 4456 §9).
    let order = a.rank.cluster_len.cmp(&b.rank.cluster_len);
    if order.is_ne() {
        return (order, Step::ClusterList);
    }
    // 11. A path kept for a peer that restarts, where all else is equal: a live one is confirmed.
    //     RFC 4724 §4.2 makes no difference at all. Ours: no sooner than here, because two reflectors that each prefer the
    //     other's live copy of what they hold as stale take their own back, and begin anew, for ever.
    let order = a.stale.cmp(&b.stale);
    if order.is_ne() {
        return (order, Step::Stale);
    }
    // 12. The lower peer address (RFC 4271 §9.1.2.2 g); the peer's number decides between sessions to one address.
    (a.address.cmp(&b.address).then(a.peer.cmp(&b.peer)), Step::Address)
}

/// The position of the best candidate; 0 where there is none.
pub(super) fn best(candidates: &[Candidate]) -> usize {
    let Some(top) = candidates.iter().min_by(|a, b| before_med(a, b).0) else { return 0 };
    let level = |candidate: &Candidate| before_med(candidate, top).0.is_eq();
    candidates
        .iter()
        .enumerate()
        .filter(|(_, a)| level(a) && !candidates.iter().any(|b| beaten_by_med(a, b) && level(b)))
        .min_by(|(_, a), (_, b)| after_med(a, b).0)
        .map_or(0, |(position, _)| position)
}

/// The worst candidate, MED apart: it is no order among all.
pub(super) fn worst(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates.iter().max_by(|a, b| without_med(a, b))
}

/// Whether `a` is better than `b`, MED apart.
pub(super) fn is_better(a: &Candidate, b: &Candidate) -> bool {
    without_med(a, b).is_lt()
}

fn without_med(a: &Candidate, b: &Candidate) -> Ordering {
    before_med(a, b).0.then_with(|| after_med(a, b).0)
}

/// In words, why the candidate at `position` is or is not the best.
pub(super) fn why(candidates: &[Candidate], position: usize) -> String {
    let winner = best(candidates);
    if winner == position {
        return "best".to_owned();
    }
    let (Some(a), Some(b)) = (candidates.get(position), candidates.get(winner)) else { return String::new() };
    let (order, step) = before_med(a, b);
    if order.is_ne() {
        return Reason { step, a, b }.to_string();
    }
    let level = |candidate: &&Candidate| before_med(candidate, b).0.is_eq();
    if let Some(b) = candidates.iter().filter(level).find(|b| beaten_by_med(a, b)) {
        return Reason { step: Step::Med, a, b }.to_string();
    }
    Reason { step: after_med(a, b).1, a, b }.to_string()
}

/// Why `a` lost to `b`.
struct Reason<'a> {
    step: Step,
    a: &'a Candidate,
    b: &'a Candidate,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = (&self.a.rank, &self.b.rank);
        write!(f, "{}: ", self.step as u8)?;
        match self.step {
            Step::Local => write!(f, "not our own"),
            Step::LongLived => write!(f, "long-lived stale (LLGR_STALE)"),
            Step::Mobility if a.sticky != b.sticky => write!(f, "the other is sticky"),
            Step::Mobility => write!(f, "lower MAC mobility sequence ({} < {})", a.sequence, b.sequence),
            Step::Stale => write!(f, "stale: its peer restarts"),
            Step::LocalPref => write!(f, "lower LOCAL_PREF ({} < {})", a.local_pref, b.local_pref),
            Step::AsPath => write!(f, "longer AS_PATH ({} > {})", a.as_path_len, b.as_path_len),
            Step::Origin => write!(f, "higher ORIGIN ({:?} > {:?})", a.origin, b.origin),
            Step::Med => write!(f, "higher MED of the same neighbouring AS ({} > {})", a.med, b.med),
            Step::External => write!(f, "internal, the other external"),
            Step::RouterId => {
                let [a, b] = [self.a, self.b].map(|side| std::net::Ipv4Addr::from(side.router_id));
                write!(f, "higher ORIGINATOR_ID or router-id ({a} > {b})")
            }
            Step::ClusterList => write!(f, "longer CLUSTER_LIST ({} > {})", a.cluster_len, b.cluster_len),
            Step::Address => write!(f, "higher peer address ({} > {})", self.a.address, self.b.address),
        }
    }
}
