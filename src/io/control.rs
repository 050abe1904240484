//! The control socket: one JSON object per line each way (`docs/CONTROL.md`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::Control;
use crate::control::{Event, MAX_REQUEST_LEN, MonitorLine, Reply, Request};

use super::core::Shared;
use super::logging;

/// Events kept for one monitor that does not read; older ones are dropped and counted to it.
const MONITOR_BACKLOG: usize = 4096;
/// See [`Patience`].
const PATIENCE: Patience =
    Patience { idle: Duration::from_secs(300), request: Duration::from_secs(30), reply: Duration::from_secs(30) };

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// One that asks for nothing is closed after so long, so that forgotten ones do not use up the places. Monitors stay.
    idle: Duration,
    /// A request must be whole so long after it began.
    request: Duration,
    /// One that does not take its reply, or a monitor its event, is closed after so long.
    reply: Duration,
}

/// The socket as a file, removed when the daemon ends.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Opens the socket. Refuses where another evpnd answers on it; replaces what a dead one left behind.
pub async fn bind(config: &Control) -> anyhow::Result<ControlSocket> {
    let path = config.socket.clone();
    let shown = path.display();
    if UnixStream::connect(&path).await.is_ok() {
        bail!("another evpnd answers on {shown}: stop it, or give this one its own `socket` under [control]");
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make the directory of the control socket {shown}"))?;
    }
    if std::fs::symlink_metadata(&path).is_ok() {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove the old control socket {shown}"))?;
    }
    let listener = bind_privately(&path).with_context(|| format!("cannot make the control socket {shown}"))?;
    let socket = ControlSocket { listener, path: path.clone() };
    let mut mode = 0o600;
    if let Some(group) = &config.group {
        give_to_group(&path, group)?;
        mode = 0o660;
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).with_context(|| format!("cannot protect {shown}"))?;
    Ok(socket)
}

/// Binds the socket so that at no time anybody else may connect, whatever the process's umask is.
fn bind_privately(path: &Path) -> std::io::Result<UnixListener> {
    // SAFETY: umask(2) takes a number and cannot fail. No other thread runs yet that could make a file.
    let before = unsafe { libc::umask(0o177) };
    let listener = UnixListener::bind(path);
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    listener
}

fn give_to_group(path: &Path, group: &str) -> anyhow::Result<()> {
    let shown = path.display();
    let Some(id) = group_id(group).with_context(|| format!("cannot look for the group {group}"))? else {
        bail!(
            "[control] group \"{group}\" does not exist on this host: make it with `groupadd --system {group}`, or mend the name"
        )
    };
    match std::os::unix::fs::chown(path, None, Some(id)) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(error).with_context(|| {
            format!(
                "cannot give {shown} to the group {group}: evpnd runs neither as root nor as a member of it; under systemd \
                 write SupplementaryGroups={group} (systemctl edit evpnd)"
            )
        }),
        other => other.with_context(|| format!("cannot give {shown} to the group {group}")),
    }
}

/// The number of a group, from wherever this host has its groups (getgrnam(3)).
fn group_id(name: &str) -> std::io::Result<Option<u32>> {
    let name = std::ffi::CString::new(name)?;
    // Groups with many members are long.
    let mut buffer: Vec<libc::c_char> = vec![0; 16 << 10];
    loop {
        // SAFETY: all zero is a valid group, of null pointers and zeros.
        let mut group: libc::group = unsafe { std::mem::zeroed() };
        let mut found: *mut libc::group = std::ptr::null_mut();
        // SAFETY: a C string, a group, a buffer with its own length and a pointer, which all live through the call.
        let failed = unsafe { libc::getgrnam_r(name.as_ptr(), &mut group, buffer.as_mut_ptr(), buffer.len(), &mut found) };
        match failed {
            0 => return Ok((!found.is_null()).then_some(group.gr_gid)),
            libc::ERANGE if buffer.len() < 16 << 20 => buffer.resize(buffer.len() * 4, 0),
            // What getgrnam(3) lists as ways to say that there is none.
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(std::io::Error::from_raw_os_error(error)),
        }
    }
}

/// Serves clients until the task is aborted.
pub fn serve(shared: Shared, socket: ControlSocket) -> JoinHandle<()> {
    serve_with(shared, socket, PATIENCE)
}

fn serve_with(shared: Shared, socket: ControlSocket, patience: Patience) -> JoinHandle<()> {
    tokio::task::spawn_local(async move {
        let open = Rc::new(std::cell::Cell::new(0_u32));
        loop {
            let Ok((stream, _)) = socket.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let limit = shared.peek(|core, _| core.speaker.config().limits.control_connections);
            if open.get() >= limit {
                refuse(&shared, &stream, limit);
                continue;
            }
            open.set(open.get() + 1);
            let (shared, open) = (shared.clone(), Rc::clone(&open));
            tokio::task::spawn_local(async move {
                // An error here is a client that went away: nobody to tell.
                let _ = client(&shared, stream, patience).await;
                open.set(open.get() - 1);
            });
        }
    })
}

/// Turns a client away that is one too many, with a reason where its socket takes it at once.
fn refuse(shared: &Shared, stream: &UnixStream, limit: u32) {
    if shared.peek(|core, _| core.speaker.count("control_connections_refused")) {
        tracing::warn!("a client of the control socket was turned away: {limit} are connected ([limits] control-connections)");
    }
    let message = format!("{limit} clients are connected already ([limits] control-connections): try again later");
    if let Ok(mut line) = serde_json::to_vec(&Reply::Refused { message }) {
        line.push(b'\n');
        let _ = stream.try_write(&line);
    }
}

/// Reads one line into `line`. `None` where the client is done with, or too slow for us to wait.
async fn read_request(
    shared: &Shared,
    read: &mut BufReader<OwnedReadHalf>,
    line: &mut Vec<u8>,
    patience: Patience,
) -> std::io::Result<Option<()>> {
    let too_slow = |what: &'static str| {
        closed(shared, what);
        Ok(None)
    };
    match tokio::time::timeout(patience.idle, read.fill_buf()).await {
        Ok(octets) => {
            if octets?.is_empty() {
                return Ok(None);
            }
        }
        Err(_) => return too_slow("control_idle_closed"),
    }
    let mut limited = read.take(MAX_REQUEST_LEN as u64 + 1);
    match tokio::time::timeout(patience.request, limited.read_until(b'\n', line)).await {
        Ok(count) => Ok((count? > 0).then_some(())),
        Err(_) => too_slow("control_slow_closed"),
    }
}

/// A client was too slow for us to wait.
fn closed(shared: &Shared, what: &'static str) {
    if shared.peek(|core, _| core.speaker.count(what)) {
        tracing::debug!("a client of the control socket was closed: {what}");
    }
}

async fn client(shared: &Shared, stream: UnixStream, patience: Patience) -> std::io::Result<()> {
    let (read, write) = stream.into_split();
    let mut write = Writer { shared, half: write, limit: patience.reply };
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        if read_request(shared, &mut read, &mut line, patience).await?.is_none() {
            return Ok(());
        }
        if line.len() > MAX_REQUEST_LEN {
            shared.peek(|core, _| core.speaker.count("control_requests_too_long"));
            let message = format!("a request has at most {MAX_REQUEST_LEN} octets in one line");
            return write.send(&Reply::Refused { message }).await;
        }
        let request = match serde_json::from_slice::<Request>(&line) {
            Ok(Request::Monitor {}) => return monitor(shared, read, write).await,
            request => request,
        };
        let answer = async {
            let reply = match request {
                Err(error) => Reply::Refused { message: format!("not a request: {error}; see docs/CONTROL.md") },
                Ok(request) => match shared.request(request).await {
                    Ok(reply) => *reply,
                    Err(_) => Reply::Refused { message: "the daemon stops".to_owned() },
                },
            };
            write.send(&reply).await
        };
        shared.with_reply_due(answer).await?;
    }
}

/// The way to a client.
struct Writer<'a> {
    shared: &'a Shared,
    half: OwnedWriteHalf,
    limit: Duration,
}

impl Writer<'_> {
    async fn send(&mut self, reply: &Reply) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        match tokio::time::timeout(self.limit, self.half.write_all(&line)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                closed(self.shared, "control_unread_closed");
                Err(std::io::ErrorKind::TimedOut.into())
            }
        }
    }
}

/// Clients that watch events.
#[derive(Default)]
pub struct Monitors {
    clients: Vec<Rc<Backlog>>,
}

#[derive(Default)]
struct Backlog {
    lines: RefCell<VecDeque<MonitorLine>>,
    missed: std::cell::Cell<u64>,
    wake: Notify,
}

impl Monitors {
    /// Hands an event to every client; one that does not read loses the oldest.
    pub fn publish(&mut self, event: &Event) {
        if self.clients.is_empty() {
            return;
        }
        let line = MonitorLine::new(unix_millis(), event.clone());
        for client in &self.clients {
            let mut lines = client.lines.borrow_mut();
            if lines.len() >= MONITOR_BACKLOG {
                lines.pop_front();
                client.missed.set(client.missed.get() + 1);
            }
            lines.push_back(line.clone());
            client.wake.notify_one();
        }
    }
}

#[allow(clippy::disallowed_methods)] // The rim's clock, for people only.
pub(super) fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn monitor(shared: &Shared, mut read: BufReader<OwnedReadHalf>, mut write: Writer<'_>) -> std::io::Result<()> {
    let backlog = Rc::new(Backlog::default());
    shared.peek(|core, _| {
        core.monitors.clients.push(Rc::clone(&backlog));
        core.speaker.set_verbose(true);
    });
    let outcome = feed(&backlog, &mut read, &mut write).await;
    shared.peek(|core, _| {
        core.monitors.clients.retain(|client| !Rc::ptr_eq(client, &backlog));
        core.speaker.set_verbose(!core.monitors.clients.is_empty() || logging::is_verbose());
    });
    outcome
}

async fn feed(backlog: &Backlog, read: &mut BufReader<OwnedReadHalf>, write: &mut Writer<'_>) -> std::io::Result<()> {
    write.send(&Reply::Done { message: "listening".to_owned() }).await?;
    let mut ignored = [0; 256];
    loop {
        let next = backlog.lines.borrow_mut().pop_front();
        match next {
            Some(line) => {
                let missed = backlog.missed.take();
                if missed > 0 {
                    let line = MonitorLine::new(unix_millis(), Event::Missed { count: missed });
                    write.send(&Reply::Event(line)).await?;
                }
                write.send(&Reply::Event(line)).await?;
            }
            None => tokio::select! {
                () = backlog.wake.notified() => {}
                count = read.read(&mut ignored) => if count? == 0 { return Ok(()) },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(200);

    /// Runs `test` against a daemon of nothing but its control socket.
    fn with_daemon<F: Future<Output = ()>>(name: &str, patience: Patience, test: impl FnOnce(Shared, PathBuf) -> F) {
        let path = std::env::temp_dir().join(format!("evpnd-{name}-{}.sock", std::process::id()));
        let text = format!(
            "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n[control]\nsocket = \"{}\"\n[[neighbor]]\naddress = \"10.0.0.2\"\n",
            path.display()
        );
        let config = crate::config::parse("evpnd.toml", &text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let socket = bind(&config.control).await.unwrap();
            let kept = crate::speaker::KeptState::default();
            let shared = Shared::new(config, Default::default(), Default::default(), Path::new("evpnd.toml"), kept).unwrap();
            let task = serve_with(shared.clone(), socket, patience);
            tokio::time::timeout(LONG, test(shared, path)).await.unwrap();
            task.abort();
        });
    }

    /// A counter of `show status`.
    async fn counter(shared: &Shared, name: &str) -> u64 {
        let reply = shared.request(serde_json::from_str(r#"{"request":"show_status"}"#).unwrap()).await.unwrap();
        let Reply::Status(status) = *reply else { panic!("{reply:?}") };
        status.counters.get(name).copied().unwrap_or_default()
    }

    /// Reads until the daemon closes. What came.
    async fn to_the_end(stream: &mut UnixStream) -> Vec<u8> {
        let mut heard = Vec::new();
        // A reset is an end as well: it closed with octets of ours unread.
        let _ = stream.read_to_end(&mut heard).await;
        heard
    }

    #[test]
    fn a_client_that_asks_for_nothing_is_closed_and_a_monitor_is_not() {
        with_daemon("idle", Patience { idle: SHORT, request: LONG, reply: LONG }, |shared, path| async move {
            let mut monitor = BufReader::new(UnixStream::connect(&path).await.unwrap());
            monitor.get_mut().write_all(b"{\"request\":\"monitor\"}\n").await.unwrap();
            let mut line = String::new();
            monitor.read_line(&mut line).await.unwrap();
            assert!(line.contains("listening"), "{line}");
            // One that asked before counts as idle from its answer on.
            let mut asked = UnixStream::connect(&path).await.unwrap();
            asked.write_all(b"{\"request\":\"show_status\"}\n").await.unwrap();
            let answer = to_the_end(&mut asked).await;
            assert_eq!(answer.iter().filter(|octet| **octet == b'\n').count(), 1, "answered, then closed");
            assert_eq!(to_the_end(&mut UnixStream::connect(&path).await.unwrap()).await, b"");
            assert_eq!(counter(&shared, "speaker_control_idle_closed").await, 2);
            tokio::time::sleep(SHORT * 2).await;
            shared.peek(|core, _| core.monitors.publish(&Event::Overflow { times: 7 }));
            line.clear();
            monitor.read_line(&mut line).await.unwrap();
            assert!(line.contains("overflow"), "the monitor is still there: {line}");
        });
    }

    #[test]
    fn a_request_that_does_not_end_closes_its_client() {
        with_daemon("slow", Patience { idle: LONG, request: SHORT, reply: LONG }, |shared, path| async move {
            let mut client = UnixStream::connect(&path).await.unwrap();
            // An octet now and then does not keep it alive.
            while client.write_all(b"{").await.is_ok() {
                tokio::time::sleep(SHORT / 4).await;
            }
            assert_eq!(to_the_end(&mut client).await, b"");
            assert_eq!(counter(&shared, "speaker_control_slow_closed").await, 1);
        });
    }

    #[test]
    fn who_does_not_read_its_replies_is_closed_and_a_monitor_too() {
        with_daemon("unread", Patience { idle: LONG, request: LONG, reply: SHORT }, |shared, path| async move {
            let mut client = UnixStream::connect(&path).await.unwrap();
            // Until the daemon, whose replies nobody takes, takes no more requests; then it closes.
            while client.write_all(b"{\"request\":\"show_status\"}\n").await.is_ok() {}
            assert_eq!(counter(&shared, "speaker_control_unread_closed").await, 1);

            let mut monitor = UnixStream::connect(&path).await.unwrap();
            monitor.write_all(b"{\"request\":\"monitor\"}\n").await.unwrap();
            while shared.peek(|core, _| core.monitors.clients.is_empty()) {
                tokio::task::yield_now().await;
            }
            let mut most = 0;
            while !shared.peek(|core, _| core.monitors.clients.is_empty()) {
                shared.peek(|core, _| {
                    (0..1000).for_each(|times| core.monitors.publish(&Event::Overflow { times }));
                    most = core.monitors.clients.iter().map(|client| client.lines.borrow().len()).fold(most, usize::max);
                });
                tokio::time::sleep(SHORT / 20).await;
            }
            assert_eq!(most, MONITOR_BACKLOG, "what waits for it is bounded");
            assert_eq!(counter(&shared, "speaker_control_unread_closed").await, 2);
        });
    }

    #[test]
    fn a_group_is_found_by_its_name() {
        assert_eq!(group_id("root").unwrap(), Some(0));
        assert_eq!(group_id("no-such-group-here").unwrap(), None);
    }

    #[test]
    fn the_socket_is_nobody_elses_from_the_start() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let path = std::env::temp_dir().join(format!("evpnd-private-{}", std::process::id()));
        let _listener = bind_privately(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(mode & 0o777, 0o600);
    }
}
