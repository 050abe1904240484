//! Rows that may stand already are read before they are written ([`OpKind::EnsureUnicast`]); rows that should stand are read for
//! the audit.

use std::io;

use super::reader::Halves;
use super::worker::Worker;
use crate::base::{MacAddr, Vni};
use crate::fib::{Batch, BatchDone, CheckedRow, KernelEvent, Op, OpKind};

impl Worker {
    /// Carries out a batch. Of the rows that are only to be ensured, those that stand are left alone, and so are the operator's.
    pub(super) fn write(&mut self, batch: &Batch) -> BatchDone {
        let ensured: Vec<(u32, MacAddr)> =
            batch.ops.iter().filter(|op| op.kind == OpKind::EnsureUnicast).map(|op| (op.ifindex, op.mac)).collect();
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
            if op.kind == OpKind::EnsureUnicast {
                let stands = halves.next().unwrap_or_default();
                let other_form = stands.own.as_ref().is_some_and(|own| self.nexthops.is_other_form(own));
                if stands.are_as(op) && !other_form {
                    done.stood += 1;
                    continue;
                }
                if let Some(row) = stands.row(op.ifindex).filter(|row| !row.ext_learned) {
                    done.theirs.push((index, row.remote));
                    continue;
                }
                left.push(Op { kind: OpKind::ReplaceUnicast, ..*op });
            } else {
                left.push(*op);
            }
            places.push(index);
        }
        if !left.is_empty() {
            let written = self.writer.write(&Batch { id: batch.id, ops: left }, &mut self.requests, &mut self.nexthops);
            done.errors = written.errors.into_iter().map(|(at, errno)| (places[at as usize], errno)).collect();
            done.fatal = written.fatal;
        }
        done
    }

    /// Reads both halves of rows; those that name a group of ours have the address behind it.
    fn halves(&mut self, asked: &[(u32, MacAddr)]) -> io::Result<Vec<Halves>> {
        let mut found = self.reader.read(asked)?;
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
            rows.push(CheckedRow { vni, mac, row: halves.row(ifindex) });
        }
        self.out.push(KernelEvent::Checked { token, rows });
    }
}
