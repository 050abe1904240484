//! Reads known rows one by one, both halves, many in one `sendmsg`: what a dump of a large bridged device cannot do cheaply.
//!
//! Measured (6.18, one device of 100,000 rows in a bridge): a dump 1.1 s of a processor and quadratic; two `RTM_GETNEIGH` a
//! row (kernel ≥ 5.0) 3.7 µs and linear, whatever the number of requests in one send from 32 on.

use std::io;

use super::codec;
use super::fdb::Entry;
use super::socket::{RECEIVE_OCTETS, Received, Socket};
use crate::base::MacAddr;
use crate::fib::{KernelRow, Op};

/// Rows asked for in one send.
const ROWS_PER_SEND: usize = 64;
/// Room that one answer takes in the receive buffer at most: the kernel makes each in a page of its own.
const ANSWER_OCTETS: usize = 4608;

/// What stands for one MAC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Halves {
    /// The VXLAN device's own entry.
    pub own: Option<Entry>,
    /// The bridge's, at whatever port.
    pub bridge: Option<Entry>,
    /// The device is in no bridge: there is no other half.
    pub bare: bool,
    /// The kernel refused to say (and not because there is none).
    pub unknown: bool,
}

impl Halves {
    /// Whether the bridge has the MAC behind the VXLAN device, by a control plane's word.
    pub(super) fn is_bridged(&self, ifindex: u32) -> bool {
        self.bare || self.bridge.as_ref().is_some_and(|entry| entry.ifindex == ifindex && entry.is_ext_learned())
    }

    /// Whether the write `op` would change nothing. A row that a device set down would lose does not stand (`NUD_NOARP`,
    /// `NUD_PERMANENT`: see `fdb`).
    pub(super) fn are_as(&self, op: &Op) -> bool {
        let lasts = |entry: &Entry| entry.state & (libc::NUD_NOARP | libc::NUD_PERMANENT) != 0;
        let own = self.own.as_ref().filter(|entry| entry.is_ext_learned() && lasts(entry)).and_then(Entry::row);
        own.is_some_and(|row| row.remote == op.remote) && self.is_bridged(op.ifindex)
    }

    /// The row of the VXLAN device, with whether the bridge's half stands. An operator's needs none.
    pub(super) fn row(&self, ifindex: u32) -> Option<KernelRow> {
        let row = self.own.as_ref()?.row()?;
        Some(KernelRow { bridged: !row.ext_learned || self.is_bridged(ifindex), ..row })
    }
}

/// The socket and its buffers.
#[derive(Debug)]
pub(super) struct Reader {
    socket: Socket,
    sequence: u32,
    out: Vec<u8>,
    buffer: Vec<u8>,
    rows_per_send: usize,
}

impl Reader {
    /// A socket for questions.
    ///
    /// # Errors
    /// Those of `socket(2)` and `bind(2)`.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::open()?;
        let given = socket.set_receive_buffer(2 * ROWS_PER_SEND * ANSWER_OCTETS * 2);
        let rows_per_send = (given / (2 * ANSWER_OCTETS)).clamp(1, ROWS_PER_SEND);
        Ok(Self { socket, sequence: 0, out: Vec::new(), buffer: vec![0; RECEIVE_OCTETS], rows_per_send })
    }

    /// Reads both halves of each `(VXLAN device, MAC)`, in their order.
    ///
    /// # Errors
    /// Where the socket fails or the kernel does not answer: nothing is known then.
    pub(super) fn read(&mut self, wanted: &[(u32, MacAddr)]) -> io::Result<Vec<Halves>> {
        let mut found = vec![Halves::default(); wanted.len()];
        let mut first = 0;
        for chunk in wanted.chunks(self.rows_per_send) {
            let base = self.sequence.wrapping_add(1);
            self.out.clear();
            for (ifindex, mac) in chunk {
                for table in [libc::NTF_SELF, libc::NTF_MASTER] {
                    self.sequence = self.sequence.wrapping_add(1);
                    let at = codec::begin(&mut self.out, libc::RTM_GETNEIGH, libc::NLM_F_REQUEST, self.sequence);
                    codec::ndmsg(&mut self.out, *ifindex, 0, table);
                    codec::attribute(&mut self.out, libc::NDA_LLADDR, &mac.0);
                    codec::finish(&mut self.out, at);
                }
            }
            self.socket.send(&self.out)?;
            self.answers(base, &mut found[first..first + chunk.len()])?;
            first += chunk.len();
        }
        Ok(found)
    }

    /// Reads one answer to each question: an entry, or an error.
    fn answers(&mut self, base: u32, found: &mut [Halves]) -> io::Result<()> {
        let mut missing = found.len() * 2;
        while missing > 0 {
            let octets = match self.socket.receive(&mut self.buffer, true)? {
                Received::Octets(octets) => octets,
                Received::Empty => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                Received::Lost => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            };
            for message in codec::messages(&self.buffer[..octets.min(self.buffer.len())]) {
                // What was left of an earlier question, after a failure, is no answer.
                let index = message.sequence.wrapping_sub(base) as usize;
                let Some(halves) = found.get_mut(index / 2) else { continue };
                missing = missing.saturating_sub(1);
                if i32::from(message.kind) == libc::NLMSG_ERROR {
                    halves.unknown |= codec::answer(&message).errno != libc::ENOENT;
                } else if message.kind == libc::RTM_NEWNEIGH {
                    let half = if index.is_multiple_of(2) { &mut halves.own } else { &mut halves.bridge };
                    *half = Entry::parse(message.body);
                }
            }
        }
        Ok(())
    }
}
