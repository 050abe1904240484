//! `evpnctl`: the command line client of a running evpnd. It turns words into a request of `evpnd::control`, follows the
//! pages of a long table, and shows the replies as text or JSON. Exit codes: 0 done, 1 refused, not found or a difference,
//! 2 usage, 3 daemon not reachable (docs/CONTROL.md).

use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind as UsageKind;
use clap::{CommandFactory, Parser, Subcommand};
use evpnd::base::{MacAddr, Vni};
use evpnd::control::render::Renderer;
use evpnd::control::{Reply, Request, VniAdd};
use serde::Serialize;

/// How long an answer may take where nothing has to be awaited: a busy daemon answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(name = "evpnctl", version, about = "Talk to a running evpnd", arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 refused, not found or (diff) different, 2 usage, 3 daemon not reachable")]
struct Cli {
    /// Socket of the daemon
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/evpnd/evpnd.sock")]
    socket: PathBuf,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what the daemon knows
    Show {
        #[command(subcommand)]
        what: Show,
    },
    /// Tell the story of one MAC, from the BGP paths to the kernel row
    Explain {
        /// vni N mac M
        #[arg(value_names = ["vni", "N", "mac", "M"], num_args = 2..=4, required = true)]
        words: Vec<String>,
    },
    /// Show where the kernel differs from what it should hold; exit 0 and no output when it does not
    Diff,
    /// Print events as they happen
    Monitor,
    /// Leave the fabric for good: withdraw everything, close the sessions, remove our rows and devices
    Drain,
    /// Apply the changes of the configuration file
    Reload,
    /// Add or delete VNIs at run time
    Vni {
        #[command(subcommand)]
        what: VniCommand,
    },
    /// Reset something
    Clear {
        #[command(subcommand)]
        what: Clear,
    },
}

#[derive(Subcommand)]
enum Show {
    /// The daemon at a glance
    Status,
    /// BGP neighbors, or everything about one
    Neighbors { address: Option<IpAddr> },
    /// VNIs, or everything about one
    Vnis { vni: Option<Vni> },
    /// Remote VTEPs
    Vteps,
    /// The MAC tables
    Macs {
        /// Only this VNI
        #[arg(long)]
        vni: Option<Vni>,
        /// Only this MAC
        #[arg(long)]
        mac: Option<MacAddr>,
        /// Only those that two hosts have at once
        #[arg(long)]
        duplicates: bool,
    },
    /// The BGP table
    Routes {
        /// Only this route type (2: MAC/IP, 3: multicast)
        #[arg(long = "type", value_name = "N")]
        route_type: Option<u8>,
        /// Only this VNI
        #[arg(long)]
        vni: Option<Vni>,
        /// Only this route distinguisher
        #[arg(long)]
        rd: Option<String>,
        /// Only paths from this neighbor
        #[arg(long)]
        neighbor: Option<IpAddr>,
    },
}

#[derive(Subcommand)]
enum VniCommand {
    /// Add VNIs until the daemon ends; what is not given is as in [vni-defaults]
    Add {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Vni>,
        /// Name of the device to make; {vni} is replaced
        #[arg(long)]
        device: Option<String>,
        /// Name of the bridge to make; {vni} is replaced
        #[arg(long)]
        bridge: Option<String>,
        /// Route distinguisher
        #[arg(long)]
        rd: Option<String>,
        /// Import route target: auto, 65000:100, *:100; may be given several times
        #[arg(long, value_delimiter = ',')]
        import: Option<Vec<String>>,
        /// Export route target; may be given several times
        #[arg(long, value_delimiter = ',')]
        export: Option<Vec<String>>,
        /// Whether this host answers ARP and ND
        #[arg(long, value_name = "true|false")]
        neighbor_suppression: Option<bool>,
        /// MTU in octets of the devices to make
        #[arg(long)]
        mtu: Option<u32>,
    },
    /// Delete VNIs: withdraw their routes, remove their rows and the devices evpnd made
    Del {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Vni>,
    },
}

#[derive(Subcommand)]
enum Clear {
    /// Reset the session of a neighbor; it comes back by itself
    Neighbor { address: IpAddr },
    /// Follow duplicate MACs again: all of them, those of a VNI, or one
    Duplicate {
        /// [vni N [mac M]]
        #[arg(value_names = ["vni", "N", "mac", "M"], num_args = 0..=4)]
        words: Vec<String>,
    },
}

/// Why there is no reply, with the exit code that says so.
enum Failure {
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // `evpnctl show macs | head` is no failure.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => {
            let _ = writeln!(io::stderr(), "evpnctl: cannot write: {error}");
            ExitCode::from(1)
        }
        Err(Failure::Daemon(message)) => {
            let _ = writeln!(io::stderr(), "evpnctl: {message}");
            ExitCode::from(3)
        }
    }
}

/// Whether everything that was asked for was done.
fn run(cli: &Cli) -> Result<bool, Failure> {
    let requests = requests(&cli.command);
    let detailed = matches!(
        cli.command,
        Command::Show { what: Show::Neighbors { address: Some(_) } } | Command::Show { what: Show::Vnis { vni: Some(_) } }
    );
    let mut daemon = Daemon::connect(cli)?;
    let mut done = true;
    for request in requests {
        let mut printer = Printer::new(cli.json, detailed);
        done &= if matches!(request, Request::Monitor {}) {
            monitor(&mut daemon, &request, &mut printer)?
        } else {
            ask(&mut daemon, request, &mut printer)?
        };
    }
    Ok(done)
}

/// What has to be asked for a command: one request, or one for each of several VNIs.
fn requests(command: &Command) -> Vec<Request> {
    let (after, limit) = (None, None);
    let request = match command {
        Command::Show { what: Show::Status } => Request::ShowStatus {},
        Command::Show { what: Show::Neighbors { address } } => Request::ShowNeighbors { address: *address, after, limit },
        Command::Show { what: Show::Vnis { vni } } => Request::ShowVnis { vni: *vni, after, limit },
        Command::Show { what: Show::Vteps } => Request::ShowVteps { after, limit },
        Command::Show { what: Show::Macs { vni, mac, duplicates } } => {
            Request::ShowMacs { vni: *vni, mac: *mac, duplicates: *duplicates, after, limit: Some(10_000) }
        }
        Command::Show { what: Show::Routes { route_type, vni, rd, neighbor } } => {
            Request::ShowRoutes { route_type: *route_type, vni: *vni, rd: rd.clone(), neighbor: *neighbor, after, limit }
        }
        Command::Explain { words } => {
            let (vni, mac) = explained(words).unwrap_or_else(|message| usage(&message));
            Request::Explain { vni, mac }
        }
        Command::Diff => Request::Diff { after, limit },
        Command::Monitor => Request::Monitor {},
        Command::Drain => Request::Drain {},
        Command::Reload => Request::Reload {},
        Command::Vni { what: VniCommand::Add { ids, device, bridge, rd, import, export, neighbor_suppression, mtu } } => {
            let add = |vni: &Vni| VniAdd {
                vni: *vni,
                device: device.clone(),
                bridge: bridge.clone(),
                rd: rd.clone(),
                import: import.clone(),
                export: export.clone(),
                neighbor_suppression: *neighbor_suppression,
                mtu: *mtu,
            };
            return ids.iter().map(|vni| Request::VniAdd(add(vni))).collect();
        }
        Command::Vni { what: VniCommand::Del { ids } } => return ids.iter().map(|vni| Request::VniDel { vni: *vni }).collect(),
        Command::Clear { what: Clear::Neighbor { address } } => Request::ClearNeighbor { address: *address },
        Command::Clear { what: Clear::Duplicate { words } } => {
            let (vni, mac) = cleared(words).unwrap_or_else(|message| usage(&message));
            Request::ClearDuplicate { vni, mac }
        }
    };
    vec![request]
}

/// `vni N mac M`; the two words may be left out.
fn explained(words: &[String]) -> Result<(Vni, MacAddr), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (vni, mac) = match words.as_slice() {
        ["vni", vni, "mac", mac] | ["mac", mac, "vni", vni] | ["vni", vni, mac] | [vni, "mac", mac] | [vni, mac] => (vni, mac),
        _ => return Err("expected: evpnctl explain vni N mac M".to_owned()),
    };
    let vni = vni.parse().map_err(|error| format!("{error}"))?;
    let mac = mac.parse().map_err(|error| format!("{error}"))?;
    Ok((vni, mac))
}

/// Nothing, `vni N`, `mac M`, or `vni N mac M`.
fn cleared(words: &[String]) -> Result<(Option<Vni>, Option<MacAddr>), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (vni, mac) = match words.as_slice() {
        [] => (None, None),
        ["vni", vni] => (Some(vni), None),
        ["mac", mac] => (None, Some(mac)),
        ["vni", vni, "mac", mac] | ["mac", mac, "vni", vni] => (Some(vni), Some(mac)),
        _ => return Err("expected: evpnctl clear duplicate [vni N [mac M]]".to_owned()),
    };
    let vni = vni.map(|vni| vni.parse().map_err(|error| format!("{error}"))).transpose()?;
    let mac = mac.map(|mac| mac.parse().map_err(|error| format!("{error}"))).transpose()?;
    Ok((vni, mac))
}

/// Ends with a message about usage, exit code 2.
fn usage(message: &str) -> ! {
    Cli::command().error(UsageKind::ValueValidation, message).exit()
}

/// Asks, and goes on asking while another page follows.
fn ask(daemon: &mut Daemon, mut request: Request, printer: &mut Printer) -> Result<bool, Failure> {
    let mut same = true;
    loop {
        let reply = daemon.ask(&request)?;
        let next = match &reply {
            Reply::Neighbors(page) => page.next.clone(),
            Reply::Vnis(page) => page.next.clone(),
            Reply::Vteps(page) => page.next.clone(),
            Reply::Macs(page) => page.next.clone(),
            Reply::Routes(page) => page.next.clone(),
            Reply::Diff(page) => {
                same &= page.items.is_empty();
                page.next.clone()
            }
            Reply::Refused { message } | Reply::NotFound { message } => {
                printer.refused(&reply)?;
                let _ = writeln!(io::stderr(), "evpnctl: {}", message.trim_end());
                return Ok(false);
            }
            _ => None,
        };
        printer.reply(&reply)?;
        let Some(next) = next else { break };
        match after(&mut request) {
            Some(cursor) if *cursor != Some(next.clone()) => *cursor = Some(next),
            _ => {
                return Err(Failure::Daemon(
                    "the daemon repeats a page: its version may not be the one of this evpnctl".to_owned(),
                ));
            }
        }
    }
    printer.end()?;
    Ok(same)
}

/// The cursor of a request whose reply has pages.
fn after(request: &mut Request) -> Option<&mut Option<String>> {
    match request {
        Request::ShowNeighbors { after, .. }
        | Request::ShowVnis { after, .. }
        | Request::ShowVteps { after, .. }
        | Request::ShowMacs { after, .. }
        | Request::ShowRoutes { after, .. }
        | Request::Diff { after, .. } => Some(after),
        _ => None,
    }
}

/// Prints events until the daemon ends or somebody stops us.
fn monitor(daemon: &mut Daemon, request: &Request, printer: &mut Printer) -> Result<bool, Failure> {
    match daemon.ask(request)? {
        Reply::Refused { message } | Reply::NotFound { message } => {
            let _ = writeln!(io::stderr(), "evpnctl: {message}");
            return Ok(false);
        }
        Reply::Event(line) => printer.event(&Reply::Event(line))?,
        _ => {}
    }
    loop {
        printer.event(&daemon.read(None)?)?;
    }
}

/// The connection to the daemon.
struct Daemon {
    reader: BufReader<UnixStream>,
    line: String,
}

impl Daemon {
    fn connect(cli: &Cli) -> Result<Self, Failure> {
        let path = cli.socket.display();
        let stream = UnixStream::connect(&cli.socket).map_err(|error| {
            Failure::Daemon(match error.kind() {
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
        Ok(Self { reader: BufReader::with_capacity(256 * 1024, stream), line: String::new() })
    }

    /// One request, one reply.
    fn ask(&mut self, request: &Request) -> Result<Reply, Failure> {
        let mut line =
            serde_json::to_string(request).map_err(|error| Failure::Daemon(format!("cannot write the request: {error}")))?;
        line.push('\n');
        self.reader
            .get_mut()
            .write_all(line.as_bytes())
            .map_err(|error| Failure::Daemon(format!("the daemon hung up: {error}")))?;
        // A drain takes as long as the fabric takes.
        let patience = if matches!(request, Request::Drain {} | Request::VniDel { .. }) { None } else { Some(PATIENCE) };
        self.read(patience)
    }

    fn read(&mut self, patience: Option<Duration>) -> Result<Reply, Failure> {
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
                fail(format!("the daemon does not answer within {} s: see its log (journalctl -u evpnd)", PATIENCE.as_secs()))
            }
            Err(error) => fail(format!("the daemon hung up: {error}")),
        }
    }
}

/// Writes replies to standard output.
struct Printer {
    out: BufWriter<io::StdoutLock<'static>>,
    json: bool,
    renderer: Renderer,
    /// Items of a JSON array written so far; none where no array was begun.
    items: Option<u64>,
}

impl Printer {
    fn new(json: bool, detailed: bool) -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), json, renderer: Renderer::new(detailed), items: None }
    }

    fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        if !self.json {
            return self.out.write_all(self.renderer.page(reply).as_bytes());
        }
        match reply {
            Reply::Status(status) => self.object(status),
            Reply::Neighbors(page) => self.array(&page.items),
            Reply::Vnis(page) => self.array(&page.items),
            Reply::Vteps(page) => self.array(&page.items),
            Reply::Macs(page) => self.array(&page.items),
            Reply::Routes(page) => self.array(&page.items),
            Reply::Diff(page) => self.array(&page.items),
            Reply::Explanation(explanation) => self.object(explanation),
            Reply::Event(line) => self.object(line),
            Reply::Done { .. } | Reply::Refused { .. } | Reply::NotFound { .. } => self.object(reply),
        }
    }

    fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Another piece of one array, an item a line.
    fn array(&mut self, items: &[impl Serialize]) -> io::Result<()> {
        if self.items.is_none() {
            self.out.write_all(b"[")?;
        }
        let written = self.items.get_or_insert(0);
        for item in items {
            self.out.write_all(if *written == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut self.out, item)?;
            *written += 1;
        }
        Ok(())
    }

    fn event(&mut self, reply: &Reply) -> io::Result<()> {
        self.reply(reply)?;
        self.out.flush()
    }

    /// Programs find the reason on standard output as well.
    fn refused(&mut self, reply: &Reply) -> io::Result<()> {
        if self.json && self.items.is_none() {
            self.object(reply)?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        match self.items {
            Some(0) => self.out.write_all(b"]\n")?,
            Some(_) => self.out.write_all(b"\n]\n")?,
            None => {}
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn explain_takes_its_words_in_any_order() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let expected = ("100".parse().unwrap(), "02:00:00:00:00:01".parse().unwrap());
        for text in ["vni 100 mac 02:00:00:00:00:01", "mac 02:00:00:00:00:01 vni 100", "100 02:00:00:00:00:01"] {
            assert_eq!(explained(&words(text)), Ok(expected), "{text}");
        }
        assert!(explained(&words("vni 100 port x")).is_err());
        assert!(explained(&words("vni 0 mac 02:00:00:00:00:01")).is_err());
    }
}
