//! Debian packages: which version there is to have, and installing without starting what comes in them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{root, run, tools};

/// Installs the packages that are its arguments. A policy that refuses to start services stands while it runs, unless the
/// machine has a policy of its own; a daemon that the packages would start at the next boot is disabled.
const INSTALL: &str = r#"
set -eu
services=$1
shift
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
before=$(dpkg-query --show --showformat='${Package} ' 2>/dev/null)
# Nothing that somebody installed is worth removing for our sake: fail and let them choose.
apt-get install --yes --no-install-recommends --no-remove "$@"
if command -v systemctl >/dev/null; then
    for service in $services; do
        case " $before" in *" $service "*) continue ;; esac
        if [ -e "/lib/systemd/system/$service.service" ]; then
            systemctl disable --quiet "$service" || echo "$service will start at the next boot" >&2
        fi
    done
fi
"#;

/// Whether this machine installs packages with apt.
pub fn has_apt() -> bool {
    tools::find("apt-get").is_some() && tools::find("apt-cache").is_some()
}

/// Fetches the lists of packages, as root.
pub fn update() -> Result<()> {
    run::shown(root::command("apt-get")?.args(["update", "--quiet=2"]))
        .context("cannot fetch the lists of packages: is the network there?")
}

/// The version of a package that apt would install, as (major, minor); `None` if it has none.
pub fn candidate(package: &str) -> Option<(u32, u32)> {
    let output = Command::new("apt-cache")
        .args(["policy", package])
        .env("LC_ALL", "C")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse_candidate(&String::from_utf8(output.stdout).ok()?)
}

fn parse_candidate(policy: &str) -> Option<(u32, u32)> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let upstream = version.split_once(':').map_or(version, |(_epoch, rest)| rest);
    let mut numbers = upstream.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Installs packages, as root, without starting their services.
pub fn install(packages: &[&str]) -> Result<()> {
    eprintln!("installing {} with apt-get", packages.join(", "));
    let services = tools::SERVICES.join(" ");
    let mut install = root::command("env")?;
    install
        .args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", INSTALL, "sh", &services])
        .args(packages);
    run::quiet(&mut install)
        .with_context(|| format!("apt-get did not install {}", packages.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_read_without_epoch_and_revision() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n";
        assert_eq!(parse_candidate(policy), Some((1, 96)));
        let policy = "llvm-22-dev:\n  Installed: (none)\n  Candidate: 1:22.1.8-1~deb12u1\n";
        assert_eq!(parse_candidate(policy), Some((22, 1)));
    }

    #[test]
    fn a_package_that_apt_cannot_install_has_no_candidate() {
        assert_eq!(parse_candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(parse_candidate(""), None);
    }
}
