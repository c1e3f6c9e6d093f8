//! `sluice check`: can this host run Sluice? Each requirement with what was found and what to do about it.

use std::{fs, path::Path, process::ExitCode};

use nix::unistd::Uid;

use super::print;
use crate::dataplane::load::{self, Shape};

/// How a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pass,
    Warn,
    Fail,
}

/// One requirement.
#[derive(Debug)]
struct Finding {
    outcome: Outcome,
    what: &'static str,
    found: String,
    /// What to do; empty where nothing has to be done.
    way_out: String,
}

/// Oldest kernel the data path runs on: multi-buffer XDP.
const KERNEL: (u32, u32) = (5, 18);
/// Bytes an IPv6 tunnel adds; an IPv4 one adds 20.
const TUNNEL_OVERHEAD: u32 = 40;

/// Prints what was found. Returns 1 if something keeps Sluice from running, else 0.
pub(super) fn run() -> ExitCode {
    let mut findings = vec![kernel(), btf(), privileges(), bpffs(), program()];
    findings.extend(interfaces());
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Fail);
    let code = print(render(&findings).as_bytes());
    if failed { ExitCode::FAILURE } else { code }
}

fn render(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { outcome, what, found, way_out } in findings {
        let mark = match outcome {
            Outcome::Pass => "pass",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
        };
        text += &format!("{mark}  {what:width$}  {found}\n");
        if !way_out.is_empty() {
            text += &format!("      {:width$}  -> {way_out}\n", "");
        }
    }
    text
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let new_enough = version(release).is_some_and(|version| version >= KERNEL);
    Finding {
        outcome: if new_enough { Outcome::Pass } else { Outcome::Fail },
        what: "kernel",
        found: release.into(),
        way_out: if new_enough {
            String::new()
        } else {
            format!("Linux {}.{} or newer is needed", KERNEL.0, KERNEL.1)
        },
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn btf() -> Finding {
    let there = Path::new("/sys/kernel/btf/vmlinux").exists();
    Finding {
        outcome: if there { Outcome::Pass } else { Outcome::Warn },
        what: "BTF",
        found: if there { "/sys/kernel/btf/vmlinux" } else { "the kernel has none" }.into(),
        way_out: if there {
            String::new()
        } else {
            "map dumps will not name fields; a kernel built with CONFIG_DEBUG_INFO_BTF=y does"
                .into()
        },
    }
}

fn privileges() -> Finding {
    let root = Uid::effective().is_root();
    Finding {
        outcome: if root { Outcome::Pass } else { Outcome::Fail },
        what: "privileges",
        found: if root { "root" } else { "an ordinary user" }.into(),
        way_out: if root {
            String::new()
        } else {
            "run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON".into()
        },
    }
}

fn bpffs() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == "bpf").then(|| place.to_owned())
    });
    match mount {
        Some(place) => Finding {
            outcome: Outcome::Pass,
            what: "bpffs",
            found: format!("mounted on {place}"),
            way_out: String::new(),
        },
        None => Finding {
            outcome: Outcome::Warn,
            what: "bpffs",
            found: "not mounted".into(),
            way_out: "the agent mounts it on /sys/fs/bpf when it starts".into(),
        },
    }
}

/// The proof of everything the kernel must be able to do: it takes the program.
fn program() -> Finding {
    let small = Shape { slots: 1, flow_sets: 1, ..Shape::new(false, false, [0; 4]) };
    match load::load(&small) {
        Ok(_) => Finding {
            outcome: Outcome::Pass,
            what: "XDP program",
            found: "the verifier takes it".into(),
            way_out: String::new(),
        },
        Err(error) => {
            let mut causes: Vec<String> = Vec::new();
            let mut next: Option<&dyn std::error::Error> = Some(&error);
            while let Some(cause) = next {
                causes.push(cause.to_string());
                next = cause.source();
            }
            Finding {
                outcome: Outcome::Fail,
                what: "XDP program",
                found: causes.join(": "),
                way_out: "see the kernel's last line above; without privileges this always fails"
                    .into(),
            }
        }
    }
}

/// What can be seen of each network interface without touching it.
fn interfaces() -> Vec<Finding> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "lo")
        .collect();
    names.sort();
    names.iter().flat_map(|name| [mtu(name), reverse_path(name)]).flatten().collect()
}

fn mtu(name: &str) -> Option<Finding> {
    let mtu: u32 =
        fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?.trim().parse().ok()?;
    let roomy = mtu >= 1500 + TUNNEL_OVERHEAD;
    Some(Finding {
        outcome: if roomy { Outcome::Pass } else { Outcome::Warn },
        what: "MTU",
        found: format!("{name}: {mtu}"),
        way_out: if roomy {
            String::new()
        } else {
            format!(
                "clients' packets over {} bytes are answered with \"fragmentation needed\" when tunnelled; raise the MTU between edges and backends to {} or more to spare them that",
                mtu.saturating_sub(20),
                1500 + TUNNEL_OVERHEAD
            )
        },
    })
}

fn reverse_path(name: &str) -> Option<Finding> {
    let value = |of: &str| -> Option<u8> {
        fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    // The kernel takes the larger of the two (ip-sysctl, rp_filter).
    let strict = value("all")?.max(value(name)?) == 1;
    strict.then(|| Finding {
        outcome: Outcome::Warn,
        what: "rp_filter",
        found: format!("{name}: strict"),
        way_out: format!(
            "a backend reached through a tunnel needs clients' addresses routed back through the interface their packets come from; else: sysctl -w net.ipv4.conf.{name}.rp_filter=2"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_compare_as_numbers() {
        assert_eq!(version("6.1.0-37-amd64"), Some((6, 1)));
        assert_eq!(version("5.9"), Some((5, 9)));
        assert!(version("5.9").unwrap() < KERNEL);
        assert!(version("5.18.0").unwrap() >= KERNEL);
        assert_eq!(version("mainline"), None);
    }

    #[test]
    fn a_way_out_stands_below_what_needs_one() {
        let finding = |outcome, way_out: &str| Finding {
            outcome,
            what: "MTU",
            found: "eth0: 1500".into(),
            way_out: way_out.into(),
        };
        let text = render(&[finding(Outcome::Pass, ""), finding(Outcome::Warn, "raise it")]);
        assert_eq!(text, "pass  MTU  eth0: 1500\nwarn  MTU  eth0: 1500\n           -> raise it\n");
    }
}
