//! Logs: for people on a terminal, one JSON object a line for everything else. `RUST_LOG` chooses what is logged.

use std::{env, io, io::IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `human` on a terminal, `json` otherwise.
    #[default]
    Auto,
    /// One line of text an event.
    Human,
    /// One JSON object an event.
    Json,
}

impl LogFormat {
    fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Human => false,
            Self::Json => true,
        }
    }
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` is no filter.
    #[error(
        "RUST_LOG: `{filter}` is no log filter; give a level or targets, such as debug or lb_userspace=debug,info"
    )]
    Filter {
        /// What it says.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something in this process logs already.
    #[error("logging has been set up before")]
    Installed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends events to standard error from now on.
///
/// # Errors
/// When `RUST_LOG` is no filter, or logging was set up before.
pub fn init(format: LogFormat) -> Result<(), LogError> {
    let filter = filter(env::var("RUST_LOG").ok().as_deref())?;
    let terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if format.is_json(terminal) {
        lines.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        let colours = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(colours).with_target(false).try_init()
    }
    .map_err(LogError::Installed)
}

fn filter(wish: Option<&str>) -> Result<EnvFilter, LogError> {
    let wish = wish.filter(|wish| !wish.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    EnvFilter::builder()
        .parse(wish)
        .map_err(|source| LogError::Filter { filter: wish.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_text_and_everything_else_json() {
        assert!(!LogFormat::Auto.is_json(true));
        assert!(LogFormat::Auto.is_json(false));
    }

    #[test]
    fn an_explicit_format_wins_over_the_terminal() {
        assert!(LogFormat::Json.is_json(true));
        assert!(!LogFormat::Human.is_json(false));
    }

    #[test]
    fn without_rust_log_info_is_logged() {
        assert_eq!(filter(None).unwrap().to_string(), "info");
        assert_eq!(filter(Some(" ")).unwrap().to_string(), "info");
        assert_eq!(filter(Some("warn")).unwrap().to_string(), "warn");
    }

    #[test]
    fn a_broken_rust_log_is_an_error_that_shows_it() {
        let error = filter(Some("sluice=loud=very")).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG: `sluice=loud=very` is no log filter"), "{error}");
    }
}
