//! `sluice validate FILE`: is this configuration valid, and if not, what is wrong where?

use std::{io, io::Write, path::Path, process::ExitCode};

use crate::config::{self, Loaded};

/// Checks the file and prints the verdict: on standard output one line an error, or one line that says what is in a valid
/// file; on standard error warnings, and why a file could not be read. Returns 0 if the file is valid, else 1.
pub fn run(file: &Path) -> ExitCode {
    match report(file, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // Whoever reads the output has closed it early: the verdict was not delivered.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn report(file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    match config::load(file) {
        Ok(Loaded { config, warnings }) => {
            for warning in warnings {
                writeln!(err, "warning: {warning}")?;
            }
            let desired = config.desired();
            let mut vips: Vec<_> = desired.services.keys().map(|key| key.vip).collect();
            vips.dedup();
            writeln!(
                out,
                "{}: valid: {}, {}, {}",
                file.display(),
                count(config.services.len(), "service"),
                count(vips.len(), "VIP"),
                count(desired.backends.len(), "backend"),
            )?;
            Ok(true)
        }
        Err(errors) => {
            for error in errors {
                let stream: &mut dyn Write = if error.place.is_some() { out } else { err };
                writeln!(stream, "{error}")?;
            }
            Ok(false)
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_of(content: Option<&str>) -> (bool, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sluice.yaml");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let valid = report(&file, &mut out, &mut err).unwrap();
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(file.to_str().unwrap(), "FILE")
        };
        (valid, text(out), text(err))
    }

    #[test]
    fn a_valid_file_is_summed_up_in_one_line() {
        let services = "services:\n- name: web\n  vips: [192.0.2.10, \"2001:db8::10\"]\n  ports: [{port: 80}, {port: 443}]\n  \
                        endpoints: [{address: 10.0.0.21}]\n  healthCheck: {type: tcp}\n";
        let (valid, out, err) = report_of(Some(&format!("interfaces: [eth0]\n{services}")));
        assert!(valid);
        assert_eq!(out, "FILE: valid: 1 service, 2 VIPs, 1 backend\n");
        assert_eq!(
            err,
            "warning: FILE:7:16: services[0].healthCheck: is not acted upon in this version\n"
        );
    }

    #[test]
    fn every_error_is_one_line_on_standard_output() {
        let (valid, out, err) = report_of(Some("interfaces: []\nxdpmode: auto\n"));
        assert!(!valid);
        assert_eq!(
            out,
            "FILE:1:13: interfaces: must not be empty; give an interface at least\n\
             FILE:2:1: xdpmode: unknown field; did you mean xdpMode?\n"
        );
        assert_eq!(err, "");
    }

    #[test]
    fn a_file_that_is_not_there_is_no_configuration_error() {
        let (valid, out, err) = report_of(None);
        assert!(!valid);
        assert_eq!(out, "");
        assert_eq!(err, "FILE: cannot be read: No such file or directory (os error 2)\n");
    }
}
