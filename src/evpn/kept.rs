//! Sequence numbers that outlive the process, so that peers see a refresh after a restart and not a move; and those that outlive
//! their routes.
//!
//! A MAC that moved here is announced with a sequence number above 0 (RFC 7432 §15). A daemon that forgot it would announce the
//! MAC with 0: hosts that still have its older route, or another host's, would take that for old news. The rim keeps what
//! [`Evpn::sequences`] gives; a restart hands it to [`Evpn::restore_sequences`].
//!
//! A MAC whose last route went may still have one somewhere: a reflector that lost a session keeps what it had from it (RFC 4724),
//! and says so to everybody once they meet again. So who hears the MAC next goes on from the last number that was seen.

use std::collections::BTreeMap;

use super::instance::Evpn;
use super::lately::Lately;
use super::local::Local;
use super::mobility::{Claim, compare};
use super::remote::Candidate;
use crate::base::{MacAddr, Time, Vni, compare_sequences, next_sequence};
use crate::fib::{Fib, LocalMac};
use crate::rib::Rib;

/// Sequence numbers above 0 of the MACs at local ports.
pub type Sequences = BTreeMap<Vni, BTreeMap<MacAddr, u32>>;

/// So many are kept: some 7 MB of file. MACs that move are few, but a tenant may invent them.
const KEPT_AT_MOST: usize = 1 << 18;

/// MACs without a route whose numbers are remembered. Those that never moved have none above 0, and are not among them.
const GONE_AT_MOST: usize = 1 << 16;
/// For so long: somebody may keep a route for the whole restart time and stale time (RFC 4724 §4.2) of a session.
const GONE_SECS: u64 = 600;

/// What is known of an earlier run, and of MACs that are gone.
#[derive(Debug, Default)]
pub(super) struct Kept {
    restored: BTreeMap<(Vni, MacAddr), u32>,
    pub changed: bool,
    /// With which number a MAC is announced by whom hears it next, and when its last route went.
    gone: Lately<(Vni, MacAddr), Option<u32>, GONE_AT_MOST, GONE_SECS>,
}

/// Whose the last route of a MAC was, with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Own(u32),
    Remote(u32),
}

impl Evpn {
    /// The numbers of an earlier run: MACs that are found at local ports, or heard there until
    /// [`Evpn::forget_restored_sequences`], go on from them.
    pub fn restore_sequences(&mut self, kept: &Sequences) {
        let all = kept.iter().flat_map(|(vni, macs)| macs.iter().map(move |(mac, sequence)| ((*vni, *mac), *sequence)));
        self.kept.restored = all.filter(|(_, sequence)| *sequence > 0).take(KEPT_AT_MOST).collect();
    }

    /// Who has not spoken by now begins anew: by the time the fabric has forgotten it, too.
    pub fn forget_restored_sequences(&mut self) {
        self.kept.changed |= !self.kept.restored.is_empty();
        self.kept.restored.clear();
    }

    /// Whether [`Evpn::sequences`] is another than when this was asked last.
    pub fn take_sequences_changed(&mut self) -> bool {
        std::mem::take(&mut self.kept.changed)
    }

    /// What is to be kept: the numbers above 0 of our own MACs, and those of an earlier run that may still be claimed.
    pub fn sequences(&mut self) -> Sequences {
        let mut all = Sequences::new();
        let vni_of = |number: u16| self.slot(number).map(|instance| instance.config.vni);
        let owned = self.locals.iter().filter(|(_, local)| local.owned && local.sequence > 0);
        let owned = owned.filter_map(|(&(number, mac), local)| Some(((vni_of(number)?, mac), local.sequence)));
        let restored = self.kept.restored.iter().map(|(&key, &sequence)| (key, sequence));
        let mut over = 0;
        for (count, ((vni, mac), sequence)) in owned.chain(restored).enumerate() {
            if count < KEPT_AT_MOST {
                all.entry(vni).or_default().insert(mac, sequence);
            } else {
                over += 1;
            }
        }
        self.stats.sequences_not_kept += over;
        all
    }

    /// The number of one of our MACs changed, or the MAC is ours no more. Its earlier life does not count from now on.
    pub(super) fn note_sequence(&mut self, vni: Vni, mac: MacAddr, sequence: u32) {
        self.kept.changed |= sequence > 0;
        if !self.kept.restored.is_empty() && self.kept.restored.remove(&(vni, mac)).is_some() {
            self.kept.changed = true;
        }
    }

    /// The number that an earlier run had for a MAC that was not claimed since.
    pub(super) fn restored_sequence(&self, vni: Vni, mac: MacAddr) -> Option<u32> {
        if self.kept.restored.is_empty() { None } else { self.kept.restored.get(&(vni, mac)).copied() }
    }

    /// The last route of a MAC went. Who never moved costs nothing here, however many go.
    pub(super) fn note_last_sequence(&mut self, now: Time, key: (Vni, MacAddr), last: Last) {
        let next = match last {
            Last::Own(0) | Last::Remote(0) => return,
            Last::Own(sequence) => sequence,
            Last::Remote(sequence) => next_sequence(sequence),
        };
        let Some(number) = self.kept.gone.renew(now, key) else {
            self.stats.sequences_not_kept += 1;
            return;
        };
        *number = Some(number.map_or(next, |number| later(number, next)));
    }

    /// The number of a MAC without a route that a port hears, where it had one lately.
    pub(super) fn take_last_sequence(&mut self, now: Time, key: (Vni, MacAddr)) -> Option<u32> {
        self.kept.gone.take(now, &key)?
    }

    /// Whether a MAC of ours that was announced with this number is still ours for everybody who knows a remote route.
    pub(super) fn still_beats(&self, sequence: u32, best: &Candidate) -> bool {
        let claim = |vtep| Claim::of_ours(best.claim.sticky, sequence, vtep);
        self.config.vtep.is_some_and(|vtep| compare(&claim(vtep), &best.claim).0.is_gt())
    }

    /// A MAC in the first listing of a bridge, whose row for a remote host is not in the kernel yet: the entry says only that a
    /// port heard it once, perhaps minutes ago. Where the remote host's claim is newer than ours was, the MAC moved there while
    /// we were away: it is remembered without being ours, the row takes the entry over, and a port that really hears it is
    /// told of again. Where nothing is known of an earlier time and the claim is a first one, the port is believed.
    pub(super) fn left_while_away(&mut self, now: Time, rib: &Rib, fib: &mut Fib, number: u16, heard: &LocalMac) -> bool {
        let (vni, mac, key) = (heard.vni, heard.mac, (number, heard.mac));
        let Some(best) = self.macs.find(number, mac).and_then(|id| self.best_route(rib, vni, id)) else { return false };
        let (restored, full) = (self.restored_sequence(vni, mac), self.full(number, heard.port).is_some());
        let newer = (restored.is_some() || best.claim.sequence > 0) && !self.still_beats(restored.unwrap_or(0), &best);
        let known = heard.is_static || !mac.is_station() || self.locals.contains_key(&key);
        if !newer || best.claim.sticky || known || full || self.duplicates.is_frozen(&key) {
            return false;
        }
        let port_name = self.port_names.acquire(heard.port_name.clone());
        // Should a port hear it, it must beat what beat it.
        let (port, sequence) = (heard.port, best.claim.sequence);
        self.put_local(
            number,
            mac,
            Local { port, port_name, operator_static: false, configured: false, of_host: false, owned: false, sequence },
        );
        self.note_sequence(vni, mac, 0);
        self.put_back(now, fib, key, vni);
        true
    }
}

/// The later of two numbers.
pub(super) fn later(a: u32, b: u32) -> u32 {
    if compare_sequences(a, b).is_ge() { a } else { b }
}
