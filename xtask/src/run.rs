//! Runs programs: shows them, streams their output, and turns a failure into a sentence.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command with its output streaming through, showing it first. A failure of any kind is an error.
pub fn shown(command: &mut Command) -> Result<()> {
    eprintln!("  $ {}", line(command));
    quiet(command)
}

/// Runs a command with its output streaming through. A failure of any kind is an error.
pub fn quiet(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// What a command prints on standard output; its standard error streams through.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` does not print text", line(command)))
}

/// A command as a user would type it, as far as reading it goes.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_named_with_its_arguments() {
        let error = quiet(Command::new("false").arg("--really")).unwrap_err();
        assert!(error.to_string().contains("`false --really` failed"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = output(&mut Command::new("/no/such/program")).unwrap_err();
        assert!(error.to_string().contains("cannot run `/no/such/program`"), "{error}");
    }
}
