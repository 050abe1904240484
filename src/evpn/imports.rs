//! What the RIB holds for instances that are new, looked up in slices: one walk for all of them, because a reload may bring a
//! thousand to a table of a million routes.

use std::collections::BTreeSet;

use super::instance::Evpn;
use crate::base::Time;
use crate::fib::Fib;
use crate::rib::{DestId, Rib};

/// A walk over all destinations: from where it stands, once around for the instance that came last.
#[derive(Debug, Default)]
pub(super) struct Imports {
    next: u32,
    left: u32,
    /// Destinations there were when the last instance came: those that came later it hears of as changes.
    end: u32,
    numbers: BTreeSet<u16>,
}

impl Imports {
    /// An instance is new; destinations have ids below `end`.
    pub(super) fn begin(&mut self, number: u16, end: u32) {
        (self.left, self.end) = (end, end);
        self.numbers.insert(number);
    }

    /// An instance is gone.
    pub(super) fn forget(&mut self, number: u16) {
        self.numbers.remove(&number);
    }

    /// Whether what the RIB holds is still being imported into an instance.
    pub(super) fn is_new(&self, number: u16) -> bool {
        self.numbers.contains(&number)
    }

    fn step(&mut self) -> Option<DestId> {
        self.left = self.left.checked_sub(1)?;
        let id = if self.next < self.end { self.next } else { 0 };
        self.next = id + 1;
        Some(DestId(id))
    }
}

impl Evpn {
    /// Whether routes that the RIB holds are yet to be imported into instances that are new.
    pub fn is_importing(&self) -> bool {
        !self.imports.numbers.is_empty()
    }

    /// Goes on with the walk over at most `budget` destinations. Whether there is more to do.
    pub(super) fn work_imports(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, budget: usize) -> bool {
        let mut budget = budget;
        while budget > 0 && self.is_importing() {
            budget -= 1;
            let Some(dest) = self.imports.step() else {
                self.imports.numbers.clear();
                break;
            };
            // A block of attributes tells at once whether its routes are for us.
            let Some(best) = rib.best(dest) else { continue };
            let facts = self.facts.facts(rib, best.attr, &self.targets, &self.config);
            if self.facts.set(facts.set()).iter().any(|number| self.imports.numbers.contains(number)) {
                self.handle_change(now, rib, fib, dest);
            }
        }
        self.is_importing()
    }
}
