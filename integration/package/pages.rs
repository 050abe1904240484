//! Man pages and shell completions, made of the words of the command lines: `cargo run --example pages -- DIRECTORY`.
//! `integration/package/build` puts them into the Debian package.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

#[path = "../../src/bin/evpnctl/arguments.rs"]
#[allow(dead_code, reason = "only its words are read here")]
mod evpnctl;
#[path = "../../src/main.rs"]
#[allow(dead_code, reason = "only its words are read here")]
mod evpnd_main;

/// A page of its own for each command that has commands below it, as git and systemd have.
fn pages(command: &Command, name: &str, section: &str, directory: &Path) -> std::io::Result<()> {
    let below: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let page = command.clone().name(&*name.to_owned().leak()).bin_name(name.replace('-', " "));
    let mut text = Vec::new();
    clap_mangen::Man::new(page).section(section).render(&mut text)?;
    std::fs::write(directory.join(format!("{name}.{section}")), text)?;
    for command in below {
        if command.get_name() != "help" {
            pages(command, &format!("{name}-{}", command.get_name()), section, directory)?;
        }
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1) else {
        return Err(std::io::Error::other("expected: pages DIRECTORY"));
    };
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory)?;
    for (mut command, section) in [(evpnctl::Cli::command(), "1"), (evpnd_main::Arguments::command().name("evpnd"), "8")] {
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command, &name, directory)?;
        }
        command.build();
        pages(&command, &name, section, directory)?;
    }
    Ok(())
}
