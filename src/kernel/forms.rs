//! The two forms of a row, by nexthop group or by destination: which device gets which, and what happens where the other
//! one stands, or where somebody touched our nexthops. Read `nexthops` first.
//!
//! A row of the other form must be deleted before it is written: a destination over a group is answered with 0 and changes
//! nothing, a group over a destination is refused (`vxlan_fdb_update_existing`, `drivers/net/vxlan/vxlan_core.c`). Nobody
//! keeps a list of forms: the writer is told by the refusal, or looks, and swaps ([`Writer::mend`]). So to convert a device
//! is to write its rows again, which the core does when it is told ([`KernelEvent::RowsOfOtherForm`]).

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::codec::Message;
use super::fdb;
use super::links::LinkKind;
use super::nexthops::{self, Nexthops};
use super::request::Requests;
use super::worker::Worker;
use super::writer::{self, Writer};
use crate::base::Vni;
use crate::fib::{KernelEvent, Op, OpKind};

impl Worker {
    /// The list of devices was given: nexthops are read and listened to where one wants them.
    pub(super) fn want_nexthops(&mut self) {
        if self.managed.values().any(|managed| managed.spec.nexthop_groups) {
            if !self.nexthops_heard {
                self.read_nexthops();
            }
            self.nexthops.tell_support();
        }
        let ready: Vec<Vni> = self.devices.values().copied().collect();
        for vni in ready {
            self.set_form(vni);
        }
    }

    /// Reads the nexthops of the host, and listens to changes from now on where any is ours or may be.
    pub(super) fn read_nexthops(&mut self) {
        let wanted = self.managed.values().any(|managed| managed.spec.nexthop_groups);
        if wanted {
            self.hear_nexthops();
        }
        self.nexthops.read(&mut self.requests);
        if !self.nexthops.is_empty() && !self.nexthops_heard {
            // An earlier run's. What changed in between is read.
            self.hear_nexthops();
            self.nexthops.read(&mut self.requests);
        }
        self.tell_lost();
    }

    fn hear_nexthops(&mut self) {
        if !self.nexthops_heard {
            match self.events.join(nexthops::RTNLGRP_NEXTHOP) {
                Ok(()) => self.nexthops_heard = true,
                // A kernel before 5.3 has no such group, nor such nexthops.
                Err(error) => tracing::debug!(%error, "changes of nexthops are not heard of"),
            }
        }
    }

    /// Decides on the form of a device's rows. A device that learns, or answers ARP itself (`proxy`), gets destinations: kernels
    /// before 6.17 fall over an entry without one (`vxlan_snoop`, `arp_reduce`).
    pub(super) fn set_form(&mut self, vni: Vni) {
        let Some(ifindex) = self.ready_device(vni).map(|ready| ready.ifindex) else { return };
        let wanted = self.managed.get(&vni).is_some_and(|managed| managed.spec.nexthop_groups);
        let safe = match self.links.link(ifindex).map(|link| &link.kind) {
            Some(LinkKind::Vxlan(info)) => !info.learning && !info.proxy,
            _ => false,
        };
        self.nexthops.set_device(ifindex, wanted && safe);
    }

    /// A nexthop was made, changed or deleted.
    pub(super) fn handle_nexthop(&mut self, message: &Message<'_>) {
        self.nexthops.handle(&mut self.requests, message.kind == nexthops::RTM_NEWNEXTHOP, message.body);
    }

    /// Tells whose rows went with their groups: the kernel deletes them without a notification of each.
    pub(super) fn tell_lost(&mut self) {
        let remotes = self.nexthops.take_lost();
        if remotes.is_empty() {
            return;
        }
        tracing::warn!(
            vteps = remotes.len(),
            "nexthops of ours were deleted by somebody: the rows that named them are written again"
        );
        let vnis = self.devices.values().copied().collect();
        self.out.push(KernelEvent::RemotesGone { vnis, remotes });
    }

    /// What the core knows of: nexthops of all others may go.
    pub(super) fn keep_remotes(&mut self, in_use: Vec<IpAddr>) {
        if !self.nexthops.is_empty() {
            let in_use: BTreeSet<IpAddr> = in_use.into_iter().collect();
            self.nexthops.keep(&mut self.requests, &in_use);
        }
    }
}

/// A write to be made by deleting first.
#[derive(Debug, Clone, Copy)]
struct Swap {
    /// Its place in the batch.
    index: u32,
    op: Op,
    /// 0: by destination.
    group: u32,
    /// Why a group was refused; 0 where none was.
    refusal: i32,
}

impl Writer {
    /// Puts right what the two forms got into each other's way with. `errors` are those of the batch, in order, and are so
    /// afterwards.
    ///
    /// - A group refused because the row stands by destination (EOPNOTSUPP): swapped.
    /// - A group that is unknown (EINVAL): somebody deleted it; with a new one. Where it stands all the same, or the swap is
    ///   refused, too, the row is swapped for one by destination, and where that works the device gets no more groups.
    /// - A destination written where our own row by group may stand: the kernel said 0 and did nothing; looked at, swapped.
    ///
    /// # Errors
    /// Those of the socket: nothing is known of the batch then.
    pub(super) fn mend(
        &mut self,
        ops: &[Op],
        errors: &mut Vec<(u32, i32)>,
        requests: &mut Requests,
        nexthops: &mut Nexthops,
    ) -> io::Result<()> {
        let mut swaps = Vec::new();
        for &(index, refusal) in errors.iter() {
            let (op, named) = (ops[index as usize], self.group_of(index));
            let group = match refusal {
                _ if named == 0 => continue,
                libc::EOPNOTSUPP => named,
                libc::EINVAL => nexthops.renewed(requests, op.remote.ip, named),
                _ => continue,
            };
            swaps.push(Swap { index, op, group, refusal });
        }
        for (index, op) in (0u32..).zip(ops) {
            let silent = op.kind == OpKind::ReplaceUnicast && self.group_of(index) == 0 && !nexthops.is_empty();
            if silent && errors.binary_search_by_key(&index, |(at, _)| *at).is_err() {
                let entry = writer::entry(requests, nexthops, op.ifindex, op.mac, libc::NTF_SELF).ok().flatten();
                if entry.is_some_and(|entry| entry.nexthop.is_some() && entry.dst.is_some()) {
                    swaps.push(Swap { index, op: *op, group: 0, refusal: 0 });
                }
            }
        }
        if swaps.is_empty() {
            return Ok(());
        }
        errors.retain(|(index, _)| swaps.iter().all(|swap| swap.index != *index));
        let refused = self.swap(&swaps)?;
        let second: Vec<Swap> = refused
            .iter()
            .map(|&(at, refusal)| Swap { group: 0, refusal, ..swaps[at] })
            .filter(|swap| swaps.iter().any(|first| first.index == swap.index && first.group != 0))
            .collect();
        let refused_again = self.swap(&second)?;
        let fails = |refused: &[(usize, i32)], at: usize| refused.iter().find(|(index, _)| *index == at).map(|(_, errno)| *errno);
        let mut by_destination = Vec::new();
        for (at, swap) in swaps.iter().enumerate().filter(|(_, swap)| swap.group == 0) {
            by_destination.push((swap, fails(&refused, at)));
        }
        for (at, swap) in second.iter().enumerate() {
            by_destination.push((swap, fails(&refused_again, at)));
        }
        for (swap, errno) in by_destination {
            match errno {
                Some(errno) => errors.push((swap.index, errno)),
                None if matches!(swap.refusal, libc::EINVAL | libc::EOPNOTSUPP) => {
                    nexthops.give_up(swap.op.ifindex, swap.refusal)
                }
                None => {}
            }
        }
        errors.sort_unstable();
        Ok(())
    }

    /// Deletes the VXLAN half of each row and writes it anew, one after the other. Returns index and errno of the writes that
    /// were refused, in order; such a row is gone.
    fn swap(&mut self, swaps: &[Swap]) -> io::Result<Vec<(usize, i32)>> {
        let results = self.send(swaps.len() * 2, |out, at, flags, sequence| {
            let Swap { op, group, .. } = &swaps[at / 2];
            if at % 2 == 0 {
                fdb::emit_op(out, &Op { kind: OpKind::DeleteUnicast { self_only: true }, ..*op }, 0, flags, sequence);
            } else {
                fdb::emit_half(out, op, *group, flags, sequence);
            }
        })?;
        for (at, swap) in swaps.iter().enumerate() {
            if results.binary_search_by_key(&(at as u32 * 2), |(at, _)| *at).is_err() {
                self.expect_echo(swap.op.ifindex, swap.op.mac);
            }
        }
        Ok(results.into_iter().filter(|(at, _)| at % 2 == 1).map(|(at, errno)| (at as usize / 2, errno)).collect())
    }
}
