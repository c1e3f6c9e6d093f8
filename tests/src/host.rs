//! A host of the laboratory: a namespace with addressed interfaces.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};

use crate::{
    addresses::Subnet,
    link::{self, End, Switch},
    mac::Mac,
    netns::Netns,
};

/// Second octet of a host's MAC addresses.
const HOST_MAC: u8 = 0;
/// Second octet of a switch port's MAC address.
const PORT_MAC: u8 = 1;

/// What a host does with packets that are not for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Drops them.
    EndSystem,
    /// Forwards them.
    Router,
    /// Drops them, and may hold VIPs on `lo` that somebody else answers ARP for.
    DirectServer,
}

/// A namespace with its interfaces.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name in the laboratory.
    pub name: String,
    /// Its namespace.
    pub ns: Netns,
    /// Its interfaces, the most important one first.
    pub interfaces: Vec<Interface>,
}

/// An interface of a host.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name in the host's namespace.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its IPv4 address, in a /24.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, in a /64.
    pub v6: Ipv6Addr,
    /// The other end of its cable: the namespace, and the interface's name there.
    pub peer: (Netns, String),
}

impl Host {
    /// Sets up the empty namespace `ns` for `role`.
    ///
    /// # Errors
    /// When the kernel refuses a setting.
    pub fn new(name: &str, ns: Netns, role: Role) -> Result<Self> {
        let forwarding = if role == Role::Router { "1" } else { "0" };
        ns.sysctls(&[
            ("net/ipv4/ip_forward", forwarding),
            ("net/ipv6/conf/all/forwarding", forwarding),
            // DSR is asymmetric by nature.
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            // Addresses are usable at once.
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/all/accept_ra", "0"),
            ("net/ipv6/conf/default/accept_ra", "0"),
        ])?;
        match role {
            Role::EndSystem => {
                ns.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
            }
            Role::Router => ns.sysctls(&[
                ("net/ipv4/conf/all/send_redirects", "0"),
                ("net/ipv4/conf/default/send_redirects", "0"),
                // Every oversized packet of a test gets its answer.
                ("net/ipv4/icmp_ratelimit", "0"),
                ("net/ipv6/icmp/ratelimit", "0"),
            ])?,
            Role::DirectServer => ns.sysctls(&[
                ("net/ipv4/conf/all/arp_ignore", "1"),
                ("net/ipv4/conf/all/arp_announce", "2"),
            ])?,
        }
        Ok(Self { name: name.to_owned(), ns, interfaces: Vec::new() })
    }

    /// Connects a new interface to a switch, whose port gets the name of this host and interface.
    ///
    /// # Errors
    /// When a command fails; its output is in the message.
    pub fn plug(
        &mut self,
        name: &str,
        subnet: Subnet,
        number: u8,
        switch: &Switch,
        mtu: u32,
    ) -> Result<()> {
        let v4 = subnet.v4(number);
        let mac = Mac::for_address(HOST_MAC, v4);
        let port = self.name.clone();
        link::cable(
            End { ns: &self.ns, interface: name, mac },
            End { ns: switch.ns(), interface: &port, mac: Mac::for_address(PORT_MAC, v4) },
            mtu,
        )?;
        switch.plug(&port, mac)?;
        self.add_interface(name, subnet, number, (switch.ns().clone(), port))
    }

    /// Connects a new interface of this host directly to a new one of `other`; both are given as
    /// name and number in `subnet`.
    ///
    /// # Errors
    /// When a command fails; its output is in the message.
    pub fn connect(
        &mut self,
        (name, number): (&str, u8),
        other: &mut Self,
        (other_name, other_number): (&str, u8),
        subnet: Subnet,
        mtu: u32,
    ) -> Result<()> {
        let mac = |number| Mac::for_address(HOST_MAC, subnet.v4(number));
        link::cable(
            End { ns: &self.ns, interface: name, mac: mac(number) },
            End { ns: &other.ns, interface: other_name, mac: mac(other_number) },
            mtu,
        )?;
        let (here, there) = (self.ns.clone(), other.ns.clone());
        self.add_interface(name, subnet, number, (there, other_name.to_owned()))?;
        other.add_interface(other_name, subnet, other_number, (here, name.to_owned()))
    }

    fn add_interface(
        &mut self,
        name: &str,
        subnet: Subnet,
        number: u8,
        peer: (Netns, String),
    ) -> Result<()> {
        let (v4, v6) = (subnet.v4(number), subnet.v6(number));
        let mac = Mac::for_address(HOST_MAC, v4);
        link::batch(
            &self.ns,
            "ip",
            &[format!("addr add {v4}/24 dev {name}"), format!("addr add {v6}/64 dev {name} nodad")],
        )?;
        self.interfaces.push(Interface { name: name.to_owned(), mac, v4, v6, peer });
        Ok(())
    }

    /// The interface with this name.
    ///
    /// # Errors
    /// When the host has none.
    pub fn interface(&self, name: &str) -> Result<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
            .with_context(|| format!("{} has no interface {name}", self.name))
    }

    /// Its first interface's IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.interfaces.first().map_or(Ipv4Addr::UNSPECIFIED, |first| first.v4).into()
    }

    /// Its first interface's IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.interfaces.first().map_or(Ipv6Addr::UNSPECIFIED, |first| first.v6).into()
    }

    /// Its first interface's Ethernet address.
    pub fn mac(&self) -> Mac {
        self.interfaces.first().map_or(Mac::default(), |first| first.mac)
    }

    /// Adds routes: `default via 10.10.0.1`, `-6 default via …`.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn add_routes(&self, routes: &[String]) -> Result<()> {
        let lines: Vec<_> = routes.iter().map(|route| format!("route add {route}")).collect();
        link::batch(&self.ns, "ip", &lines)
    }

    /// Adds default routes of both families through number `router` of `subnet`.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn add_default_routes(&self, subnet: Subnet, router: u8) -> Result<()> {
        self.add_routes(&[
            format!("default via {}", subnet.v4(router)),
            format!("default via {}", subnet.v6(router)),
        ])
    }

    /// Puts `vip` on `lo`: this host takes packets for it, but does not announce it.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn hold_vip(&self, vip: IpAddr) -> Result<()> {
        let (length, nodad) = if vip.is_ipv4() { (32, "") } else { (128, "nodad") };
        self.ns.ip(&format!("addr add {vip}/{length} dev lo {nodad}")).map(drop)
    }

    /// Takes `vip` off `lo`.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn release_vip(&self, vip: IpAddr) -> Result<()> {
        let length = if vip.is_ipv4() { 32 } else { 128 };
        self.ns.ip(&format!("addr del {vip}/{length} dev lo")).map(drop)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11}", self.name)?;
        for Interface { name, v4, v6, mac, .. } in &self.interfaces {
            write!(f, " {name}: {v4} {v6} ({mac})")?;
        }
        Ok(())
    }
}
