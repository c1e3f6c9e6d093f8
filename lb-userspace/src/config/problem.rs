//! What is wrong with a configuration, and where.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{value::Place, yaml::Position};

/// One thing that is wrong, printed as `FILE:LINE:COLUMN: path.to.field: message`, always on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Where in the file; `None` when the file as a whole could not be read.
    pub place: Option<ErrorPlace>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Where in the file something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPlace {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the field, such as `services[0].ports[1].port`; `document` for the file's outermost value.
    pub path: String,
}

impl ConfigError {
    /// The file could not be read at all.
    pub fn unreadable(file: &Path, source: &io::Error) -> Self {
        Self { file: file.to_owned(), place: None, message: format!("cannot be read: {source}") }
    }

    pub(super) fn at(file: &Path, position: Position, path: String, message: String) -> Self {
        let place = ErrorPlace { line: position.line, column: position.column, path };
        Self { file: file.to_owned(), place: Some(place), message }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(ErrorPlace { line, column, path }) = &self.place {
            write!(f, "{line}:{column}: {path}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A place kept beyond the reading of its value, to be named later.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub position: Position,
    pub path: String,
}

/// Collects errors and warnings while a document is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<(Spot, String)>,
    warnings: Vec<(Spot, String)>,
}

impl Problems {
    /// Something that makes the configuration invalid.
    pub fn error(&mut self, place: &Place<'_>, message: impl Into<String>) {
        self.errors.push((place.spot(), message.into()));
    }

    /// Likewise, at a place kept from before.
    pub fn error_at(&mut self, spot: &Spot, message: impl Into<String>) {
        self.errors.push((spot.clone(), message.into()));
    }

    /// Something valid that is probably not what was meant.
    pub fn warn(&mut self, place: &Place<'_>, message: impl Into<String>) {
        self.warnings.push((place.spot(), message.into()));
    }

    /// How many errors there are so far.
    pub fn count(&self) -> usize {
        self.errors.len()
    }

    /// Errors and warnings, each in the order of the file.
    pub fn into_lists(self, file: &Path) -> (Vec<ConfigError>, Vec<ConfigError>) {
        let list = |mut problems: Vec<(Spot, String)>| {
            problems.sort_by_key(|(spot, _)| spot.position);
            problems
                .into_iter()
                .map(|(spot, message)| ConfigError::at(file, spot.position, spot.path, message))
                .collect()
        };
        (list(self.errors), list(self.warnings))
    }
}

/// A piece of the user's text for a message: on one line and not too long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let shown: String = text.chars().take(LONGEST).collect();
    let rest = if shown.len() < text.len() { "..." } else { "" };
    format!("\"{}{rest}\"", shown.escape_debug())
}

/// The known name that `word` most resembles, if it resembles one at all; of several the first in the alphabet.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, name)| name)
}
