//! Talks to a running daemon over its control socket: a request line, a reply line; or a monitor, read in a thread.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::control::{Event, NeighborView, Reply, Request, VniView, VtepView};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon's control socket. Each request is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf() }
    }

    /// Whether the daemon listens.
    pub fn is_ready(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
    }

    /// One request and its reply.
    pub fn request(&self, request: &Request) -> anyhow::Result<Reply> {
        let mut reader = self.send(request)?;
        read_reply(&mut reader)?.context("the daemon hung up")
    }

    /// Every neighbor.
    pub fn neighbors(&self) -> anyhow::Result<Vec<NeighborView>> {
        match self.request(&Request::ShowNeighbors { address: None, after: None, limit: None })? {
            Reply::Neighbors(page) => Ok(page.items),
            other => bail!("unexpected reply to show neighbors: {other:?}"),
        }
    }

    /// Every VNI.
    pub fn vnis(&self) -> anyhow::Result<Vec<VniView>> {
        match self.request(&Request::ShowVnis { vni: None, after: None, limit: None })? {
            Reply::Vnis(page) => Ok(page.items),
            other => bail!("unexpected reply to show vnis: {other:?}"),
        }
    }

    /// Every remote VTEP.
    pub fn vteps(&self) -> anyhow::Result<Vec<VtepView>> {
        match self.request(&Request::ShowVteps { after: None, limit: None })? {
            Reply::Vteps(page) => Ok(page.items),
            other => bail!("unexpected reply to show vteps: {other:?}"),
        }
    }

    /// How many differences `evpnctl diff` would show: none when the kernel holds what it should.
    pub fn differences(&self) -> anyhow::Result<usize> {
        match self.request(&Request::Diff { after: None, limit: None })? {
            Reply::Diff(page) => Ok(page.items.len()),
            other => bail!("unexpected reply to diff: {other:?}"),
        }
    }

    /// Starts a monitor: `(tag, event)` for everything that happens from now on, until the daemon or the receiver goes.
    /// Where the receiver is behind, the thread waits; the daemon itself drops and counts (`Event::Missed`).
    pub fn monitor(&self, tag: usize, events: SyncSender<(usize, Event)>) -> anyhow::Result<()> {
        let mut reader = self.send(&Request::Monitor {})?;
        match read_reply(&mut reader)? {
            Some(Reply::Done { .. }) => {}
            other => bail!("the daemon gives no monitor: {other:?}"),
        }
        reader.get_ref().set_read_timeout(None)?;
        std::thread::Builder::new().name("monitor".into()).spawn(move || {
            while let Ok(Some(Reply::Event(line))) = read_reply(&mut reader) {
                if events.send((tag, line.event)).is_err() {
                    break;
                }
            }
        })?;
        Ok(())
    }

    fn send(&self, request: &Request) -> anyhow::Result<BufReader<UnixStream>> {
        let mut stream =
            UnixStream::connect(&self.socket).with_context(|| format!("cannot connect to {}", self.socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        Ok(BufReader::new(stream))
    }
}

/// The next reply; `None` where the daemon hung up.
fn read_reply(reader: &mut BufReader<UnixStream>) -> anyhow::Result<Option<Reply>> {
    let mut line = Vec::new();
    loop {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => super::signals::check()?,
            Err(e) => return Err(e).context("no answer from the daemon"),
        }
    }
    serde_json::from_slice(&line).map(Some).with_context(|| format!("strange reply: {}", String::from_utf8_lossy(&line).trim()))
}
