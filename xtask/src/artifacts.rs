//! Builds with cargo and learns from its messages which executables it made.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// What kind of target an executable was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program, or the unit tests inside one.
    Program,
    /// The unit tests inside a library.
    Library,
    /// A file of integration tests.
    Promise,
}

/// An executable that cargo has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// The target's name.
    pub name: String,
    /// What it was made from.
    pub kind: Kind,
    /// Whether it is a test harness.
    pub is_test: bool,
    /// The executable file.
    pub path: PathBuf,
    /// The directory of its package, where tests expect to run.
    pub package: PathBuf,
}

/// Runs a cargo command that builds, and returns the executables; they are current whether or not they had to be built.
pub fn build(cargo: &mut Command) -> Result<Vec<Executable>> {
    let messages = run::output(cargo.arg("--message-format=json-render-diagnostics"))?;
    messages.lines().filter_map(|line| parse(line).transpose()).collect()
}

/// The program of this name among the executables.
pub fn program<'a>(executables: &'a [Executable], name: &str) -> Result<&'a Path> {
    let found = executables
        .iter()
        .find(|made| made.kind == Kind::Program && !made.is_test && made.name == name);
    match found {
        Some(executable) => Ok(&executable.path),
        None => bail!("this checkout builds no program named {name}"),
    }
}

/// Reads one of cargo's messages; `None` for one that is not about an executable.
fn parse(line: &str) -> Result<Option<Executable>> {
    let message: Value = serde_json::from_str(line)
        .with_context(|| format!("cargo's message {line:?} is not JSON"))?;
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
    let kind = match text("/target/kind/0") {
        Some("bin") => Kind::Program,
        Some("lib") => Kind::Library,
        Some("test") => Kind::Promise,
        _ => return Ok(None),
    };
    let made = (text("/reason"), text("/executable"), text("/target/name"), text("/manifest_path"));
    let (Some("compiler-artifact"), Some(path), Some(name), Some(manifest)) = made else {
        return Ok(None);
    };
    Ok(Some(Executable {
        name: name.to_owned(),
        kind,
        is_test: message.pointer("/profile/test").and_then(Value::as_bool).unwrap_or(false),
        path: PathBuf::from(path),
        package: Path::new(manifest).parent().map(Path::to_owned).unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, executable: &str, is_test: bool) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","manifest_path":"/s/tests/Cargo.toml","target":{{"kind":["{kind}"],
            "name":"weights"}},"profile":{{"test":{is_test}}},"executable":{executable}}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn a_file_of_tests_becomes_an_executable_that_runs_in_its_package() {
        let made = parse(&message("test", r#""/t/weights-0123""#, true)).unwrap().unwrap();
        let expected = Executable {
            name: "weights".to_owned(),
            kind: Kind::Promise,
            is_test: true,
            path: PathBuf::from("/t/weights-0123"),
            package: PathBuf::from("/s/tests"),
        };
        assert_eq!(made, expected);
    }

    #[test]
    fn libraries_without_tests_and_other_messages_are_passed_over() {
        assert_eq!(parse(&message("lib", "null", false)).unwrap(), None);
        assert_eq!(parse(r#"{"reason":"build-finished","success":true}"#).unwrap(), None);
    }

    #[test]
    fn a_program_is_not_mistaken_for_its_own_unit_tests() {
        let tests = parse(&message("bin", r#""/t/weights-0123""#, true)).unwrap().unwrap();
        let real = parse(&message("bin", r#""/t/weights""#, false)).unwrap().unwrap();
        assert_eq!(program(&[tests.clone(), real], "weights").unwrap(), Path::new("/t/weights"));
        assert!(program(&[tests], "weights").is_err());
    }
}
