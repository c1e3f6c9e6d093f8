//! The interfaces the configuration names: what they are, and which one a VIP belongs to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::Path,
};

use futures::TryStreamExt;
use ipnet::IpNet;

use crate::{
    dataplane::neighbours::route::{self, Link},
    ownership::frames::Mac,
};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// Largest IP packet it takes, in bytes.
    pub mtu: u32,
    /// Name of its driver, or the kind of virtual device; `None` if neither is known.
    pub driver: Option<String>,
    /// Its usable addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
}

/// Why the configured interfaces cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InterfacesError {
    /// No names at all.
    #[error("interfaces: name at least one; this host has {}", list(existing))]
    Empty {
        /// Names of the Ethernet interfaces that exist.
        existing: Vec<String>,
    },
    /// No such interface.
    #[error("interfaces: there is no {name:?}; this host has {}", list(existing))]
    Missing {
        /// The name asked for.
        name: String,
        /// Names of the Ethernet interfaces that exist.
        existing: Vec<String>,
    },
    /// Not an Ethernet.
    #[error("interfaces: {name:?} is not an Ethernet; this host has {}", list(existing))]
    NotEthernet {
        /// The name asked for.
        name: String,
        /// Names of the Ethernet interfaces that exist.
        existing: Vec<String>,
    },
    /// No netlink socket.
    #[error("interfaces: cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel refused to list them.
    #[error("interfaces: cannot list this host's interfaces")]
    List(#[source] rtnetlink::Error),
}

/// Looks up interfaces by name in the calling thread's network namespace, in the order given.
///
/// # Errors
/// When a name is missing or no Ethernet, when there is none, or when netlink fails.
pub async fn resolve(names: &[String]) -> Result<Vec<Interface>, InterfacesError> {
    let (connection, netlink, _) = rtnetlink::new_connection().map_err(InterfacesError::Open)?;
    tokio::spawn(connection);
    let links: Vec<_> =
        netlink.link().get().execute().try_collect().await.map_err(InterfacesError::List)?;
    let messages: Vec<_> =
        netlink.address().get().execute().try_collect().await.map_err(InterfacesError::List)?;
    let mut addresses: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
    for (ifindex, net) in messages.into_iter().filter_map(route::read_address) {
        addresses.entry(ifindex).or_default().push(net);
    }
    let links: BTreeMap<u32, Link> = links.into_iter().filter_map(Link::read).collect();
    select(names, &links, &addresses)
}

/// Every address of this network namespace but loopback's own.
///
/// # Errors
/// When netlink fails.
pub async fn local_addresses() -> Result<BTreeSet<IpAddr>, InterfacesError> {
    let (connection, netlink, _) = rtnetlink::new_connection().map_err(InterfacesError::Open)?;
    tokio::spawn(connection);
    let messages: Vec<_> =
        netlink.address().get().execute().try_collect().await.map_err(InterfacesError::List)?;
    let addresses = messages.into_iter().filter_map(route::read_address);
    Ok(addresses.map(|(_, net)| net.addr()).filter(|address| !address.is_loopback()).collect())
}

fn select(
    names: &[String],
    links: &BTreeMap<u32, Link>,
    addresses: &BTreeMap<u32, Vec<IpNet>>,
) -> Result<Vec<Interface>, InterfacesError> {
    let existing = || {
        links
            .values()
            .filter(|link| link.mac.is_some() && link.name != "lo")
            .map(|l| l.name.clone())
            .collect()
    };
    if names.is_empty() {
        return Err(InterfacesError::Empty { existing: existing() });
    }
    names
        .iter()
        .map(|name| {
            let found = links.iter().find(|(_, link)| link.name == *name);
            let (&ifindex, link) = found.ok_or_else(|| InterfacesError::Missing {
                name: name.clone(),
                existing: existing(),
            })?;
            let mac = link.mac.ok_or_else(|| InterfacesError::NotEthernet {
                name: name.clone(),
                existing: existing(),
            })?;
            let kind = || link.kind.as_ref().map(ToString::to_string);
            Ok(Interface {
                name: name.clone(),
                ifindex,
                mac,
                mtu: link.mtu,
                driver: driver(name, ifindex).or_else(kind),
                addresses: addresses.get(&ifindex).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

/// The interface a VIP is announced on: the one with the narrowest subnet that contains it, else the first configured one.
/// `None` only for an empty slice, which [`resolve`] never returns.
pub fn interface_for(vip: IpAddr, interfaces: &[Interface]) -> Option<&Interface> {
    let narrowest = |interface: &Interface| {
        let nets = interface.addresses.iter().filter(|net| net.contains(&vip));
        nets.map(IpNet::prefix_len).max()
    };
    let mut best: Option<(u8, &Interface)> = None;
    for interface in interfaces {
        if let Some(length) = narrowest(interface)
            && best.is_none_or(|(so_far, _)| length > so_far)
        {
            best = Some((length, interface));
        }
    }
    best.map(|(_, interface)| interface).or_else(|| interfaces.first())
}

/// The driver of a physical interface. The mounted `/sys` may be another network namespace's, so the index must agree.
fn driver(name: &str, ifindex: u32) -> Option<String> {
    let directory = Path::new("/sys/class/net").join(name);
    let index = fs::read_to_string(directory.join("ifindex")).ok()?;
    if index.trim().parse() != Ok(ifindex) {
        return None;
    }
    let target = fs::read_link(directory.join("device/driver")).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        Interface {
            name: name.into(),
            ifindex: 2,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            driver: None,
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    fn chosen(vip: &str, interfaces: &[Interface]) -> String {
        interface_for(vip.parse().unwrap(), interfaces).unwrap().name.clone()
    }

    fn links() -> BTreeMap<u32, Link> {
        let link = |name: &str, mac| Link {
            name: name.into(),
            mac,
            mtu: 1500,
            up: true,
            vlan: None,
            kind: None,
        };
        BTreeMap::from([
            (1, link("lo", None)),
            (2, link("none-such0", Some([2, 0, 0, 0, 0, 1]))),
            (3, link("none-such1", Some([2, 0, 0, 0, 0, 2]))),
        ])
    }

    #[test]
    fn a_vip_belongs_to_the_interface_whose_subnet_contains_it() {
        let interfaces = [
            interface("eth0", &["10.0.0.1/24"]),
            interface("eth1", &["10.1.0.1/24", "fd01::1/64"]),
        ];
        assert_eq!(chosen("10.1.0.200", &interfaces), "eth1");
        assert_eq!(chosen("fd01::200", &interfaces), "eth1");
        assert_eq!(chosen("10.0.0.200", &interfaces), "eth0");
    }

    #[test]
    fn a_vip_of_no_subnet_belongs_to_the_first_interface() {
        let interfaces = [interface("eth1", &[]), interface("eth0", &["10.0.0.1/24"])];
        assert_eq!(chosen("192.0.2.1", &interfaces), "eth1");
    }

    #[test]
    fn the_narrowest_subnet_wins_and_of_equals_the_first() {
        let interfaces = [
            interface("wide", &["10.0.0.1/8"]),
            interface("narrow", &["10.0.0.1/24"]),
            interface("equal", &["10.0.0.2/24"]),
        ];
        assert_eq!(chosen("10.0.0.200", &interfaces), "narrow");
    }

    #[test]
    fn interfaces_come_in_the_order_of_their_names() {
        let names = ["none-such1".to_owned(), "none-such0".to_owned()];
        let addresses = BTreeMap::from([(3, vec!["10.0.0.1/24".parse().unwrap()])]);
        let found = select(&names, &links(), &addresses).unwrap();
        assert_eq!(found.iter().map(|i| i.ifindex).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(found[0].addresses, addresses[&3]);
    }

    #[test]
    fn a_wrong_name_is_told_with_the_right_ones() {
        let error = select(&["eth7".to_owned()], &links(), &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "interfaces: there is no \"eth7\"; this host has none-such0, none-such1"
        );
        let error = select(&["lo".to_owned()], &links(), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().starts_with("interfaces: \"lo\" is not an Ethernet"), "{error}");
        let error = select(&[], &links(), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().starts_with("interfaces: name at least one"), "{error}");
    }
}
