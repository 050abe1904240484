//! What peers announce and withdraw, and what we originate, into the table.
//!
//! Read `wire/update.rs` and `attrs` first. Withdrawals of an UPDATE come before its announcements. What cannot be
//! taken is a withdrawal of what stood there before, and counted.

use super::Rib;
use super::attrs::Loop;
use super::key::{self, RouteKey};
use super::peers::{Liveness, PeerId};
use super::table::Path;
use crate::base::Time;
use crate::wire::attribute::{AttributeError, Attributes, Disposition};
use crate::wire::esi::Esi;
use crate::wire::evpn::{self, EvpnRoute, NlriError};
use crate::wire::notification::{self, Notification};
use crate::wire::update::UpdateView;
use crate::wire::{AFI_L2VPN, SAFI_EVPN};

/// What an UPDATE did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateOutcome {
    /// Routes announced.
    pub announced: u32,
    /// Routes withdrawn, by the peer, by treat-as-withdraw or because of a loop.
    pub withdrawn: u32,
    /// Mistakes in attributes that did not cost the session; of a block seen before, none.
    pub mistakes: Vec<AttributeError>,
    /// It was the End-of-RIB marker of 25/70 (RFC 4724 §2).
    pub end_of_rib: bool,
    /// Routes that could not be read: withdrawn where their names could, else stepped over.
    pub nlri_errors: u32,
    /// The first of these mistakes.
    pub first_nlri_error: Option<NlriError>,
    /// The peer's attribute blocks would take more memory than its limit; the routes of the UPDATE were withdrawn.
    pub over_attribute_octets: bool,
    /// The peer has more routes than its `max_routes`.
    pub over_max_routes: bool,
}

impl Rib {
    /// Takes in the body of an UPDATE. An error resets the session with this NOTIFICATION. An UPDATE of a peer that is
    /// not up is ignored.
    pub fn handle_update(&mut self, now: Time, peer: PeerId, update: &UpdateView<'_>) -> Result<UpdateOutcome, Notification> {
        let mut outcome = UpdateOutcome::default();
        if !self.peers.is_up(peer) {
            return Ok(outcome);
        }
        self.stats.updates += 1;
        match update.end_of_rib() {
            Some((AFI_L2VPN, SAFI_EVPN)) => outcome.end_of_rib = true,
            Some(_) => self.stats.other_families += 1,
            None => {
                if !update.withdrawn_ipv4.is_empty() || !update.nlri_ipv4.is_empty() {
                    self.stats.other_families += 1;
                }
                self.take_unreach(peer, update, &mut outcome)?;
                self.take_reach(now, peer, update, &mut outcome)?;
            }
        }
        let slot = self.peers.slot(peer.0);
        // What a route refresh is yet to confirm counts: else each refresh would be room for as much again.
        let routes = if slot.refreshing { slot.routes + slot.stale_routes } else { slot.routes };
        outcome.over_max_routes = slot.peer.max_routes.is_some_and(|max| routes > max);
        self.stats.over_max_routes += u64::from(outcome.over_max_routes);
        self.stats.announced += u64::from(outcome.announced);
        self.stats.withdrawn += u64::from(outcome.withdrawn);
        self.stats.nlri_errors += u64::from(outcome.nlri_errors);
        Ok(outcome)
    }

    fn take_unreach(&mut self, peer: PeerId, update: &UpdateView<'_>, outcome: &mut UpdateOutcome) -> Result<(), Notification> {
        match &update.unreach {
            Some(unreach) if (unreach.afi, unreach.safi) == (AFI_L2VPN, SAFI_EVPN) => {
                self.withdraw_field(peer, unreach.nlri, outcome)
            }
            Some(_) => {
                self.stats.other_families += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn take_reach(
        &mut self,
        now: Time,
        peer: PeerId,
        update: &UpdateView<'_>,
        outcome: &mut UpdateOutcome,
    ) -> Result<(), Notification> {
        let Some(reach) = update.reach.as_ref().filter(|_| update.is_reachable()) else {
            return self.check_attributes(peer, update, outcome);
        };
        if (reach.afi, reach.safi) != (AFI_L2VPN, SAFI_EVPN) {
            self.stats.other_families += 1;
            return Ok(());
        }
        let context = self.peers.slot(peer.0).peer.context;
        let limit = self.config.max_attribute_octets;
        let acquired = match self.attrs.acquire(peer.0, limit, &update.attributes, reach.next_hop, &context) {
            Ok(Some(acquired)) => acquired,
            Ok(None) => {
                self.stats.over_attribute_octets += 1;
                outcome.over_attribute_octets = true;
                return self.withdraw_field(peer, reach.nlri, outcome);
            }
            Err(error) if error.disposition <= Disposition::TreatAsWithdraw => {
                // RFC 7606 §2: the routes go as if they had been withdrawn.
                self.stats.treat_as_withdraw += 1;
                self.stats.blocks_too_long += u64::from(error.code == 0);
                outcome.mistakes.push(error);
                return self.withdraw_field(peer, reach.nlri, outcome);
            }
            // RFC 7606 §2 knows "AFI/SAFI disable". Ours: a reset, because the session carries no other family.
            Err(error) => return Err(error.notification),
        };
        self.stats.blocks_known += u64::from(acquired.known);
        self.stats.blocks_parsed += u64::from(!acquired.known);
        self.stats.attribute_discards += acquired.mistakes.len() as u64;
        outcome.mistakes.extend(acquired.mistakes);
        let looped = self.attrs.block(acquired.id).and_then(|block| block.looped);
        let result = match looped {
            None => self.announce_field(now, peer, reach.nlri, acquired.id, outcome),
            Some(looped) => {
                match looped {
                    Loop::Originator => self.stats.originator_loops += 1,
                    Loop::Cluster => self.stats.cluster_loops += 1,
                    Loop::AsPath => self.stats.as_path_loops += 1,
                }
                // RFC 4456 §8, RFC 4271 §9.1.2: not taken; and what the peer said before is no longer true.
                self.withdraw_field(peer, reach.nlri, outcome)
            }
        };
        self.attrs.release(acquired.id);
        result
    }

    /// RFC 7606 §5.2: without reachable routes a mistake that would cost them costs the session, because it may hide them.
    fn check_attributes(
        &mut self,
        peer: PeerId,
        update: &UpdateView<'_>,
        outcome: &mut UpdateOutcome,
    ) -> Result<(), Notification> {
        if update.attributes.is_empty() {
            return Ok(());
        }
        match update.parse_attributes(&self.peers.slot(peer.0).peer.context) {
            Ok((_, mistakes)) => {
                self.stats.attribute_discards += mistakes.len() as u64;
                outcome.mistakes.extend(mistakes);
                Ok(())
            }
            Err(error) if error.disposition <= Disposition::TreatAsWithdraw => {
                outcome.mistakes.push(error);
                Ok(())
            }
            Err(error) => Err(error.notification),
        }
    }

    fn withdraw_field(&mut self, peer: PeerId, nlri: &[u8], outcome: &mut UpdateOutcome) -> Result<(), Notification> {
        for route in evpn::routes(nlri) {
            match route {
                Ok(route) => {
                    outcome.withdrawn += 1;
                    self.withdraw(peer.0, &route);
                }
                Err(error) if error.recoverable => self.withdraw_unreadable(peer, nlri, error, outcome),
                Err(_) => return Err(invalid_network_field()),
            }
        }
        Ok(())
    }

    fn announce_field(
        &mut self,
        now: Time,
        peer: PeerId,
        nlri: &[u8],
        attr: u32,
        outcome: &mut UpdateOutcome,
    ) -> Result<(), Notification> {
        for route in evpn::routes(nlri) {
            match route {
                Ok(route) => {
                    outcome.announced += 1;
                    self.stats.unknown_types += u64::from(matches!(route, EvpnRoute::Unknown { .. }));
                    self.announce(now, peer.0, &route, attr);
                }
                Err(error) if error.recoverable => self.withdraw_unreadable(peer, nlri, error, outcome),
                Err(_) => return Err(invalid_network_field()),
            }
        }
        Ok(())
    }

    /// RFC 7606 §3 j wants every route of a field read before any is treated as withdrawn, else the session reset. Ours: a wrong
    /// route whose length is good hides no other, so that the others count as they stand; it is withdrawn itself where its name
    /// can be read, and where not it cannot have been announced by that name.
    #[cold]
    fn withdraw_unreadable(&mut self, peer: PeerId, nlri: &[u8], error: NlriError, outcome: &mut UpdateOutcome) {
        outcome.nlri_errors += 1;
        outcome.first_nlri_error.get_or_insert(error);
        if let Some(route) = error.name_in(nlri) {
            outcome.withdrawn += 1;
            self.withdraw(peer.0, &route);
        }
    }

    /// Puts the path of a peer in place; the attribute block gets a user of its own.
    fn announce(&mut self, now: Time, peer: u16, route: &EvpnRoute<'_>, attr: u32) {
        let found = self.table.names.find(route).and_then(|key| self.table.lookup(&key));
        let id = match found {
            Some(id) => id,
            None if self.table.dests.used() >= self.config.max_destinations => {
                self.stats.table_full += 1;
                return;
            }
            None => self.table.insert(route),
        };
        let (label, extra) = key::path_part(route);
        let extra = self.table.names.acquire_extra(extra);
        let (session, identity) = (self.peers.slot(peer).session, self.peers.slot(peer).identity);
        let path = Path::new((peer, identity, session), attr, label, extra, (now.micros() / 1_000_000) as u32);
        let old = if found.is_some() { self.table.path_of(id, peer).copied() } else { None };
        if let Some(old) = old
            && (old.attr, old.extra, old.label()) == (path.attr, path.extra, path.label())
        {
            match self.peers.liveness(&old) {
                Liveness::Live => {
                    self.table.names.release_extra(extra);
                    return;
                }
                Liveness::Stale if !old.is_stale() => {
                    self.table.names.release_extra(extra);
                    self.peers.discount(&old);
                    if let Some(stale) = self.table.path_mut(id, peer) {
                        stale.session = session;
                        self.peers.count(&path);
                    }
                    return;
                }
                // The mark goes, which may change the decision; or it is dead and this one takes its place.
                Liveness::Stale | Liveness::Dead => {}
            }
        }
        if old.is_none() && found.is_some() && self.table.has_rivals(id) && !self.admit(id, &path) {
            self.table.names.release_extra(extra);
            return;
        }
        self.touch(id);
        self.attrs.retain(attr);
        self.peers.count(&path);
        if let Some(old) = self.table.set_path(id, path) {
            self.drop_path(&old);
        }
    }

    /// Takes the path of a peer away, where it has one.
    fn withdraw(&mut self, peer: u16, route: &EvpnRoute<'_>) {
        let Some(key) = self.table.names.find(route) else { return };
        let Some(id) = self.table.lookup(&key) else { return };
        if self.table.path_of(id, peer).is_none() {
            return;
        }
        self.note_room(id);
        self.touch(id);
        if let Some(path) = self.table.remove_path(id, peer) {
            self.drop_path(&path);
        }
    }

    /// Announces a route of our own, or changes it. Labels have 24 bits; types 1 and 4 have their ESI in the key.
    pub fn originate(&mut self, now: Time, key: &RouteKey, attributes: &Attributes, label1: u32, label2: Option<u32>, esi: Esi) {
        let mut route = key.to_route();
        match &mut route {
            EvpnRoute::EthernetAd(route) => route.label = label1,
            EvpnRoute::MacIp(route) => {
                route.label1 = label1;
                route.label2 = label2;
                route.esi = esi;
            }
            EvpnRoute::IpPrefix(route) => {
                route.label = label1;
                route.esi = esi;
            }
            EvpnRoute::Imet(_) | EvpnRoute::EthernetSegment(_) | EvpnRoute::Unknown { .. } => {}
        }
        let attr = self.attrs.acquire_local(attributes);
        self.announce(now, PeerId::LOCAL.0, &route, attr);
        self.attrs.release(attr);
    }

    /// Withdraws a route of our own.
    pub fn withdraw_local(&mut self, key: &RouteKey) {
        self.withdraw(PeerId::LOCAL.0, &key.to_route());
    }
}

/// RFC 7606 §5.3: later routes cannot be located, so the session goes. RFC 4760 §7 tells the peer "Optional Attribute Error". Ours:
/// "Invalid Network Field" (RFC 4271 §6.3), as FRR does, because it says where to look.
const fn invalid_network_field() -> Notification {
    Notification { code: notification::UPDATE_ERROR, subcode: 10, data: Vec::new() }
}
