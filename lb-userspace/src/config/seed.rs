//! Secrets in files: 32 random bytes in base64, one a line.

use std::{io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;

/// 32 bytes: the seed of the flow hash, or a key of the membership.
pub type Secret = [u8; 32];

/// A file of secrets is not usable.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It has no line with anything in it.
    #[error("no key in it; sluice keygen writes what belongs there")]
    Empty,
    /// A line is something else.
    #[error("line {line} is not 32 bytes in base64 ({reason}); sluice keygen writes such a line")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// In what way it is wrong.
        reason: String,
    },
}

/// A fresh secret as `seedFile` and `keyFile` hold it: base64, without a line end.
///
/// # Errors
/// When the system has no randomness to give.
pub fn generate() -> Result<String, getrandom::Error> {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret)?;
    Ok(STANDARD.encode(secret))
}

/// The seed in a `seedFile`: its first line that is not blank.
///
/// # Errors
/// When the file cannot be read or that line is not 32 bytes in base64.
pub fn read_seed(file: &Path) -> Result<Secret, SecretError> {
    parse(&std::fs::read_to_string(file)?).next().ok_or(SecretError::Empty)?
}

/// The keys in a `keyFile`, one a line and one at least; the first one sends, all are accepted.
///
/// # Errors
/// When the file cannot be read, holds no key, or a line that is not blank is not 32 bytes in base64.
pub fn read_keys(file: &Path) -> Result<Vec<Secret>, SecretError> {
    let keys = parse(&std::fs::read_to_string(file)?).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(SecretError::Empty) } else { Ok(keys) }
}

fn parse(text: &str) -> impl Iterator<Item = Result<Secret, SecretError>> {
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(index, line)| {
        let malformed = |reason| SecretError::Malformed { line: index + 1, reason };
        let bytes = STANDARD.decode(line.trim()).map_err(|error| malformed(error.to_string()))?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| malformed(format!("it has {length} bytes")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<Secret>, String> {
        parse(text).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn a_generated_secret_is_read_back_and_none_is_like_another() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        let read = keys(&format!("{one}\n\n  {two}\n")).unwrap();
        assert_eq!(read.len(), 2);
        assert_ne!(read[0], read[1]);
        assert_eq!(STANDARD.encode(read[0]), one);
    }

    #[test]
    fn what_is_no_secret_is_refused_with_its_line() {
        let good = STANDARD.encode([7; 32]);
        for (text, line, reason) in [
            (format!("{good}\nnot base64!\n"), 2, "Invalid symbol 32, offset 3."),
            (STANDARD.encode([7; 16]), 1, "it has 16 bytes"),
            (STANDARD.encode([7; 33]), 1, "it has 33 bytes"),
        ] {
            let expected = format!(
                "line {line} is not 32 bytes in base64 ({reason}); sluice keygen writes such a line"
            );
            assert_eq!(keys(&text), Err(expected));
        }
    }

    #[test]
    fn an_error_does_not_show_the_secret() {
        let secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
        assert!(!keys(secret).unwrap_err().contains(secret));
    }
}
