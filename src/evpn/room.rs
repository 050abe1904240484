//! Room for what a limit refused. Nothing of it is kept, because a tenant or a peer chooses how much is refused; it is looked
//! up again where it stands anyway: local MACs in the bridge, remote routes in the RIB. Each at most every [`PAUSE`], so
//! that a table that stays at its limit costs a walk now and then and not one for every MAC that leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::EvpnLimits;
use super::event::Event;
use super::instance::Evpn;
use crate::base::{InternId, MacAddr, Time};
use crate::fib::Fib;
use crate::rib::{DestId, Rib};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    LocalMacs,
    PortMacs,
    RemoteMacs,
    RoutesOfMac,
    /// Addresses of one local MAC.
    LocalIps,
}

impl Limit {
    /// Those of what is looked up again, local or remote. Addresses of local MACs are not: their hosts say them again and again.
    const fn offered(local: bool) -> [Self; 2] {
        if local { [Self::LocalMacs, Self::PortMacs] } else { [Self::RemoteMacs, Self::RoutesOfMac] }
    }
}

/// What was refused in one instance.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    /// How often, by [`Limit`].
    pub times: [u64; 5],
    /// Since it was last looked again.
    since: [bool; 5],
    /// An operator was told, and nothing was admitted since.
    told: [bool; 5],
}

impl Refused {
    /// Whether anything may still be waiting for room.
    pub fn any(&self) -> bool {
        self.told.iter().any(|told| *told)
    }
}

/// When something is looked at again.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    at: Option<Time>,
    last: Option<Time>,
}

impl Look {
    fn ask(&mut self, now: Time) {
        let earliest = self.last.map_or(now, |last| (last + PAUSE).max(now));
        self.at = Some(self.at.map_or(earliest, |at| at.min(earliest)));
    }

    fn is_due(&mut self, now: Time) -> bool {
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            *self = Self { at: None, last: Some(now) };
        }
        due
    }
}

/// Looks that are due or under way.
#[derive(Debug, Default)]
pub(super) struct Looks {
    locals: Look,
    routes: Look,
    /// The next destination of the walk through the RIB.
    walk: Option<usize>,
    /// Local MACs that had as many addresses as they may when another was refused, and when they are looked at again.
    full: BTreeSet<(u16, MacAddr)>,
    full_at: Option<Time>,
}

impl Evpn {
    /// Something of an instance does not fit.
    pub(super) fn refuse(&mut self, number: u16, which: Limit) {
        let limits = &self.config.limits;
        let (counter, what, limit) = match which {
            Limit::LocalMacs => (&mut self.stats.local_macs_over_limit, "local MACs", limits.local_macs_per_vni),
            Limit::PortMacs => (&mut self.stats.port_macs_over_limit, "local MACs at one port", limits.local_macs_per_port),
            Limit::RemoteMacs => (&mut self.stats.macs_over_limit, "remote MACs", limits.remote_macs_per_vni),
            Limit::RoutesOfMac => {
                (&mut self.stats.routes_over_limit, "routes (addresses) of one MAC", usize::from(limits.routes_per_mac))
            }
            Limit::LocalIps => {
                (&mut self.stats.local_ips_over_limit, "addresses of one local MAC", usize::from(limits.routes_per_mac))
            }
        };
        *counter += 1;
        let Some(instance) = self.slot_mut(number) else { return };
        let at = which as usize;
        instance.refused.times[at] += 1;
        instance.refused.since[at] = true;
        if !std::mem::replace(&mut instance.refused.told[at], true) {
            let vni = instance.config.vni;
            self.events.push(Event::LimitReached { vni, what: what.to_owned(), limit: limit as u64 });
        }
    }

    /// One more address of a local MAC does not fit. That is over, and told again, when each such MAC of the instance has fewer; whoever
    /// gives one up and takes another all the time has it told every [`PAUSE`] at most.
    pub(super) fn refuse_address(&mut self, now: Time, number: u16, mac: MacAddr) {
        self.refuse(number, Limit::LocalIps);
        self.looks.full.insert((number, mac));
        self.looks.full_at.get_or_insert(now + PAUSE);
    }

    fn look_at_full(&mut self, now: Time) {
        let most = usize::from(self.config.limits.routes_per_mac);
        let own_ips = &self.own_ips;
        self.looks.full.retain(|key| own_ips.get(key).is_some_and(|ips| ips.len() >= most));
        self.looks.full_at = (!self.looks.full.is_empty()).then_some(now + PAUSE);
        let numbers: BTreeSet<u16> = self.looks.full.iter().map(|(number, _)| *number).collect();
        for (number, instance) in self.instances.iter_mut().enumerate() {
            if let Some(instance) = instance {
                instance.refused.told[Limit::LocalIps as usize] &= numbers.contains(&(number as u16));
            }
        }
    }

    /// There is room again for what `local` tells of: what was refused is looked at again.
    pub(super) fn made_room(&mut self, now: Time, number: u16, local: bool) {
        let Some(instance) = self.slot(number) else { return };
        if !Limit::offered(local).iter().any(|limit| instance.refused.told[*limit as usize]) {
            return;
        }
        if local {
            self.ask_locals(now);
        } else {
            self.looks.routes.ask(now);
        }
    }

    /// The bridge is asked for its local MACs, now or when the pause is over.
    pub(super) fn ask_locals(&mut self, now: Time) {
        self.looks.locals.ask(now);
    }

    /// All of an instance, local or remote, was offered again: what of it was not refused again is no longer at its limit.
    pub(super) fn offered_again(&mut self, number: u16, local: bool) {
        let Some(instance) = self.slot_mut(number) else { return };
        for limit in Limit::offered(local) {
            let refused = &mut instance.refused;
            refused.told[limit as usize] &= refused.since[limit as usize];
        }
    }

    /// All of an instance, local or remote, is about to be offered again.
    pub(super) fn offer_again(&mut self, number: u16, local: bool) {
        let Some(instance) = self.slot_mut(number) else { return };
        for limit in Limit::offered(local) {
            instance.refused.since[limit as usize] = false;
        }
    }

    /// Other limits. What stands above a lower one stays until it goes by itself; what was refused below a higher one comes.
    pub fn set_limits(&mut self, now: Time, limits: EvpnLimits) {
        if self.config.limits == limits {
            return;
        }
        self.config.limits = limits;
        let numbers: Vec<u16> = self.by_vni.values().copied().collect();
        for number in numbers {
            self.made_room(now, number, true);
            self.made_room(now, number, false);
        }
    }

    /// When [`Evpn::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let questions = self.to_ask_later.front().map(|&(at, _)| at);
        let found = [self.duplicates.poll_timeout(), self.conflicts.poll_timeout()];
        let looks = [self.looks.locals.at, self.looks.routes.at, self.looks.full_at];
        let others = [self.pace.poll_timeout(), self.moves.poll_timeout(), questions];
        found.into_iter().chain(looks).chain(others).flatten().min()
    }

    /// Serves what is due: recoveries of duplicates, rows to put back, questions, moves to be told again, looks for room.
    pub fn handle_timeout(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib) {
        self.recover_duplicates(now, rib, fib);
        self.tell_moves_again(now);
        self.recover_conflicts(now);
        while let Some(&(_, question)) = self.to_ask_later.front().filter(|(at, _)| *at <= now) {
            self.to_ask_later.pop_front();
            self.to_ask.push(question);
        }
        while let Some((number, mac)) = self.pace.next_due(now) {
            if let Some(vni) = self.slot(number).map(|instance| instance.config.vni) {
                fib.reassert(now, vni, mac);
            }
        }
        if self.looks.locals.is_due(now) {
            self.resync_locals = true;
        }
        if self.looks.full_at.is_some_and(|at| at <= now) {
            self.look_at_full(now);
        }
        if self.looks.routes.is_due(now) {
            let numbers: Vec<u16> = self.by_vni.values().copied().collect();
            numbers.into_iter().for_each(|number| self.offer_again(number, false));
            self.looks.walk = Some(0);
        }
    }

    /// Goes on with long walks, over about `budget` destinations each: for routes of instances that are new, and for routes that
    /// were refused. Whether there is more to do.
    pub fn work(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, budget: usize) -> bool {
        let importing = self.work_imports(now, rib, fib, budget);
        self.work_refused(now, rib, fib, budget) || importing
    }

    fn work_refused(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, budget: usize) -> bool {
        let Some(from) = self.looks.walk else { return false };
        let to = (from + budget).min(self.imported.len());
        for at in from..to {
            let Some(set) = self.imported[at].checked_sub(1).map(InternId) else { continue };
            let dest = DestId(at as u32);
            let Some((_, _, mac, ip)) = rib.mac_ip(dest) else { continue };
            for number in self.facts.set(set).to_vec() {
                if self.slot(number).is_some_and(|instance| instance.refused.any()) {
                    self.add_route(now, rib, fib, number, (mac, ip), dest);
                }
            }
        }
        let more = to < self.imported.len();
        self.looks.walk = more.then_some(to);
        if !more {
            let numbers: Vec<u16> = self.by_vni.values().copied().collect();
            numbers.into_iter().for_each(|number| self.offered_again(number, false));
        }
        more
    }
}
