//! One TCP connection to a peer: octets in, octets out, and nothing else. What they mean is the session's affair.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::speaker::{ConnId, Transport};

use super::core::Shared;
use super::security;

/// Octets read at once.
pub const READ_LEN: usize = 64 << 10;
/// Octets asked of the speaker at once.
pub const WRITE_LEN: usize = 64 << 10;
/// The last words of a closed connection may take so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the loop speaks to a connection's task.
#[derive(Default)]
pub struct Signal {
    wake: Notify,
    writing: Cell<bool>,
    close: RefCell<Option<Vec<u8>>>,
}

impl Signal {
    /// There is something to send.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether the task waits for TCP to take octets: no need to wake it for more.
    pub fn is_writing(&self) -> bool {
        self.writing.get()
    }

    /// Send these octets after what was begun, then close.
    pub fn close(&self, last_octets: Vec<u8>) {
        *self.close.borrow_mut() = Some(last_octets);
        self.wake.notify_one();
    }
}

/// Opens a connection and serves it. The session's own timer gives up an attempt that nobody answers.
pub async fn connect(shared: Shared, conn: ConnId, transport: Transport, signal: Rc<Signal>) {
    let attempt = async {
        let socket = if transport.remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        shared.peek(|core, _| security::prepare(&socket, &transport, &core.keys))?;
        socket.connect(transport.remote).await
    };
    let outcome = tokio::select! {
        outcome = attempt => outcome,
        () = signal.wake.notified() => return, // closed: the attempt is dropped with its socket
    };
    let connected = outcome.and_then(|stream| Ok((stream.local_addr()?, stream)));
    match connected {
        Ok((local, stream)) => {
            shared.with(|core, now| core.speaker.handle_connected(now, conn, local));
            serve(shared, conn, stream, signal).await;
        }
        Err(error) => {
            let why = security::explain_connect_error(&error, &transport);
            shared.with(|core, now| {
                core.connections.remove(&conn);
                core.speaker.handle_connect_failed(now, conn, &why);
            });
        }
    }
}

/// Serves a connection until either side closes it.
pub async fn serve(shared: Shared, conn: ConnId, stream: TcpStream, signal: Rc<Signal>) {
    let _ = stream.set_nodelay(true);
    let mut unsent = Vec::new();
    loop {
        if let Some(last_octets) = signal.close.take() {
            unsent.extend_from_slice(&last_octets);
            let _ = tokio::time::timeout(LAST_WORDS, say_last_words(&stream, &unsent)).await;
            return;
        }
        let written = if unsent.is_empty() {
            send_more(&shared, conn, &stream, &mut unsent)
        } else {
            send_rest(&shared, conn, &stream, &mut unsent)
        };
        let outcome = match written {
            Ok(_) => {
                signal.writing.set(!unsent.is_empty());
                tokio::select! {
                    ready = stream.readable() => match ready {
                        Ok(()) => read_some(&shared, conn, &stream),
                        Err(error) => Err(error),
                    },
                    ready = stream.writable(), if !unsent.is_empty() => ready,
                    () = signal.wake.notified() => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        signal.writing.set(false);
        if let Err(error) = outcome {
            if signal.close.borrow().is_none() {
                let why = describe(&error);
                shared.with(|core, now| {
                    core.connections.remove(&conn);
                    core.speaker.handle_closed(now, conn, &why);
                });
            }
            return;
        }
    }
}

/// Tells a connection that is not served why, and closes it.
pub async fn turn_away(stream: TcpStream, last_octets: Vec<u8>) {
    if !last_octets.is_empty() {
        let _ = tokio::time::timeout(LAST_WORDS, say_last_words(&stream, &last_octets)).await;
    }
}

/// Reads what is there, up to [`READ_LEN`] octets, and hands it to the speaker.
fn read_some(shared: &Shared, conn: ConnId, stream: &TcpStream) -> io::Result<()> {
    shared.with(|core, now| {
        let mut buffer = std::mem::take(&mut core.read_buffer);
        let outcome = match stream.try_read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                core.speaker.handle_octets(now, conn, &buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        };
        core.read_buffer = buffer;
        outcome
    })
}

/// Asks the speaker for octets and sends them; keeps what TCP does not take. At most a few rounds, so that one peer
/// that takes everything does not starve the others.
fn send_more(shared: &Shared, conn: ConnId, stream: &TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    shared.peek(|core, now| {
        let mut buffer = std::mem::take(&mut core.write_buffer);
        buffer.clear();
        core.speaker.transmit(conn, &mut buffer, WRITE_LEN);
        let mut outcome = Ok(());
        if !buffer.is_empty() {
            match stream.try_write(&buffer) {
                Ok(count) => {
                    core.speaker.handle_sent(now, conn, count);
                    unsent.extend_from_slice(&buffer[count..]);
                    if count == buffer.len()
                        && core.speaker.wants_transmit(conn)
                        && let Some(signal) = core.connections.get(&conn)
                    {
                        signal.wake();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => unsent.extend_from_slice(&buffer),
                Err(error) => outcome = Err(error),
            }
        }
        core.write_buffer = buffer;
        outcome
    })
}

/// Sends what TCP did not take before.
fn send_rest(shared: &Shared, conn: ConnId, stream: &TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    match stream.try_write(unsent) {
        Ok(count) => {
            unsent.drain(..count);
            if unsent.is_empty() {
                *unsent = Vec::new();
            }
            shared.peek(|core, now| {
                core.speaker.handle_sent(now, conn, count);
                if let Some(signal) = core.connections.get(&conn) {
                    signal.wake();
                }
            });
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sends the rest, then waits for the peer to close: a socket closed with unread octets in it is reset by the kernel,
/// and a reset may overtake the NOTIFICATION.
async fn say_last_words(stream: &TcpStream, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        stream.writable().await?;
        match stream.try_write(octets) {
            Ok(count) => octets = &octets[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)?;
    let mut ignored = [0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut ignored) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
        io::ErrorKind::ConnectionReset => "the peer reset the connection".to_owned(),
        io::ErrorKind::TimedOut => "the peer's host does not answer any more".to_owned(),
        _ => error.to_string(),
    }
}
