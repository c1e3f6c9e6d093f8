//! A whole cluster ready to be asked: a lab, web servers that hold the VIPs, and an agent on every host that needs one.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};

use crate::{
    addresses::{vip4, vip6},
    agent::Agent,
    config::{Config, Service},
    host::Host,
    servers::WebServer,
    topology::{Builder, Lab},
};

/// One edge, `n` plain servers, and two services on port 80: `shop/web` through IP-in-IP and `shop/static` through L2.
pub struct Cluster {
    /// The agent of the edge.
    pub edge: Agent,
    /// Agents that strip tunnel packets on the servers.
    pub decapsulators: Vec<Agent>,
    /// One nginx on each server.
    pub web: Vec<WebServer>,
    /// The network, taken down last.
    pub lab: Lab,
}

impl Cluster {
    /// Number of the VIPs of `shop/web`.
    pub const IPIP: u8 = 0;
    /// Number of the VIPs of `shop/static`.
    pub const L2: u8 = 1;

    /// Builds it and waits until every part is ready.
    ///
    /// # Errors
    /// When any part does not start.
    pub fn start(servers: u8) -> Result<Self> {
        Self::on(Self::laboratory(servers).build()?, |_, config| config)
    }

    /// The laboratory that [`Cluster::on`] expects.
    pub fn laboratory(servers: u8) -> Builder {
        let vips = [Self::IPIP, Self::L2].map(|number| [vip4(number), vip6(number)]).concat();
        Lab::builder().servers(servers).vips(vips)
    }

    /// The same on a laboratory that has been built; `place` may say where an agent keeps its things.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn on(lab: Lab, place: impl Fn(&Host, Config) -> Config) -> Result<Self> {
        let web = WebServer::start_all(&lab.servers)?;
        let agent = |host: &Host, config| {
            Agent::start(&host.ns, place(host, config)).with_context(|| host.name.clone())
        };
        let decapsulators = lab
            .servers
            .iter()
            .map(|server| agent(server, Config::decapsulator(server, &lab.edges)))
            .collect::<Result<_>>()?;
        let edge = agent(&lab.edges[0], config(&lab, &lab.servers))?;
        Ok(Self { edge, decapsulators, web, lab })
    }

    /// The edge's configuration with only some of the servers.
    pub fn config_with(&self, servers: &[Host]) -> Config {
        config(&self.lab, servers)
    }

    /// Port 80 of all four VIPs, with how packets travel.
    pub fn targets() -> [(&'static str, SocketAddr); 4] {
        let port = |vip: IpAddr| SocketAddr::new(vip, 80);
        [
            ("ipip", port(vip4(Self::IPIP))),
            ("ipip", port(vip6(Self::IPIP))),
            ("l2", port(vip4(Self::L2))),
            ("l2", port(vip6(Self::L2))),
        ]
    }
}

fn config(lab: &Lab, servers: &[Host]) -> Config {
    let service = |name: &str, number: u8| {
        let addresses = servers.iter().map(Host::v4);
        Service::named(name).vip(vip4(number)).vip(vip6(number)).tcp(80).servers(addresses)
    };
    Config::edge(&lab.edges[0])
        .service(service("shop/web", Cluster::IPIP).ipip())
        .service(service("shop/static", Cluster::L2).l2())
}
