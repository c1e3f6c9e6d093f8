//! The programs that the lab, the demo and the benchmarks use, and the Debian packages they come in.

use std::env;
use std::path::PathBuf;

use crate::root;

/// A program and where Debian has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The program's name.
    pub program: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What the lab of network namespaces is made of, and the real clients and servers in it.
pub const LAB: [Tool; 14] = [
    tool("ip", "iproute2"),
    tool("nsenter", "util-linux"),
    tool("ethtool", "ethtool"),
    tool("nft", "nftables"),
    tool("iptables", "iptables"),
    tool("nginx", "nginx-light"),
    tool("unbound", "unbound"),
    tool("dig", "bind9-dnsutils"),
    tool("iperf3", "iperf3"),
    tool("curl", "curl"),
    tool("tcpdump", "tcpdump"),
    tool("arping", "iputils-arping"),
    tool("ping", "iputils-ping"),
    tool("bpftool", "bpftool"),
];

/// What the benchmarks compare with, beyond the lab.
pub const BENCH: [Tool; 1] = [tool("haproxy", "haproxy")];

/// Packages that would start a daemon on this machine at its next boot, where only the lab should run it.
pub const SERVICES: [&str; 4] = ["nginx", "unbound", "haproxy", "iperf3"];

/// Where a program is, seen from root's `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&root::search_path())
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Those of the tools that are not on this machine.
pub fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools.iter().copied().filter(|tool| find(tool.program).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_missing_only_if_no_directory_has_it() {
        let shell = tool("sh", "dash");
        let invented = tool("no-such-program", "no-such-package");
        assert_eq!(missing(&[shell, invented]), [invented]);
    }

    #[test]
    fn no_tool_is_listed_twice() {
        let mut programs: Vec<_> = LAB.iter().chain(&BENCH).map(|tool| tool.program).collect();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!(programs.len(), LAB.len() + BENCH.len());
    }
}
