//! The connection to the daemon: one line of JSON each way.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use evpnd::control::{Reply, Request};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::arguments::Cli;

/// How long an answer may take where nothing has to be awaited: a busy daemon answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

const SEE_LOG: &str = "see its log (journalctl -u evpnd)";

/// Why there is no reply, with the exit code that says so.
pub(crate) enum Failure {
    /// Not reachable, hung up, or did not speak our language: exit 3.
    Daemon(String),
    /// Our own output went away or failed.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The connection to the daemon.
pub(crate) struct Daemon {
    reader: BufReader<UnixStream>,
    line: String,
    /// How long any answer may take, where not as long as is usual.
    patience: Option<Duration>,
    /// It did not answer in time, in words. Nothing more is asked: an answer that comes late would be taken for one to another question.
    silence: Option<String>,
}

/// Connects, and lets nothing that is sent wait longer than `within`: so long a daemon may stand still whose queue of connections is full.
///
/// # Errors
/// `WouldBlock` after that time, else what the system says.
fn open(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(within))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

impl Daemon {
    /// `patience`: how long any answer may take, where not as long as is usual.
    pub(crate) fn connect(cli: &Cli, patience: Option<Duration>) -> Result<Self, Failure> {
        let path = cli.socket.display();
        let within = patience.unwrap_or(PATIENCE);
        let stream = open(&cli.socket, within).map_err(|error| {
            Failure::Daemon(match error.kind() {
                ErrorKind::WouldBlock => {
                    format!("the daemon takes no connection at {path} within {} s: {SEE_LOG}", within.as_secs())
                }
                ErrorKind::NotFound => {
                    format!("no daemon: {path} does not exist; is evpnd running (systemctl status evpnd), with this --socket?")
                }
                ErrorKind::ConnectionRefused => {
                    format!("no daemon: nobody answers at {path}, it is left over from an evpnd that is gone; start it (systemctl start evpnd)")
                }
                ErrorKind::PermissionDenied => {
                    format!("not allowed to use {path}: be root, or a member of the group named in [control] of the configuration")
                }
                _ => format!("cannot reach the daemon at {path}: {error}"),
            })
        })?;
        Ok(Self { reader: BufReader::with_capacity(256 * 1024, stream), line: String::new(), patience, silence: None })
    }

    /// Why nothing is asked of it any more.
    pub(crate) fn silence(&self) -> Option<&str> {
        self.silence.as_deref()
    }

    /// One request, one reply.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply, Failure> {
        if let Some(why) = &self.silence {
            return Err(Failure::Daemon(why.clone()));
        }
        let mut line =
            serde_json::to_string(request).map_err(|error| Failure::Daemon(format!("cannot write the request: {error}")))?;
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => self.is_silent(self.patience.unwrap_or(PATIENCE)),
            _ => Failure::Daemon(format!("the daemon hung up: {error}")),
        })?;
        // A drain takes as long as the fabric takes.
        let usual = (!matches!(request, Request::Drain {})).then_some(PATIENCE);
        self.read(self.patience.or(usual))
    }

    pub(crate) fn read(&mut self, patience: Option<Duration>) -> Result<Reply, Failure> {
        let fail = |message: String| Err(Failure::Daemon(message));
        if let Err(error) = self.reader.get_ref().set_read_timeout(patience) {
            return fail(format!("cannot set a timeout: {error}"));
        }
        self.line.clear();
        match self.reader.read_line(&mut self.line) {
            Ok(0) => fail("the daemon hung up: it ended or was restarted".to_owned()),
            Ok(_) => serde_json::from_str(&self.line).or_else(|error| {
                fail(format!("cannot read the reply ({error}): the daemon's version may not be the one of this evpnctl"))
            }),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(self.is_silent(patience.unwrap_or(PATIENCE)))
            }
            Err(error) => fail(format!("the daemon hung up: {error}")),
        }
    }

    /// Nothing more is asked of it.
    fn is_silent(&mut self, within: Duration) -> Failure {
        let why = format!("the daemon does not answer within {} s: {SEE_LOG}", within.as_secs());
        self.silence = Some(why.clone());
        Failure::Daemon(why)
    }
}
