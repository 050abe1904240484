//! One request, one answer: set-up, single questions and short dumps, each waited for on a socket of its own.

use std::io;

use super::codec::{self, Message};
use super::socket::{RECEIVE_OCTETS, Received, Socket};

/// What the kernel (or the socket) said instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelSaid {
    /// Positive errno.
    pub errno: i32,
    /// In words: the kernel's own where it gives any, else those of the errno.
    pub text: String,
}

impl KernelSaid {
    fn new(errno: i32, text: Option<String>) -> Self {
        Self { errno, text: text.unwrap_or_else(|| io::Error::from_raw_os_error(errno).to_string()) }
    }

    fn io(error: &io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(libc::EIO), text: error.to_string() }
    }
}

/// The socket and its buffers.
#[derive(Debug)]
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Requests {
    /// A socket for requests.
    ///
    /// # Errors
    /// Those of `socket(2)` and `bind(2)`.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open()?, sequence: 0, out: Vec::new(), buffer: vec![0; RECEIVE_OCTETS] })
    }

    /// Asks for a change; `body` appends what follows the header.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn change(&mut self, kind: u16, flags: i32, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), KernelSaid> {
        self.ask(kind, flags | libc::NLM_F_ACK, body, |_| {}).map(|_| ())
    }

    /// Asks for one thing; `None` where the kernel says that there is no such thing.
    ///
    /// # Errors
    /// What else the kernel said.
    pub(super) fn get<T>(
        &mut self,
        kind: u16,
        body: impl FnOnce(&mut Vec<u8>),
        mut read: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, KernelSaid> {
        let mut found = None;
        match self.ask(kind, libc::NLM_F_ACK, body, |message| found = found.take().or_else(|| read(message))) {
            Err(said) if matches!(said.errno, libc::ENOENT | libc::ENODEV) => Ok(None),
            Err(said) => Err(said),
            Ok(_) => Ok(found),
        }
    }

    /// Asks for everything of a kind; begins again where it changed meanwhile, three times at most.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn dump<T>(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Vec<u8>),
        mut read: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, KernelSaid> {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.clear();
            let interrupted = self.ask(kind, libc::NLM_F_DUMP, &body, |message| all.extend(read(message)))?;
            if !interrupted {
                break;
            }
        }
        Ok(all)
    }

    /// Sends, and gives every message of the answer to `read`. Returns whether a dump was interrupted by a change.
    fn ask(
        &mut self,
        kind: u16,
        flags: i32,
        body: impl FnOnce(&mut Vec<u8>),
        mut read: impl FnMut(&Message<'_>),
    ) -> Result<bool, KernelSaid> {
        self.sequence = self.sequence.wrapping_add(1);
        self.out.clear();
        let at = codec::begin(&mut self.out, kind, libc::NLM_F_REQUEST | flags, self.sequence);
        body(&mut self.out);
        codec::finish(&mut self.out, at);
        self.socket.send(&self.out).map_err(|error| KernelSaid::io(&error))?;
        let mut interrupted = false;
        loop {
            let len = match self.socket.receive(&mut self.buffer, true).map_err(|error| KernelSaid::io(&error))? {
                Received::Octets(len) => len,
                Received::Empty => return Err(KernelSaid::new(libc::ETIMEDOUT, None)),
                Received::Lost => return Err(KernelSaid::new(libc::ENOBUFS, None)),
            };
            for message in codec::messages(&self.buffer[..len]) {
                // What was left of an earlier answer, after a timeout.
                if message.sequence != self.sequence {
                    continue;
                }
                interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR => {
                        let answer = codec::answer(&message);
                        return if answer.errno == 0 { Ok(interrupted) } else { Err(KernelSaid::new(answer.errno, answer.text)) };
                    }
                    // A dump that failed says so in its end.
                    libc::NLMSG_DONE => {
                        let code = codec::u32_of(message.body).unwrap_or(0) as i32;
                        return if code < 0 { Err(KernelSaid::new(code.saturating_neg(), None)) } else { Ok(interrupted) };
                    }
                    libc::NLMSG_NOOP => {}
                    _ => read(&message),
                }
            }
        }
    }
}
