//! Rows that may stand already are read before they are written ([`OpKind::EnsureUnicast`], [`OpKind::RestoreUnicast`]); rows that
//! should stand are read for the audit.

use std::io;

use super::reader::Halves;
use super::worker::Worker;
use crate::base::{MacAddr, Vni};
use crate::fib::{Batch, BatchDone, CheckedRow, KernelEvent, Op, OpKind};

/// The op that is done for another one: its own result is nobody's.
const NOBODYS: u32 = u32::MAX;

fn is_read_first(op: &Op) -> bool {
    matches!(op.kind, OpKind::EnsureUnicast | OpKind::RestoreUnicast)
}

impl Worker {
    /// Carries out a batch. Of the rows that are only to be ensured, those that stand are left alone, and so are the operator's.
    pub(super) fn write(&mut self, batch: &Batch) -> BatchDone {
        let ensured: Vec<(u32, MacAddr)> =
            batch.ops.iter().filter(|op| is_read_first(op)).map(|op| (op.ifindex, op.mac)).collect();
        if ensured.is_empty() {
            return self.writer.write(batch, &mut self.requests, &mut self.nexthops);
        }
        // What cannot be read is written: that is right in any case.
        let halves = self.halves(&ensured).unwrap_or_else(|error| {
            tracing::debug!(%error, "rows that may stand cannot be read: they are written");
            vec![Halves::default(); ensured.len()]
        });
        let mut done = BatchDone { id: batch.id, ..BatchDone::default() };
        let (mut left, mut places) = (Vec::new(), Vec::new());
        let mut halves = halves.into_iter();
        for (index, op) in (0u32..).zip(&batch.ops) {
            if is_read_first(op) {
                let stands = halves.next().unwrap_or_default();
                let other_form = stands.own.as_ref().is_some_and(|own| self.nexthops.is_other_form(own));
                if stands.are_as(op) && !other_form {
                    done.stood += 1;
                    continue;
                }
                match stands.row(op.ifindex).filter(|row| !row.ext_learned) {
                    Some(row) if op.kind == OpKind::EnsureUnicast => {
                        done.theirs.push((index, row.remote));
                        continue;
                    }
                    // A write with EXT_LEARNED over an entry without it changes neither its state nor its flags (6.18); the
                    // bridge's takes the mark. A delete of both would stop at the bridge where that has none.
                    Some(_) => {
                        left.push(Op { kind: OpKind::DeleteUnicast { self_only: true }, ..*op });
                        places.push(NOBODYS);
                    }
                    None => {}
                }
                left.push(Op { kind: OpKind::ReplaceUnicast, ..*op });
            } else {
                left.push(*op);
            }
            places.push(index);
        }
        if !left.is_empty() {
            let written = self.writer.write(&Batch { id: batch.id, ops: left }, &mut self.requests, &mut self.nexthops);
            let errors = written.errors.into_iter().map(|(at, errno)| (places[at as usize], errno));
            done.errors = errors.filter(|(at, _)| *at != NOBODYS).collect();
            done.fatal = written.fatal;
        }
        done
    }

    /// Reads both halves of rows; those that name a group of ours have the address behind it.
    fn halves(&mut self, asked: &[(u32, MacAddr)]) -> io::Result<Vec<Halves>> {
        let mut found = self.reader.read(asked)?;
        for ((ifindex, _), halves) in asked.iter().zip(&mut found) {
            if self.devices.get(ifindex).is_some_and(|vni| self.is_bare(*vni)) {
                // Asked for the other half, the kernel says that there is no bridge.
                (halves.bare, halves.unknown) = (true, false);
            }
        }
        for own in found.iter_mut().filter_map(|halves| halves.own.as_mut()) {
            self.nexthops.resolve(own);
        }
        Ok(found)
    }

    /// Reads rows for the audit. What is wrong in the bridge alone is dealt with here: a local port's MAC that was never
    /// told, a half without its mark.
    pub(super) fn check(&mut self, token: u64, wanted: &[(Vni, MacAddr)]) {
        let named: Vec<(u32, Vni, MacAddr)> =
            wanted.iter().filter_map(|&(vni, mac)| Some((self.ready_device(vni)?.ifindex, vni, mac))).collect();
        let asked: Vec<(u32, MacAddr)> = named.iter().map(|&(ifindex, _, mac)| (ifindex, mac)).collect();
        let halves = self.halves(&asked).unwrap_or_else(|error| {
            tracing::warn!(%error, "rows could not be read for the audit");
            Vec::new()
        });
        let mut rows = Vec::with_capacity(halves.len());
        for ((ifindex, vni, mac), halves) in named.into_iter().zip(halves) {
            if halves.unknown {
                continue;
            }
            match &halves.bridge {
                Some(entry) if entry.ifindex != ifindex => {
                    self.handle_entry(true, entry);
                    continue;
                }
                Some(entry) if !entry.is_ext_learned() && halves.own.as_ref().is_some_and(|own| own.is_ext_learned()) => {
                    self.mark_again(ifindex, mac);
                    continue;
                }
                _ => {}
            }
            let idle = halves.own.as_ref().and_then(|own| own.idle);
            rows.push(CheckedRow { vni, mac, row: halves.row(ifindex), idle });
        }
        self.out.push(KernelEvent::Checked { token, rows });
    }
}
