//! A mistake of ours in one task must not leave a daemon that goes on half-changed. The real binary, in which the clock fails once
//! in the task that accepts connections: Rust's `Instant::now` panics then. Needs a C compiler (as Rust's linker does) and no root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod session_support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evpnd::base::Time;
use evpnd::session::{Direction, Session, SessionEvent};
use evpnd::wire::header::{MAX_EXTENDED_MESSAGE_LEN, MessageType, frame};

/// The second connection over IPv4 that is accepted makes the next look at the clock fail, in the same thread.
const FAULT: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static __thread int fails;
static int accepted;

int accept4(int fd, struct sockaddr *restrict from, socklen_t *restrict len, int flags)
{
	long got = syscall(SYS_accept4, fd, from, len, flags);
	if (got >= 0 && from && from->sa_family == AF_INET && ++accepted == 2)
		fails = 1;
	return got;
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	if (fails) {
		fails = 0;
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_clock_gettime, clock, at);
}
"#;

/// Long for a loaded machine; nothing waits so long where all is well.
const PATIENCE: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods, reason = "a real daemon takes real time")]
fn patiently<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Some(found) => return found,
            None if begun.elapsed() > PATIENCE => panic!("not within {PATIENCE:?}: {what}"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Compiles the fault; gives the library.
fn fault(directory: &Path) -> std::path::PathBuf {
    let (source, library) = (directory.join("fault.c"), directory.join("fault.so"));
    std::fs::write(&source, FAULT).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).output();
    let compiled = compiled.expect("a C compiler (cc)");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(socket.into())
}

/// The daemon, which goes with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A peer over a real connection; everything that comes is kept.
struct Peer {
    session: Session,
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Peer {
    /// Reads once. `false`: the daemon's end is gone.
    fn listen(&mut self) -> bool {
        let mut octets = [0; 4096];
        match self.stream.read(&mut octets) {
            Ok(0) => false,
            Ok(count) => {
                self.heard.extend_from_slice(&octets[..count]);
                self.session.handle_octets(Time::ZERO, Direction::Outgoing, &octets[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn speak(&mut self) -> bool {
        let mut established = false;
        while let Some(event) = self.session.poll_event(Time::ZERO) {
            established |= matches!(event, SessionEvent::Established(_));
        }
        let mut octets = Vec::new();
        self.session.transmit(Direction::Outgoing, &mut octets);
        self.stream.write_all(&octets).unwrap();
        established
    }
}

#[test]
fn a_panic_in_a_task_ends_the_daemon_without_a_word_to_its_peers() {
    let directory = std::env::temp_dir().join(format!("evpnd-panics-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let library = fault(&directory);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let here = directory.display();
    let config = format!(
        "[router]\nasn = 65000\nrouter-id = \"10.0.0.254\"\nlisten = [\"127.0.0.1\"]\nlisten-port = {port}\nstate-directory = \"{here}\"\n\
         [control]\nsocket = \"{here}/evpnd.sock\"\n[[neighbor]]\nlisten-range = \"127.0.0.0/8\"\n"
    );
    std::fs::write(directory.join("evpnd.toml"), config).unwrap();
    let daemon = Command::new(env!("CARGO_BIN_EXE_evpnd"))
        .arg("--config")
        .arg(directory.join("evpnd.toml"))
        .env("LD_PRELOAD", library)
        .env_remove("JOURNAL_STREAM")
        .current_dir(&directory)
        .stderr(Stdio::piped())
        .spawn();
    let mut daemon = Daemon(daemon.unwrap());

    // A neighbor whose session stands.
    let stream = patiently("the daemon listens", || connect(Ipv4Addr::new(127, 0, 0, 2), at));
    let mut peer = Peer { session: Session::new(session_support::config(1), 1, Time::ZERO), stream, heard: Vec::new() };
    peer.session.start(Time::ZERO);
    peer.session.handle_connected(Time::ZERO, Direction::Outgoing);
    while !peer.speak() {
        assert!(peer.listen(), "the session does not come up");
    }

    // The second one is the daemon's undoing.
    let _second = connect(Ipv4Addr::new(127, 0, 0, 3), at).expect("it listens");
    let status = patiently("the daemon ends", || daemon.0.try_wait().unwrap());
    let mut said = String::new();
    daemon.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{said}");
    assert!(said.contains("a mistake in evpnd, please report it: thread main panicked at"), "{said}");
    assert!(said.contains("Invalid argument"), "what went wrong: {said}");

    while peer.listen() {}
    let mut rest = &peer.heard[..];
    while let Ok(Some(message)) = frame(rest, MAX_EXTENDED_MESSAGE_LEN) {
        assert_ne!(message.message_type, MessageType::Notification, "the peer would take it for a good-bye");
        rest = &rest[message.len..];
    }
    std::fs::remove_dir_all(directory).unwrap();
}
