//! `cargo xtask lab`: the laboratory by hand, to look around in.

use std::ffi::OsString;

use anyhow::Result;
use clap::Subcommand;

use crate::laboratory;
use crate::setup::Purpose;

/// A laboratory of network namespaces to look around in.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build the namespaces, start servers and agent, and leave them running.
    Up,
    /// Stop what runs in the namespaces and remove them.
    Down,
    /// Run a command on one of the laboratory's hosts.
    Exec {
        /// The host: client, router, edge, and so on, as `up` names them.
        host: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<()> {
    laboratory::run(Purpose::Lab, &words(&arguments.action))
}

fn words(action: &Action) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["lab".into()];
    match action {
        Action::Up => words.push("up".into()),
        Action::Down => words.push("down".into()),
        Action::Exec { host, command } => {
            words.extend(["exec".into(), host.into(), "--".into()]);
            words.extend(command.iter().cloned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commands_own_options_stay_with_it() {
        let action =
            Action::Exec { host: "client".into(), command: vec!["ping".into(), "-c1".into()] };
        assert_eq!(words(&action), ["lab", "exec", "client", "--", "ping", "-c1"]);
    }
}
