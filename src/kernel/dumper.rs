//! Long dumps, one datagram at a time, so that writes and events go on beside them: a dump of one device is quadratic
//! (100,000 rows 0.14 s, a million 62 s), and the kernel makes the next piece whenever one is taken.

use std::collections::VecDeque;
use std::io;

use super::codec;
use super::fdb::{self, Entry};
use super::neighbors;
use super::nexthops::Nexthops;
use super::socket::{RECEIVE_OCTETS, Received, Socket};
use super::stations::Station;
use crate::base::{MacAddr, Vni};
use crate::fib::{KernelNeighbor, KernelRow};

/// How often a dump that the kernel calls inconsistent is begun again before it is taken as it is: entries that changed
/// meanwhile come as events.
const TRIES: u32 = 3;

/// What is to be read.
#[derive(Debug)]
pub(super) enum Job {
    /// The stations at the local ports of a VNI.
    Stations {
        /// Which.
        vni: Vni,
    },
    /// The rows of a VNI's VXLAN device.
    Rows {
        /// For the answer.
        token: u64,
        /// Which.
        vni: Vni,
        /// Given up where there are more.
        at_most: usize,
        /// Only what is just as we write it.
        ours: bool,
    },
    /// The neighbours of a VNI's bridge.
    Neighbors {
        /// For the answer.
        token: u64,
        /// Which.
        vni: Vni,
    },
}

/// What was read.
#[derive(Debug)]
pub(super) enum Finished {
    /// The stations at the local ports of a VNI.
    Stations {
        /// Which.
        vni: Vni,
        /// All of them, those of our own interfaces too.
        found: Vec<(MacAddr, Station)>,
        /// Why some may be missing.
        error: Option<String>,
    },
    /// The rows of a VNI's VXLAN device.
    Rows {
        /// For the answer.
        token: u64,
        /// Which.
        vni: Vni,
        /// In order, each once; or why not.
        rows: Result<Vec<KernelRow>, String>,
        /// Rows of ours stand in the form that is not wanted (`forms`).
        other_form: bool,
    },
    /// The neighbours of a VNI's bridge.
    Neighbors {
        /// For the answer.
        token: u64,
        /// Which.
        vni: Vni,
        /// In order, each once; or why not.
        neighbors: Result<Vec<KernelNeighbor>, String>,
    },
    /// More rows than wanted: given up.
    TooMany {
        /// For the answer.
        token: u64,
        /// Which.
        vni: Vni,
    },
}

#[derive(Debug)]
struct Current {
    job: Job,
    /// Interfaces still to be read, the one under way first.
    ports: VecDeque<u32>,
    tries: u32,
    interrupted: bool,
    stations: Vec<(MacAddr, Station)>,
    rows: Vec<KernelRow>,
    neighbors: Vec<KernelNeighbor>,
    /// MACs whose bridge entry points to the VXLAN device.
    bridged: Vec<MacAddr>,
    error: Option<String>,
    other_form: bool,
    /// Where the results of the port under way begin, to take them back.
    mark: (usize, usize, usize),
}

/// The socket, and the jobs that wait.
#[derive(Debug)]
pub(super) struct Dumper {
    socket: Socket,
    sequence: u32,
    out: Vec<u8>,
    buffer: Vec<u8>,
    current: Option<Current>,
    waiting: VecDeque<Job>,
}

impl Dumper {
    /// A socket for dumps.
    ///
    /// # Errors
    /// Those of `socket(2)` and `bind(2)`.
    pub(super) fn open() -> io::Result<Self> {
        let (out, buffer) = (Vec::new(), vec![0; RECEIVE_OCTETS]);
        Ok(Self { socket: Socket::open()?, sequence: 0, out, buffer, current: None, waiting: VecDeque::new() })
    }

    /// The socket to wait on while [`Self::is_busy`].
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether a dump is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// Asks for a job; one for the stations of a VNI waits once only.
    pub(super) fn push(&mut self, job: Job) {
        if let Job::Stations { vni } = job
            && self.waiting.iter().any(|waiting| matches!(waiting, Job::Stations { vni: other } if *other == vni))
        {
            return;
        }
        self.waiting.push_back(job);
    }

    /// The next job to begin, where none is under way.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if self.is_busy() { None } else { self.waiting.pop_front() }
    }

    /// Begins a job over these interfaces. What is finished at once is returned.
    pub(super) fn begin(&mut self, job: Job, ports: VecDeque<u32>) -> Option<Finished> {
        self.current = Some(Current {
            job,
            ports,
            tries: 0,
            interrupted: false,
            stations: Vec::new(),
            rows: Vec::new(),
            neighbors: Vec::new(),
            bridged: Vec::new(),
            error: None,
            other_form: false,
            mark: (0, 0, 0),
        });
        self.request()
    }

    /// Reads what waits, one datagram. Returns a finished job.
    pub(super) fn handle_readable(&mut self, nexthops: &Nexthops) -> Option<Finished> {
        let received = self.socket.receive(&mut self.buffer, false);
        let current = self.current.as_mut()?;
        let len = match received {
            Ok(Received::Octets(len)) => len.min(self.buffer.len()),
            Ok(Received::Empty) => return None,
            Ok(Received::Lost) => return self.end_port(Some(libc::ENOBUFS), true),
            Err(error) => return self.end_port(Some(error.raw_os_error().unwrap_or(libc::EIO)), false),
        };
        let port = current.ports.front().copied().unwrap_or(0);
        for message in codec::messages(&self.buffer[..len]) {
            if message.sequence != self.sequence {
                continue;
            }
            current.interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
            match i32::from(message.kind) {
                libc::NLMSG_DONE => {
                    // A dump that failed says so in its end.
                    let code = codec::u32_of(message.body).unwrap_or(0) as i32;
                    let again = current.interrupted;
                    return self.end_port((code < 0).then(|| code.saturating_neg()), again);
                }
                libc::NLMSG_ERROR => {
                    let errno = codec::answer(&message).errno;
                    return self.end_port((errno != 0).then_some(errno), false);
                }
                _ if message.kind == libc::RTM_NEWNEIGH => {
                    // A kernel without strict checking sends every port's.
                    if matches!(current.job, Job::Neighbors { .. }) {
                        let found = neighbors::parse(message.body).filter(|(ifindex, _)| *ifindex == port);
                        current.neighbors.extend(found.map(|(_, neighbor)| neighbor).filter(|found| found.binding.is_some()));
                        continue;
                    }
                    if let Some(mut entry) = Entry::parse(message.body).filter(|entry| entry.ifindex == port) {
                        nexthops.resolve(&mut entry);
                        current.other_form |= nexthops.is_other_form(&entry);
                        current.take(&entry);
                    }
                }
                _ => {}
            }
        }
        self.give_up()
    }

    /// Ends a listing that has become longer than wanted. A dump ends with its socket only.
    fn give_up(&mut self) -> Option<Finished> {
        let current = self.current.as_ref()?;
        let Job::Rows { token, vni, at_most, .. } = current.job else { return None };
        if current.rows.len().max(current.bridged.len()) <= at_most {
            return None;
        }
        match Socket::open() {
            Ok(socket) => self.socket = socket,
            // Then it is read to its end.
            Err(_) => return None,
        }
        self.current = None;
        Some(Finished::TooMany { token, vni })
    }

    /// Asks the kernel for the interface at the head; without one the job is finished.
    fn request(&mut self) -> Option<Finished> {
        let current = self.current.as_mut()?;
        let Some(port) = current.ports.front().copied() else {
            return self.current.take().map(Current::finish);
        };
        current.mark = (current.stations.len(), current.rows.len(), current.bridged.len());
        current.interrupted = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.out.clear();
        match current.job {
            Job::Neighbors { .. } => neighbors::emit_dump(&mut self.out, port, self.sequence),
            Job::Stations { .. } | Job::Rows { .. } => fdb::emit_dump(&mut self.out, port, self.sequence),
        }
        match self.socket.send(&self.out) {
            Ok(()) => None,
            Err(error) => self.end_port(Some(error.raw_os_error().unwrap_or(libc::EIO)), false),
        }
    }

    fn end_port(&mut self, errno: Option<i32>, again: bool) -> Option<Finished> {
        let current = self.current.as_mut()?;
        if again && current.tries < TRIES {
            current.tries += 1;
            let (stations, rows, bridged) = current.mark;
            current.stations.truncate(stations);
            current.rows.truncate(rows);
            current.bridged.truncate(bridged);
            // Of one interface only.
            current.neighbors.clear();
            return self.request();
        }
        // A port that went away has no stations; a device that went away has no rows, and its going is told elsewhere.
        if let Some(errno) = errno.filter(|errno| *errno != libc::ENODEV || !matches!(current.job, Job::Stations { .. })) {
            current.error = Some(io::Error::from_raw_os_error(errno).to_string());
        }
        current.tries = 0;
        current.ports.pop_front();
        self.request()
    }
}

impl Current {
    fn take(&mut self, entry: &Entry) {
        match self.job {
            Job::Stations { .. } => {
                if let Some(is_static) = entry.station() {
                    self.stations.push((entry.mac, Station { port: entry.ifindex, is_static }));
                }
            }
            Job::Neighbors { .. } => {}
            Job::Rows { ours, .. } if entry.is_self() => {
                // An unmarked member of a flood list may be ours for all that: who wrote it is known elsewhere (`speaker/kept_rows.rs`).
                let unsure = entry.mac == MacAddr::ZERO && !entry.is_ext_learned();
                self.rows.extend(entry.row().filter(|_| !ours || unsure || entry.is_as_we_write()))
            }
            Job::Rows { .. } => {
                if entry.master.is_some() && entry.vlan.unwrap_or(0) == 0 {
                    self.bridged.push(entry.mac);
                }
            }
        }
    }

    fn finish(mut self) -> Finished {
        match self.job {
            Job::Stations { vni } => Finished::Stations { vni, found: self.stations, error: self.error },
            Job::Neighbors { token, vni } => {
                self.neighbors.sort_unstable();
                self.neighbors.dedup();
                let neighbors = self.error.map_or(Ok(self.neighbors), Err);
                Finished::Neighbors { token, vni, neighbors }
            }
            Job::Rows { token, vni, .. } => {
                if let Some(error) = self.error {
                    return Finished::Rows { token, vni, rows: Err(error), other_form: self.other_form };
                }
                // A row of a control plane needs its half in the bridge.
                self.bridged.sort_unstable();
                for row in self.rows.iter_mut().filter(|row| row.mac != MacAddr::ZERO && row.ext_learned) {
                    row.bridged = self.bridged.binary_search(&row.mac).is_ok();
                }
                // A dump beside writes repeats rows.
                self.rows.sort_unstable();
                self.rows.dedup();
                Finished::Rows { token, vni, rows: Ok(self.rows), other_form: self.other_form }
            }
        }
    }
}
