//! The built binary: exit statuses, and what goes to which stream.

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
};

use lb_userspace::admin::{AdminSocket, Inspect, InspectError, view::*};
use serde_json::{Value, json};

fn sluice(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run sluice: {error}"))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const READ_COMMANDS: [&[&str]; 7] = [
    &["status"],
    &["vips"],
    &["services"],
    &["backends"],
    &["flows"],
    &["drops"],
    &["explain", "203.0.113.7", "192.0.2.10:80"],
];

#[test]
fn bad_usage_exits_with_2_and_explains_itself_on_standard_error() {
    for arguments in [
        &[][..],
        &["fly"],
        &["vips", "--colour"],
        &["vips", "-o", "yaml"],
        &["agent"],
        &["validate"],
        &["completions", "cmd.exe"],
        &["explain", "203.0.113.7"],
        &["explain", "203.0.113.7", "192.0.2.10"],
        &["explain", "203.0.113.7", "192.0.2.10:80/sctp"],
        &["explain", "2001:db8::7", "192.0.2.10:80"],
        &["--socket", "/nowhere", "version"],
        &["-o", "json", "keygen"],
        &["agent", "--socket", "/nowhere", "--config", "/nowhere"],
    ] {
        let output = sluice(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn without_an_agent_read_commands_exit_with_1_and_say_the_way_out() {
    for command in READ_COMMANDS {
        for format in ["table", "json"] {
            let arguments = [command, &["--socket", "/nowhere/sluice.sock", "-o", format]].concat();
            let output = sluice(&arguments);
            assert_eq!(code(&output), 1, "{arguments:?}: {output:?}");
            assert!(output.stdout.is_empty(), "{output:?}");
            assert_eq!(
                text(&output.stderr),
                "sluice: no agent answers at /nowhere/sluice.sock: is `sluice agent` running? \
                 another socket can be named with --socket\n"
            );
        }
    }
}

#[test]
fn version_exits_with_0_and_names_the_version() {
    let output = sluice(&["version"]);
    assert_eq!(code(&output), 0);
    assert_eq!(text(&output.stdout), concat!("sluice ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(sluice(&["--version"]).stdout, output.stdout);
}

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = sluice(&["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}: {output:?}");
        assert!(text(&output.stdout).contains("backends"), "{shell}");
    }
}

#[test]
fn help_is_no_failure_and_has_examples() {
    for arguments in [&["--help"][..], &["agent", "--help"], &["explain", "--help"]] {
        let output = sluice(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {output:?}");
        assert!(text(&output.stdout).contains("Examples:\n  sluice "), "{output:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// An agent that has nothing to tell and refuses to explain.
struct Idle;

impl Inspect for Idle {
    fn status(&self) -> Result<StatusView, InspectError> {
        Ok(StatusView {
            version: "0.1.0".into(),
            node: "edge-1".into(),
            edge: true,
            uptime_seconds: 1,
            not_ready: None,
            interfaces: vec![],
            source: SourceStatus {
                kind: "file".into(),
                state: SourceState::Pending,
                last_applied: None,
                errors: vec![],
            },
            members: vec![],
            counts: Counts::default(),
        })
    }
    fn vips(&self) -> Result<VipsView, InspectError> {
        Ok(VipsView::default())
    }
    fn services(&self) -> Result<ServicesView, InspectError> {
        Ok(ServicesView::default())
    }
    fn backends(&self) -> Result<BackendsView, InspectError> {
        Ok(BackendsView::default())
    }
    fn flows(&self) -> Result<FlowsView, InspectError> {
        Ok(FlowsView::default())
    }
    fn drops(&self) -> Result<DropsView, InspectError> {
        Ok(DropsView::default())
    }
    fn explain(&self, request: &ExplainRequest) -> Result<ExplainView, InspectError> {
        Err(InspectError::BadRequest(format!("{} is no VIP", request.vip)))
    }
}

/// Runs read commands against an idle agent.
fn with_an_agent(test: impl FnOnce(&str)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.sock");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let socket = AdminSocket::bind(&path).unwrap();
    runtime.spawn(socket.serve(Arc::new(Idle), std::future::pending()));
    test(path.to_str().unwrap());
}

#[test]
fn lists_are_one_json_object_with_one_list_named_after_the_command() {
    with_an_agent(|socket| {
        for name in ["vips", "services", "backends", "flows", "drops"] {
            let output = sluice(&[name, "-o", "json", "--socket", socket]);
            assert_eq!(code(&output), 0, "{output:?}");
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer, json!({ name: [] }));
        }
    });
}

#[test]
fn tables_exit_with_0_and_have_no_colours_when_piped() {
    with_an_agent(|socket| {
        for name in ["status", "vips", "services", "backends", "flows", "drops"] {
            let output = sluice(&["--socket", socket, name]);
            assert_eq!(code(&output), 0, "{output:?}");
            let table = text(&output.stdout);
            assert!(table.ends_with('\n') && !table.contains('\x1b'), "{table:?}");
        }
    });
}

#[test]
fn an_agent_that_refuses_exits_with_1_and_its_own_sentence() {
    with_an_agent(|socket| {
        let output = sluice(&["explain", "203.0.113.7", "192.0.2.10:80", "--socket", socket]);
        assert_eq!(code(&output), 1, "{output:?}");
        assert_eq!(text(&output.stderr), "sluice: 192.0.2.10 is no VIP\n");
    });
}
