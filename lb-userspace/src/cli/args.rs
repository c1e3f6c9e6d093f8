//! What can be typed: commands, options, and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::flow::{Client, Destination};
use crate::{admin::DEFAULT_SOCKET, telemetry::logs::LogFormat};

/// The command line as a whole.
#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    about = "A layer-4 load balancer in XDP",
    long_about = "Sluice is a layer-4 load balancer: an XDP program hashes flows to backends and forwards them by \
                  IP-in-IP or by MAC address, so that servers see the client's address and answer it directly.\n\n\
                  `sluice agent` runs on every node. The read commands (status, vips, services, backends, flows, drops, \
                  explain) ask the agent of this host through its Unix socket, and need the same user (root).",
    after_help = "Exit status: 0 success, 1 failure, 2 bad usage.",
    after_long_help = "Exit status: 0 success, 1 failure, 2 bad usage.\n\n\
                       Examples:\n  \
                         sluice check                                     can this host run Sluice?\n  \
                         sluice validate /etc/sluice/sluice.yaml          is this configuration right?\n  \
                         sluice agent --config /etc/sluice/sluice.yaml    run the agent\n  \
                         sluice services                                  what is balanced, and how much\n  \
                         sluice explain 203.0.113.7 192.0.2.10:443        where does this client go, and why",
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) access: Access,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How to reach an agent and how to print its answer.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    /// Unix socket of the agent to ask [default: /run/sluice/sluice.sock]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// How to print the answer [default: table]
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<Output>,
}

impl Access {
    /// These options, and `general` where they say nothing.
    pub(super) fn or(self, general: Self) -> Self {
        Self { socket: self.socket.or(general.socket), output: self.output.or(general.output) }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into())
    }

    pub(super) fn output(&self) -> Output {
        self.output.unwrap_or_default()
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: one object, stable field names.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the agent
    #[command(
        long_about = "Run the agent: attach the XDP program to the configured interfaces, fill its maps from the \
                      configuration's services, and answer ARP and NDP for the VIPs.\n\n\
                      The file is watched: a valid change is applied live; an invalid one is refused with every error \
                      named, and the last good state stays. SIGTERM or SIGINT stops the agent and detaches what is its own.",
        after_long_help = "Examples:\n  sluice agent --config /etc/sluice/sluice.yaml\n  \
                           RUST_LOG=debug sluice agent --config ./sluice.yaml --log-format human"
    )]
    Agent(AgentArgs),
    /// Check a configuration: every error at once, with its line
    #[command(
        long_about = "Check a configuration file without touching anything. Prints one line for each error, \
                      FILE:LINE:COLUMN: path.to.field: what is wrong and what would be right, and exits with 1 if there is one.",
        after_long_help = "Example:\n  sluice validate ./sluice.yaml && sudo cp ./sluice.yaml /etc/sluice/"
    )]
    Validate {
        /// The configuration
        file: PathBuf,
    },
    /// Can this host run Sluice? Kernel, driver, BTF, capabilities, MTU, rp_filter
    Check,
    /// How the agent is: interfaces, source, members
    Status(Access),
    /// Virtual addresses: who owns them
    Vips(Access),
    /// Services: what is balanced, and how much
    Services(Access),
    /// Backends: where packets go, and how they get there
    Backends(Access),
    /// Flows the data path remembers
    #[command(
        long_about = "Flows the data path remembers.\n\nA slot of a service's table that has not moved answers by itself, \
                      without any memory of its flows; so this lists only the flows on slots that moved recently."
    )]
    Flows(Access),
    /// Packets that were not forwarded, by reason
    Drops(Access),
    /// Which backend a flow gets, and every step of why
    #[command(
        long_about = "Which backend a flow gets, and every step of why. The agent takes the data path's steps for the \
                      flow with the maps as they are now; no packet is sent.",
        after_long_help = "IPv6 addresses with a port are written in brackets. Without the client's port the answer tells what \
                           holds for every port.\n\n\
                           Examples:\n  sluice explain 203.0.113.7:40000 192.0.2.10:443\n  \
                           sluice explain 203.0.113.7 192.0.2.53:53/udp\n  \
                           sluice explain [2001:db8::7]:40000 [2001:db8::10]:443/tcp -o json"
    )]
    Explain {
        /// The client
        #[arg(value_name = "SRC[:PORT]")]
        client: Client,
        /// What it talks to
        #[arg(value_name = "VIP:PORT[/tcp|udp]")]
        destination: Destination,
        #[command(flatten)]
        access: Access,
    },
    /// A fresh secret for seedFile or keyFile
    #[command(after_long_help = "Example:\n  (umask 077; sluice keygen > /etc/sluice/seed)")]
    Keygen,
    /// A shell's completion script
    #[command(
        after_long_help = "Example:\n  sluice completions bash > /etc/bash_completion.d/sluice"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// The version of this program
    Version,
}

impl Command {
    /// The command's own [`Access`], if it asks an agent.
    pub(super) fn access(&self) -> Option<&Access> {
        match self {
            Self::Status(access)
            | Self::Vips(access)
            | Self::Services(access)
            | Self::Backends(access)
            | Self::Flows(access)
            | Self::Drops(access)
            | Self::Explain { access, .. } => Some(access),
            Self::Agent(_)
            | Self::Validate { .. }
            | Self::Check
            | Self::Keygen
            | Self::Completions { .. }
            | Self::Version => None,
        }
    }
}

/// Options of `sluice agent`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct AgentArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn access(line: &str) -> Access {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        cli.command.access().unwrap().clone().or(cli.access)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn socket_and_output_are_taken_before_and_after_the_command() {
        let expected = Access { socket: Some("/s".into()), output: Some(Output::Json) };
        assert_eq!(access("sluice --socket /s -o json vips"), expected);
        assert_eq!(access("sluice vips --socket /s -o json"), expected);
        assert_eq!(access("sluice -o table vips --socket /s -o json"), expected);
    }

    #[test]
    fn without_options_the_agent_of_this_host_answers_in_a_table() {
        let access = access("sluice vips");
        assert_eq!(access.socket(), PathBuf::from("/run/sluice/sluice.sock"));
        assert_eq!(access.output(), Output::Table);
    }

    #[test]
    fn a_flow_s_mistake_is_told_as_bad_usage() {
        let error = Cli::try_parse_from(["sluice", "explain", "203.0.113.7", "192.0.2.10"]);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert!(error.to_string().contains("the port is missing"), "{error}");
    }

    #[test]
    fn the_help_names_the_socket_that_is_the_default() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains(DEFAULT_SOCKET), "{help}");
    }
}
