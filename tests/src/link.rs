//! Cables and switches: veth pairs whose checksums are real, bridges that flood nothing.

use std::{io::Write, process::Stdio};

use anyhow::{Context, Result, ensure};

use crate::{mac::Mac, netns::Netns, xdp};

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is.
    pub ns: &'a Netns,
    /// The interface's name there.
    pub interface: &'a str,
    /// Its address.
    pub mac: Mac,
}

/// Lays a veth pair between two namespaces and sets both ends up. Checksum offload and GRO are
/// off: what one end sends into XDP must be what a wire would carry.
///
/// # Errors
/// When `ip` or `ethtool` fails.
pub fn cable(a: End<'_>, b: End<'_>, mtu: u32) -> Result<()> {
    batch(
        a.ns,
        "ip",
        &[
            format!(
                "link add {} address {} mtu {mtu} type veth peer name {} address {} mtu {mtu} netns {}",
                a.interface,
                a.mac,
                b.interface,
                b.mac,
                b.ns.name()
            ),
            format!("link set dev {} up", a.interface),
        ],
    )?;
    batch(b.ns, "ip", &[format!("link set dev {} up", b.interface)])?;
    for end in [a, b] {
        end.ns.output("ethtool", &["-K", end.interface, "tx", "off", "gro", "off"])?;
    }
    Ok(())
}

/// Runs `program -batch -` (`ip` or `bridge`) inside `ns` on `lines`.
///
/// # Errors
/// When one of the lines fails; standard error and all lines are in the message.
pub fn batch(ns: &Netns, program: &str, lines: &[String]) -> Result<()> {
    let mut child = ns
        .command(program)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}: is iproute2 installed?"))?;
    let text = lines.join("\n") + "\n";
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "in {}: {program} failed: {}\n{text}",
        ns.name(),
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    Ok(())
}

/// Name of the bridge device in a switch's namespace.
const BRIDGE: &str = "br0";

/// An Ethernet switch in a namespace of its own.
///
/// Where an address lives is configured, not learnt, and frames to unknown addresses go nowhere:
/// a switch that floods lets the wrong host see frames and hides mistakes.
#[derive(Clone, Debug)]
pub struct Switch {
    ns: Netns,
}

impl Switch {
    /// Makes a switch of an empty namespace.
    ///
    /// # Errors
    /// When the bridge cannot be created.
    pub fn new(ns: Netns, mtu: u32) -> Result<Self> {
        // The switch itself has nothing to say on the segment.
        ns.sysctls(&[
            ("net/ipv6/conf/all/disable_ipv6", "1"),
            ("net/ipv6/conf/default/disable_ipv6", "1"),
        ])?;
        batch(
            &ns,
            "ip",
            &[
                format!(
                    "link add {BRIDGE} mtu {mtu} type bridge forward_delay 0 mcast_snooping 0 stp_state 0"
                ),
                format!("link set {BRIDGE} up"),
            ],
        )?;
        Ok(Self { ns })
    }

    /// Its namespace, whose interfaces are the ports.
    pub fn ns(&self) -> &Netns {
        &self.ns
    }

    /// Makes `interface`, an end of a cable in the switch's namespace, the port behind which `mac` lives.
    ///
    /// # Errors
    /// When `ip` or `bridge` fails, or the kernel refuses native XDP.
    pub fn plug(&self, interface: &str, mac: Mac) -> Result<()> {
        batch(&self.ns, "ip", &[format!("link set dev {interface} master {BRIDGE}")])?;
        batch(
            &self.ns,
            "bridge",
            &[
                format!("link set dev {interface} learning off flood off"),
                format!("fdb replace {mac} dev {interface} master static"),
            ],
        )?;
        xdp::attach(&self.ns, interface, xdp::Verdict::Pass)
    }

    /// Tells the switch that `mac` lives behind `port` (too).
    ///
    /// # Errors
    /// When `bridge` fails.
    pub fn station(&self, port: &str, mac: Mac) -> Result<()> {
        batch(&self.ns, "bridge", &[format!("fdb replace {mac} dev {port} master static")])
    }

    /// Whether frames to unknown addresses leave through `port`.
    ///
    /// # Errors
    /// When `bridge` fails.
    pub fn set_flooding(&self, port: &str, on: bool) -> Result<()> {
        let state = if on { "on" } else { "off" };
        batch(&self.ns, "bridge", &[format!("link set dev {port} flood {state}")])
    }

    /// Pulls or plugs the cable at `port`.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn set_port(&self, port: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.ns.ip(&format!("link set dev {port} {state}")).map(drop)
    }
}
