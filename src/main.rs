//! evpnd, the daemon: see `evpnd --help`, `docs/ARCHITECTURE.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use evpnd::control::render::many;

/// The BGP EVPN control plane for Linux VXLAN.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Configuration file of the daemon.
    #[arg(long, default_value = "/etc/evpnd/evpnd.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration file: exit 0, or 1 with file:line:column and what was expected.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// A fabric of network namespaces on this machine.
    #[command(subcommand)]
    Lab(evpnd::lab::LabCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Check { file }) => match evpnd::io::read_config(&file) {
            Ok(config) => {
                let (neighbors, vnis) = (many(config.neighbors.len(), "neighbor"), many(config.vnis.len(), "VNI"));
                println!("{}: {neighbors}, {vnis}, no mistakes", file.display());
                ExitCode::SUCCESS
            }
            // Editors and CI look for file:line:column at the beginning of a line.
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
        Some(Command::Lab(command)) => match evpnd::lab::run(command) {
            Ok(code) => code,
            Err(error) => fail(&error),
        },
        None => {
            evpnd::io::set_up_logging();
            match evpnd::io::run(&arguments.config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            }
        }
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("evpnd: {error:#}");
    ExitCode::FAILURE
}
