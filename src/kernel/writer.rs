//! Writes rows: one `sendmsg` of about 4 KiB, an acknowledgement of its last message, the errors of the others by number.
//!
//! Measured (see `docs/decisions/0003-kernel-netlink.md`): one ACK per 4 KiB is several times faster than one per row, and
//! larger sends are slower. Every result is read before the next send, so nothing can pile up.

use std::collections::BTreeSet;
use std::io;

use super::codec;
use super::fdb::{self, BATCH_OCTETS, Entry, OP_OCTETS};
use super::nexthops::Nexthops;
use super::request::Requests;
use super::socket::{Received, Socket};
use crate::base::MacAddr;
use crate::fib::{Batch, BatchDone, Op, OpKind};

/// How many echoes of our own deletes may be awaited; above it they are told to the core, which knows them too.
const ECHOES: usize = 1 << 16;

/// The socket and its buffers.
#[derive(Debug)]
pub(super) struct Writer {
    socket: Socket,
    sequence: u32,
    out: Vec<u8>,
    buffer: Vec<u8>,
    /// Rows that we deleted, whose notification is still to come.
    echoes: BTreeSet<(u32, MacAddr)>,
    /// The nexthop group that each op of the batch under way names, 0 for none; empty where none does.
    groups: Vec<u32>,
}

impl Writer {
    /// A socket for writes.
    ///
    /// # Errors
    /// Those of `socket(2)` and `bind(2)`.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::open()?;
        // 85 refusals of about 1 KiB of kernel memory each must fit.
        socket.set_receive_buffer(1 << 20);
        Ok(Self {
            socket,
            sequence: 0,
            out: Vec::with_capacity(BATCH_OCTETS),
            buffer: vec![0; 16 * 1024],
            echoes: BTreeSet::new(),
            groups: Vec::new(),
        })
    }

    /// Carries out a batch.
    ///
    /// A delete of what is not there is done. A delete in both databases whose bridge half belongs to a local port by now
    /// (ENOENT) goes on with the VXLAN half. A replace that only the bridge took is taken back there, so that no frame
    /// is sent into a tunnel that has no address. Rows of devices that have nexthop groups name them (`forms`).
    pub(super) fn write(&mut self, batch: &Batch, requests: &mut Requests, nexthops: &mut Nexthops) -> BatchDone {
        let mut done = BatchDone { id: batch.id, ..BatchDone::default() };
        nexthops.groups_of(requests, &batch.ops, &mut self.groups);
        let mended = self.send_ops(&batch.ops).and_then(|mut errors| {
            self.mend(&batch.ops, &mut errors, requests, nexthops)?;
            Ok(errors)
        });
        self.groups.clear();
        let mut errors = match mended {
            Ok(errors) => errors,
            Err(error) => {
                done.fatal = Some(format!("rows could not be written: {error}"));
                return done;
            }
        };
        let missing = |op: &Op, errno: i32| errno == libc::ENOENT && op.kind == OpKind::DeleteUnicast { self_only: false };
        let again: Vec<u32> =
            errors.iter().filter(|(i, errno)| missing(&batch.ops[*i as usize], *errno)).map(|(i, _)| *i).collect();
        if !again.is_empty() {
            let ops: Vec<Op> = again
                .iter()
                .map(|index| Op { kind: OpKind::DeleteUnicast { self_only: true }, ..batch.ops[*index as usize] })
                .collect();
            match self.send_ops(&ops) {
                Ok(second) => {
                    errors.retain(|(index, _)| again.binary_search(index).is_err());
                    errors.extend(second.into_iter().map(|(at, errno)| (again[at as usize], errno)));
                    errors.sort_unstable();
                }
                Err(error) => {
                    done.fatal = Some(format!("rows could not be deleted: {error}"));
                    return done;
                }
            }
        }
        self.expect_echoes(batch, &errors);
        for (index, errno) in errors {
            let op = &batch.ops[index as usize];
            match op.kind {
                OpKind::DeleteUnicast { .. } | OpKind::DeleteFlood | OpKind::DeleteNeighbor if errno == libc::ENOENT => continue,
                OpKind::ReplaceUnicast if !matches!(errno, libc::EPERM | libc::ENODEV) => take_back(requests, nexthops, op),
                _ => {}
            }
            done.errors.push((index, errno));
        }
        done
    }

    /// Whether a row that was deleted is one that we deleted; told once for each.
    pub(super) fn is_echo(&mut self, ifindex: u32, mac: MacAddr) -> bool {
        self.echoes.remove(&(ifindex, mac))
    }

    /// Whether the row's own notification is still to come, without taking note.
    pub(super) fn awaits_echo(&self, ifindex: u32, mac: MacAddr) -> bool {
        self.echoes.contains(&(ifindex, mac))
    }

    /// Notifications were lost: none is awaited any more.
    pub(super) fn forget_echoes(&mut self) {
        self.echoes.clear();
    }

    fn expect_echoes(&mut self, batch: &Batch, errors: &[(u32, i32)]) {
        for (index, op) in batch.ops.iter().enumerate() {
            let failed = errors.binary_search_by_key(&(index as u32), |(at, _)| *at).is_ok();
            if matches!(op.kind, OpKind::DeleteUnicast { .. }) && !failed {
                self.expect_echo(op.ifindex, op.mac);
            }
        }
    }

    /// The notification of a row's end is our own doing.
    pub(super) fn expect_echo(&mut self, ifindex: u32, mac: MacAddr) {
        if self.echoes.len() < ECHOES {
            self.echoes.insert((ifindex, mac));
        }
    }

    /// The group that an op of the batch under way names; 0 for none.
    pub(super) fn group_of(&self, index: u32) -> u32 {
        self.groups.get(index as usize).copied().unwrap_or(0)
    }

    fn send_ops(&mut self, ops: &[Op]) -> io::Result<Vec<(u32, i32)>> {
        let groups = std::mem::take(&mut self.groups);
        let sent = self.send(ops.len(), |out, at, flags, sequence| {
            fdb::emit_op(out, &ops[at], groups.get(at).copied().unwrap_or(0), flags, sequence);
        });
        self.groups = groups;
        sent
    }

    /// Sends `count` messages, each of at most [`OP_OCTETS`], in pieces of at most 4 KiB and reads every result: index and
    /// errno, in order. `emit` appends one, with these flags more and this sequence number.
    pub(super) fn send(&mut self, count: usize, emit: impl Fn(&mut Vec<u8>, usize, i32, u32)) -> io::Result<Vec<(u32, i32)>> {
        let mut errors = Vec::new();
        let mut first = 0;
        while first < count {
            self.out.clear();
            let base = self.sequence;
            let mut len = 0;
            while first + len < count {
                let last = count == first + len + 1 || self.out.len() + 2 * OP_OCTETS > BATCH_OCTETS;
                let flags = if last { libc::NLM_F_ACK } else { 0 };
                emit(&mut self.out, first + len, flags, base.wrapping_add(len as u32));
                len += 1;
                if last {
                    break;
                }
            }
            self.sequence = base.wrapping_add(len as u32);
            self.socket.send(&self.out)?;
            self.results(base, len as u32, first as u32, &mut errors)?;
            first += len;
        }
        Ok(errors)
    }

    /// Reads answers until that of the last message, which always comes.
    fn results(&mut self, base: u32, len: u32, first: u32, errors: &mut Vec<(u32, i32)>) -> io::Result<()> {
        loop {
            let octets = match self.socket.receive(&mut self.buffer, true)? {
                Received::Octets(octets) => octets,
                Received::Empty => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                Received::Lost => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            };
            for message in codec::messages(&self.buffer[..octets.min(self.buffer.len())]) {
                let index = message.sequence.wrapping_sub(base);
                if i32::from(message.kind) != libc::NLMSG_ERROR || index >= len {
                    continue;
                }
                let errno = codec::answer(&message).errno;
                if errno != 0 {
                    errors.push((first + index, errno));
                }
                if index == len - 1 {
                    return Ok(());
                }
            }
        }
    }
}

/// The bridge took the row and the VXLAN device refused it: without a row there the bridge's half goes, too. Where an
/// older row stands, both halves stay as they were.
fn take_back(requests: &mut Requests, nexthops: &Nexthops, op: &Op) {
    if let Ok(None) = entry(requests, nexthops, op.ifindex, op.mac, libc::NTF_SELF) {
        // Nothing to take back is as good.
        let _ = requests.change(libc::RTM_DELNEIGH, 0, |out| {
            codec::ndmsg(out, op.ifindex, 0, libc::NTF_MASTER);
            codec::attribute(out, libc::NDA_LLADDR, &op.mac.0);
        });
    }
}

/// One entry as it stands (`RTM_GETNEIGH`, kernel ≥ 5.0): `NTF_SELF` the VXLAN device's own, `NTF_MASTER` its bridge's. Where it
/// names a group of ours it has the address, too.
///
/// # Errors
/// What the kernel said, but that there is none.
pub(super) fn entry(
    requests: &mut Requests,
    nexthops: &Nexthops,
    ifindex: u32,
    mac: MacAddr,
    table: u8,
) -> Result<Option<Entry>, super::request::KernelSaid> {
    let body = |out: &mut Vec<u8>| {
        codec::ndmsg(out, ifindex, 0, table);
        codec::attribute(out, libc::NDA_LLADDR, &mac.0);
    };
    let mut found = requests.get(libc::RTM_GETNEIGH, body, |message| Entry::parse(message.body))?;
    if let Some(entry) = &mut found {
        nexthops.resolve(entry);
    }
    Ok(found)
}
