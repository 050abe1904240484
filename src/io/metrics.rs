//! Metrics over plain HTTP (`docs/METRICS.md`): one page, made of what the speaker says and of what the kernel says of this process.
//!
//! Whoever can reach the port is a stranger: clients are few at a time, have little time and few octets to ask in, and the page
//! is made at most once in a second however many ask. A web server's crate would be larger than this file for one page.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::base::Time;
use crate::config::Metrics;
use crate::control::metrics::{CONTENT_TYPE, Exposition};

use super::core::Shared;
use super::{control, listener};

/// Clients at a time, over all ports.
const CLIENTS: u32 = 16;
/// The longest head of a request, octets.
const HEAD_LEN: usize = 8 * 1024;
/// The head must be whole so long after the connection was made.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// The reply must be taken so long after it was begun.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// After a reply to who sends more than was asked for, so long until the connection is cut: else the reply may be lost.
const LINGER: Duration = Duration::from_secs(1);
/// What was written is said again for so long.
const FRESH: Duration = Duration::from_secs(1);

/// The sockets, and what must be open before privileges go.
pub struct Server {
    listeners: Vec<TcpListener>,
    process: Process,
}

/// What the kernel says of this process.
struct Process {
    began_unix_secs: u64,
    /// `/proc/self/statm`, held open: later no file of /proc may be opened.
    statm: Option<File>,
}

/// What all clients share.
struct Page {
    process: Process,
    clients: Cell<u32>,
    last: RefCell<Option<(Time, Rc<[u8]>)>>,
}

/// Opens every socket. Errors name the address and what to do.
pub fn bind(config: &Metrics) -> anyhow::Result<Server> {
    let open = |at| listener::listen(at).map_err(|error| listener::explain(error, at, "`listen` under [metrics]"));
    let listeners = config.listen.iter().map(|&at| open(at)).collect::<anyhow::Result<_>>().context("cannot serve metrics")?;
    let process = Process { began_unix_secs: control::unix_millis() / 1000, statm: File::open("/proc/self/statm").ok() };
    Ok(Server { listeners, process })
}

/// Serves clients from now on.
pub fn serve(shared: &Shared, server: Server) {
    let page = Rc::new(Page { process: server.process, clients: Cell::new(0), last: RefCell::new(None) });
    for listener in server.listeners {
        tokio::task::spawn_local(accept_all(shared.clone(), listener, Rc::clone(&page)));
    }
}

async fn accept_all(shared: Shared, listener: TcpListener, page: Rc<Page>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(listener::ACCEPT_PAUSE).await;
            continue;
        };
        if page.clients.get() >= CLIENTS {
            if shared.peek(|core, _| core.speaker.count("metrics_connections_refused")) {
                tracing::warn!("a client of the metrics port was turned away: {CLIENTS} are connected");
            }
            continue;
        }
        page.clients.set(page.clients.get() + 1);
        let (shared, page) = (shared.clone(), Rc::clone(&page));
        tokio::task::spawn_local(async move {
            // An error here is a client that went away: nobody to tell.
            let _ = client(&shared, stream, &page).await;
            page.clients.set(page.clients.get() - 1);
        });
    }
}

async fn client(shared: &Shared, mut stream: TcpStream, page: &Page) -> io::Result<()> {
    let mut head = Vec::new();
    let Ok(read) = tokio::time::timeout(HEAD_LIMIT, read_head(&mut stream, &mut head)).await else {
        shared.peek(|core, _| core.speaker.count("metrics_slow_closed"));
        return Ok(());
    };
    read?;
    let asked = asked(&head);
    let (status, body): (&str, Rc<[u8]>) = match asked {
        Asked::Metrics { .. } => ("200 OK", page.text(shared)),
        Asked::Wrong(status, words) => {
            shared.peek(|core, _| core.speaker.count("metrics_requests_refused"));
            (status, Rc::from(words.as_bytes()))
        }
    };
    let kind = if matches!(asked, Asked::Metrics { .. }) { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    let send = async {
        stream.write_all(head.as_bytes()).await?;
        if !matches!(asked, Asked::Metrics { head_only: true }) {
            stream.write_all(&body).await?;
        }
        stream.shutdown().await
    };
    match tokio::time::timeout(WRITE_LIMIT, send).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            shared.peek(|core, _| core.speaker.count("metrics_slow_closed"));
            return Ok(());
        }
    }
    let mut ignored = [0; 1024];
    let drain = async { while stream.read(&mut ignored).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(LINGER, drain).await;
    Ok(())
}

/// Reads up to the empty line that ends the head of a request, or to the limit, or to the end.
async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<()> {
    let mut some = [0; 1024];
    while head.len() <= HEAD_LEN && !is_whole(head) {
        match stream.read(&mut some).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&some[..count]),
        }
    }
    Ok(())
}

fn is_whole(head: &[u8]) -> bool {
    // A bare line feed ends a line as well (RFC 9112 §2.2).
    head.windows(2).any(|two| two == b"\n\n") || head.windows(3).any(|three| three == b"\n\r\n")
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Metrics {
        head_only: bool,
    },
    /// Status, and words.
    Wrong(&'static str, &'static str),
}

/// Reads the request line (RFC 9112 §3); the header fields change nothing.
fn asked(head: &[u8]) -> Asked {
    if !is_whole(head) {
        return match head.len() > HEAD_LEN {
            true => Asked::Wrong("431 Request Header Fields Too Large", "a request has at most 8 KiB\n"),
            false => Asked::Wrong("400 Bad Request", "the request ended before its empty line\n"),
        };
    }
    let line = head.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.trim_ascii_end().split(|octet| *octet == b' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Asked::Wrong("400 Bad Request", "expected: GET /metrics HTTP/1.1\n");
    };
    if !version.starts_with(b"HTTP/1.") {
        return Asked::Wrong("505 HTTP Version Not Supported", "expected: GET /metrics HTTP/1.1\n");
    }
    if !matches!(*method, b"GET" | b"HEAD") {
        return Asked::Wrong("405 Method Not Allowed", "only GET and HEAD\n");
    }
    match target.split(|octet| *octet == b'?').next() {
        Some(b"/metrics") => Asked::Metrics { head_only: *method == b"HEAD" },
        _ => Asked::Wrong("404 Not Found", "evpnd has one page: /metrics\n"),
    }
}

impl Page {
    /// The page, made anew where the last one is too old.
    fn text(&self, shared: &Shared) -> Rc<[u8]> {
        let text = |out: Exposition| Rc::from(out.into_text().into_bytes());
        shared.peek(|core, now| {
            let mut last = self.last.borrow_mut();
            match &*last {
                Some((at, page)) if now.since(*at) < FRESH => Rc::clone(page),
                _ => {
                    let mut out = core.speaker.metrics(now);
                    self.process.tell(&mut out);
                    let page: Rc<[u8]> = text(out);
                    *last = Some((now, Rc::clone(&page)));
                    page
                }
            }
        })
    }
}

impl Process {
    /// The names are those of every Prometheus client.
    fn tell(&self, out: &mut Exposition) {
        let began = self.began_unix_secs;
        out.one_gauge("process_start_time_seconds", "When the process began, seconds since 1970", began);
        out.one_counter("process_cpu_seconds_total", "User and system CPU time of the process, seconds", cpu_secs());
        if let Some(resident) = self.resident() {
            out.one_gauge("process_resident_memory_bytes", "Memory of the process that is in RAM", resident);
        }
    }

    /// Octets in RAM: the second number of statm counts pages (proc(5)).
    fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let len = self.statm.as_ref()?.read_at(&mut text, 0).ok()?;
        let pages: u64 = std::str::from_utf8(&text[..len]).ok()?.split(' ').nth(1)?.parse().ok()?;
        // SAFETY: sysconf(3) takes a number.
        let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Some(pages * u64::try_from(page_size).ok()?)
    }
}

fn cpu_secs() -> f64 {
    // SAFETY: all zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of `usage`, which lives through the call.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let secs = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    secs(usage.ru_utime) + secs(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_by_their_first_line() {
        let get = Asked::Metrics { head_only: false };
        let good = ["GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET /metrics HTTP/1.0\n\n", "GET /metrics?x=1 HTTP/1.1\r\n\r\n"];
        for request in good {
            assert_eq!(asked(request.as_bytes()), get, "{request:?}");
        }
        assert_eq!(asked(b"HEAD /metrics HTTP/1.1\r\n\r\n"), Asked::Metrics { head_only: true });
        let bad = [
            ("GET /metrics HTTP/1.1\r\n", "400"),
            ("GET /metrics\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            ("GET /metrics HTTP/2\r\n\r\n", "505"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metricsx HTTP/1.1\r\n\r\n", "404"),
            ("GET  /metrics HTTP/1.1\r\n\r\n", "400"),
        ];
        for (request, status) in bad {
            assert!(matches!(asked(request.as_bytes()), Asked::Wrong(found, _) if found.starts_with(status)), "{request:?}");
        }
        assert!(matches!(asked(&[b'a'; HEAD_LEN + 1]), Asked::Wrong(found, _) if found.starts_with("431")));
    }

    #[test]
    fn the_process_is_known() {
        let process = Process { began_unix_secs: 7, statm: File::open("/proc/self/statm").ok() };
        assert!(process.resident().unwrap() > 1 << 20);
        let mut out = Exposition::default();
        process.tell(&mut out);
        assert!(out.into_text().contains("process_start_time_seconds 7\n"));
    }
}
