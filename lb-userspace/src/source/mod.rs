//! Sources of desired state.

pub mod debounce;
pub mod file;

use crate::config::{Config, ConfigError};

/// What a source tells the agent when its world has changed.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// A new state to bring about.
    Applied {
        /// The whole configuration, not a difference. Its `agent` part is what the file says now, which may differ from what
        /// the agent runs with.
        config: Box<Config>,
        /// What is probably not meant.
        warnings: Vec<ConfigError>,
        /// Fields, as written in the file, whose new values only a restart brings into effect.
        needs_restart: Vec<&'static str>,
    },
    /// The source is broken: the last good state stays.
    Refused {
        /// Everything that is wrong; never empty.
        errors: Vec<ConfigError>,
    },
}
