//! What a BGP socket has set: TCP MD5 (RFC 2385), GTSM (RFC 5082), TTL, source address, and the words for its failures.
//!
//! No crate offers these options (`docs/decisions/`), so they are set with `setsockopt` here and nowhere else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ipnet::IpNet;
use socket2::{Domain, SockAddr, SockRef};
use tokio::net::TcpSocket;
use zeroize::Zeroize;

use crate::config::Neighbor;
use crate::speaker::Transport;

use super::keys::{Keys, MAX_KEY_LEN};

/// `TCP_MD5SIG` of linux/tcp.h.
const TCP_MD5SIG: libc::c_int = 14;
/// `TCP_MD5SIG_EXT`: with flags and a prefix length (kernel ≥ 4.13).
const TCP_MD5SIG_EXT: libc::c_int = 32;
/// `TCP_MD5SIG_FLAG_PREFIX`.
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
/// `IP_MINTTL` of linux/in.h.
const IP_MINTTL: libc::c_int = 21;
/// `IPV6_MINHOPCOUNT` of linux/in6.h.
const IPV6_MINHOPCOUNT: libc::c_int = 73;
/// `TCP_SAVE_SYN` of linux/tcp.h (kernel ≥ 4.3).
const TCP_SAVE_SYN: libc::c_int = 27;
/// `TCP_SAVED_SYN`.
const TCP_SAVED_SYN: libc::c_int = 28;
/// Class selector 6, internetwork control (RFC 4271 Appendix E, RFC 4594 §3.1).
const TOS_INTERNETWORK_CONTROL: u32 = 0xc0;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: libc::c_int,
    key: [u8; MAX_KEY_LEN],
}

/// Prepares a socket that will connect to a peer.
pub fn prepare(socket: &TcpSocket, transport: &Transport, keys: &Keys) -> io::Result<()> {
    if let Some(local) = transport.local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let fd = socket.as_fd();
    set_md5(fd, transport.remote.ip(), &transport.neighbor, keys)?;
    set_hops(fd, transport)
}

/// Prepares a connection that a peer opened.
pub fn prepare_accepted(fd: BorrowedFd<'_>, transport: &Transport) -> io::Result<()> {
    set_hops(fd, transport)
}

/// The least TTL of what comes from a neighbor that is at most so many hops away (RFC 5082 §3).
fn least_ttl(hops: u8) -> u8 {
    u8::MAX - hops.saturating_sub(1).min(254)
}

/// Whether the first packet of an accepted connection came from farther away than the neighbor may be. The kernel's own check
/// begins only once it is set on the connection: by then the handshake is over, and our OPEN would go to whoever it was. `false`
/// too where the kernel kept no headers (SYN cookies): what follows is checked all the same.
pub fn came_too_far(fd: BorrowedFd<'_>, neighbor: &Neighbor) -> bool {
    let Some(hops) = neighbor.ttl_security else { return false };
    let mut headers = [0_u8; 512];
    let mut len = headers.len() as libc::socklen_t;
    // SAFETY: the pointers are those of `headers` and `len`, which live through the call.
    let outcome =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, TCP_SAVED_SYN, headers.as_mut_ptr().cast(), &raw mut len) };
    let headers = headers.get(..len as usize).filter(|_| outcome == 0).unwrap_or_default();
    ttl_of(headers).is_some_and(|ttl| ttl < least_ttl(hops))
}

/// The TTL or hop limit in an IP header.
fn ttl_of(header: &[u8]) -> Option<u8> {
    let place = match header.first()? >> 4 {
        4 => 8,
        6 => 7,
        _ => return None,
    };
    header.get(place).copied()
}

/// TTL and its check: `ttl-security` sends 255 and takes only what comes from at most so many hops (RFC 5082 §3); an
/// external peer is one hop away unless `multihop` says otherwise.
fn set_hops(fd: BorrowedFd<'_>, transport: &Transport) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    let is_ipv4 = transport.remote.is_ipv4();
    let ttl = match (transport.neighbor.ttl_security, transport.neighbor.multihop) {
        (Some(_), _) => 255,
        (None, Some(hops)) => u32::from(hops),
        (None, None) if transport.external && !transport.remote.ip().is_loopback() => 1,
        (None, None) => 64,
    };
    if is_ipv4 {
        socket.set_ttl_v4(ttl)?;
        let _ = socket.set_tos_v4(TOS_INTERNETWORK_CONTROL);
    } else {
        socket.set_unicast_hops_v6(ttl)?;
        let _ = socket.set_tclass_v6(TOS_INTERNETWORK_CONTROL);
    }
    if let Some(hops) = transport.neighbor.ttl_security {
        let least = libc::c_int::from(least_ttl(hops));
        let (level, option) = if is_ipv4 { (libc::IPPROTO_IP, IP_MINTTL) } else { (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT) };
        set_option(fd, level, option, &least)?;
    }
    Ok(())
}

/// Sets the peer's key on a socket that connects to it.
fn set_md5(fd: BorrowedFd<'_>, peer: IpAddr, neighbor: &Neighbor, keys: &Keys) -> io::Result<()> {
    let Some(password) = &neighbor.password else { return Ok(()) };
    set_key(fd, IpNet::from(peer), keys.key(neighbor.who, password)?)
}

/// Where some peer checks it a listener must answer with TTL 255 (RFC 5082 §3 rule 1), and keep the headers of each SYN.
pub fn set_listener_ttl(fd: BorrowedFd<'_>, domain: Domain) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    let on: libc::c_int = 1;
    set_option(fd, libc::IPPROTO_TCP, TCP_SAVE_SYN, &on)?;
    if domain == Domain::IPV4 { socket.set_ttl_v4(255) } else { socket.set_unicast_hops_v6(255) }
}

/// Sets the key that segments from `range` must carry, also those of a SYN to a listening socket; no octets take it away.
pub fn set_key(fd: BorrowedFd<'_>, range: IpNet, key: &[u8]) -> io::Result<()> {
    let address = SockAddr::from(SocketAddr::new(range.addr(), 0));
    let mut signature = TcpMd5Sig {
        address: storage(&address),
        flags: 0,
        prefix_len: 0,
        key_len: key.len() as u16,
        ifindex: 0,
        key: [0; MAX_KEY_LEN],
    };
    signature.key[..key.len()].copy_from_slice(key);
    let option = if range.prefix_len() == range.max_prefix_len() {
        TCP_MD5SIG
    } else {
        signature.flags = TCP_MD5SIG_FLAG_PREFIX;
        signature.prefix_len = range.prefix_len();
        TCP_MD5SIG_EXT
    };
    let outcome = set_option(fd, libc::IPPROTO_TCP, option, &signature);
    signature.key.zeroize();
    outcome
}

/// The kernel's form of an address, with the rest of its storage zero.
fn storage(address: &SockAddr) -> libc::sockaddr_storage {
    // SAFETY: all zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: `address` holds `len()` octets, never more than a sockaddr_storage has.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            std::ptr::from_mut(&mut storage).cast::<u8>(),
            (address.len() as usize).min(std::mem::size_of::<libc::sockaddr_storage>()),
        );
    }
    storage
}

fn set_option<T>(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which lives through the call.
    let outcome = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            std::mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Why a connection could not be opened, in words that say what to look at.
pub fn explain_connect_error(error: &io::Error, transport: &Transport) -> String {
    let remote = transport.remote;
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => format!("{remote} refuses connections: no BGP speaker listens there, or it does not know us"),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => {
            format!("no route to {}: look at `ip route get {}`", remote.ip(), remote.ip())
        }
        Some(libc::EADDRNOTAVAIL) => match transport.local {
            Some(local) => format!("the local address {local} is not on this host"),
            None => format!("no local address to reach {} from", remote.ip()),
        },
        Some(libc::ETIMEDOUT) => {
            let md5 = if transport.neighbor.password.is_some() { " (a wrong password looks like this)" } else { "" };
            format!("{remote} does not answer{md5}")
        }
        _ => format!("cannot connect to {remote}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_structure_has_the_kernels_layout() {
        assert_eq!(std::mem::size_of::<TcpMd5Sig>(), 128 + 1 + 1 + 2 + 4 + 80);
    }

    #[test]
    fn the_ttl_is_where_each_family_has_it() {
        let mut v4 = [0; 40];
        (v4[0], v4[8]) = (0x45, 254);
        let mut v6 = [0; 60];
        (v6[0], v6[7]) = (0x60, 64);
        assert_eq!(
            [ttl_of(&v4), ttl_of(&v6), ttl_of(&[]), ttl_of(&[0x45; 8]), ttl_of(&[0; 20])],
            [Some(254), Some(64), None, None, None]
        );
        assert_eq!([1, 2, 254, 255].map(least_ttl), [255, 254, 2, 1]);
    }
}
