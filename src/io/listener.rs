//! The listening sockets: who may connect is the speaker's decision, whose key a SYN must carry is set here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config::{Config, Neighbor, NeighborAddress};

use super::connection::{self, Signal};
use super::core::Shared;
use super::keys::Keys;
use super::security;

/// One listening socket.
pub struct Listener {
    socket: TcpListener,
    domain: Domain,
    /// Whose keys it has.
    keyed: RefCell<BTreeSet<IpNet>>,
}

impl Listener {
    fn is_ipv4(&self) -> bool {
        self.domain == Domain::IPV4
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 512;
/// Connections turned away with words at a time; more are dropped without.
const FAREWELLS: usize = 64;
/// After `accept` failed (no file descriptors left), so long until the next try.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens every listening socket. Errors name the address and what to do.
pub fn bind(config: &Config, keys: &Keys) -> anyhow::Result<Vec<Listener>> {
    let port = config.router.listen_port;
    let mut listeners = Vec::new();
    for &address in &config.router.listen {
        let at = SocketAddr::new(address, port);
        match open(at) {
            Ok(listener) => listeners.push(listener),
            // A host without IPv6: the unspecified address of the other family stands for it.
            Err(error)
                if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                    && address == IpAddr::from([0_u16; 8])
                    && config.router.listen.len() > 1 =>
            {
                tracing::warn!("this host has no IPv6: listening on IPv4 only");
            }
            Err(error) => return Err(explain(error, at, "`listen` and `listen-port`")),
        }
    }
    match listeners.iter().flat_map(|listener| set_keys_of(listener, config, keys)).next() {
        Some(error) => Err(error).context("cannot set TCP MD5 keys"),
        None => Ok(listeners),
    }
}

/// Why a socket cannot listen, and what to do. `setting`: what of the configuration says where.
pub(super) fn explain(error: io::Error, at: SocketAddr, setting: &str) -> anyhow::Error {
    let port = at.port();
    let words = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            format!("another program listens on {at}: stop it (`ss -ltnp sport = :{port}` names it) or set {setting}")
        }
        Some(libc::EACCES) => format!("may not listen on {at}: run as root or with CAP_NET_BIND_SERVICE, or set {setting}"),
        Some(libc::EADDRNOTAVAIL) => format!("cannot listen on {at}: the address is not on this host, mend {setting}"),
        _ => format!("cannot listen on {at}"),
    };
    anyhow::Error::new(error).context(words)
}

fn open(at: SocketAddr) -> io::Result<Listener> {
    Ok(Listener { socket: listen(at)?, domain: Domain::for_address(at), keyed: RefCell::default() })
}

/// A listening socket, of one family only.
pub(super) fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(at);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Gives a listening socket the keys of all neighbors of its family and takes away those of others: a range that is gone would
/// go on asking for its key from whoever lies in it. Gives what failed; one neighbor's key is no matter of the others'.
fn set_keys_of(listener: &Listener, config: &Config, keys: &Keys) -> Vec<io::Error> {
    let fd = listener.socket.as_fd();
    let range = |neighbor: &Neighbor| match neighbor.who {
        NeighborAddress::Address(address) => IpNet::from(address),
        NeighborAddress::ListenRange(range) => range,
    };
    let mut failed = Vec::new();
    let mut wanted = BTreeSet::new();
    for neighbor in config.neighbors.iter().filter(|neighbor| range(neighbor).addr().is_ipv4() == listener.is_ipv4()) {
        let Some(password) = &neighbor.password else { continue };
        wanted.insert(range(neighbor));
        let set = keys.key(neighbor.who, password).and_then(|key| security::set_key(fd, range(neighbor), key));
        if let Err(error) = set {
            failed.push(io::Error::new(error.kind(), format!("neighbor {}: {error}", neighbor.who)));
        }
    }
    for gone in listener.keyed.replace(wanted.clone()).difference(&wanted) {
        // Where it is not there any more nothing is lost.
        let _ = security::set_key(fd, *gone, &[]);
    }
    if config.neighbors.iter().any(|neighbor| neighbor.ttl_security.is_some()) {
        failed.extend(security::set_listener_ttl(fd, listener.domain).err());
    }
    failed
}

/// Sets the keys of all neighbors again, after a reload.
pub fn set_keys(listeners: &[Rc<Listener>], config: &Config, keys: &Keys) {
    for error in listeners.iter().flat_map(|listener| set_keys_of(listener, config, keys)) {
        tracing::error!("cannot set a TCP MD5 key on a listening socket: {error}");
    }
}

/// Accepts connections from now on.
pub fn serve(shared: &Shared, listeners: Vec<Listener>) {
    for listener in listeners {
        let listener = Rc::new(listener);
        shared.peek(|core, _| core.listeners.push(Rc::clone(&listener)));
        tokio::task::spawn_local(accept_all(shared.clone(), listener));
    }
}

async fn accept_all(shared: Shared, listener: Rc<Listener>) {
    let farewells = Rc::new(Cell::new(0));
    loop {
        let (stream, remote) = match listener.socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        // Before the speaker hears of it: it may be somebody who only says to be that neighbor.
        let too_far = shared.peek(|core, _| {
            let neighbor = core.speaker.neighbor_at(remote.ip().to_canonical());
            neighbor.is_some_and(|neighbor| security::came_too_far(stream.as_fd(), neighbor))
        });
        if too_far {
            shared.with(|core, _| {
                core.speaker.count("ttl_security_refused");
                core.speaker.handle_refused(remote.ip().to_canonical(), "it is farther away than its ttl-security allows");
            });
            continue;
        }
        let accepted = shared.with(|core, now| {
            let (conn, transport) = core.speaker.handle_incoming(now, local, remote)?;
            let signal = Rc::new(Signal::default());
            core.connections.insert(conn, Rc::clone(&signal));
            Ok((conn, transport, signal))
        });
        let (conn, transport, signal) = match accepted {
            Ok(accepted) => accepted,
            Err(last_octets) => {
                if farewells.get() >= FAREWELLS {
                    shared.peek(|core, _| core.speaker.count("connections_dropped_without_words"));
                    continue;
                }
                farewells.set(farewells.get() + 1);
                let farewells = Rc::clone(&farewells);
                shared.spawn(async move {
                    connection::turn_away(stream, last_octets).await;
                    farewells.set(farewells.get() - 1);
                });
                continue;
            }
        };
        if let Err(error) = security::prepare_accepted(stream.as_fd(), &transport) {
            tracing::warn!("connection from {remote}: {error}");
        }
        signal.wake();
        shared.spawn(connection::serve(shared.clone(), conn, stream, signal));
    }
}
