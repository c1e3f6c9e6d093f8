//! The laboratory: client, router, LAN, edges and servers, wired together.
//!
//! ```text
//!  client ── [gate ──narrow──] router ──┬── LAN switch ──┬── edge-1…
//!                                       │                ├── server-1…
//!                                       │                └── far-router ── far switch ── server…
//!                                       └── second LAN switch ──┬── edge-1… (eth1)
//!                                                               └── server…
//! ```
//!
//! Servers answer the client through a router, never through an edge. [`crate::addresses`] says
//! who has which address.

use std::{fmt, net::IpAddr};

use anyhow::Result;

use crate::{
    addresses::{
        CLIENT, CLIENT_HOST, FAR, FAR_ROUTER_HOST, FIRST_EDGE, FIRST_SERVER, LAN, NARROW,
        ROUTED_VIPS, ROUTER_HOST, SECOND_LAN, Subnet, vip4, vip6,
    },
    client::Client,
    host::{Host, Role},
    link::Switch,
    names::Scope,
    netns::Netns,
    stale,
};

/// Interface of edges and servers on their (first) LAN.
pub const ETH0: &str = "eth0";
/// Interface of edges on the second LAN.
pub const ETH1: &str = "eth1";
/// MTU of Ethernet.
const ETHERNET_MTU: u32 = 1500;

/// What to build.
#[derive(Clone, Debug)]
pub struct Builder {
    scope: Option<String>,
    edges: u8,
    servers: u8,
    second_lan_servers: u8,
    far_servers: u8,
    mtu: u32,
    narrow_mtu: Option<u32>,
    far_mtu: Option<u32>,
    vips: Vec<IpAddr>,
}

/// A running laboratory. Dropping it removes its namespaces, unless it was built to be kept.
#[derive(Debug)]
pub struct Lab {
    /// Who asks.
    pub client: Host,
    /// The router between client and narrow hop, if there is one.
    pub gate: Option<Host>,
    /// The router between client and LANs; its interface on the LAN is `lan`.
    pub router: Host,
    /// The edges.
    pub edges: Vec<Host>,
    /// The servers: those on the LAN, then those on the second LAN, then the far ones.
    pub servers: Vec<Host>,
    /// The router before the far servers, if there are any.
    pub far_router: Option<Host>,
    /// The LAN; its ports have the hosts' names.
    pub lan: Switch,
    /// The second LAN, if there is one.
    pub second_lan: Option<Switch>,
    far: Option<Switch>,
    scope: Scope,
}

impl Builder {
    /// Number of edges; 1 if not said.
    pub const fn edges(mut self, n: u8) -> Self {
        self.edges = n;
        self
    }

    /// Number of servers on the LAN; 2 if not said.
    pub const fn servers(mut self, n: u8) -> Self {
        self.servers = n;
        self
    }

    /// Number of servers behind the edges' second interface.
    pub const fn second_lan_servers(mut self, n: u8) -> Self {
        self.second_lan_servers = n;
        self
    }

    /// Number of servers behind another router.
    pub const fn far_servers(mut self, n: u8) -> Self {
        self.far_servers = n;
        self
    }

    /// MTU of every cable, in bytes.
    pub const fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Puts a hop with this MTU between router and client, which neither end sees at its interface.
    pub const fn narrow_hop(mut self, mtu: u32) -> Self {
        self.narrow_mtu = Some(mtu);
        self
    }

    /// MTU behind the far router.
    pub const fn far_mtu(mut self, mtu: u32) -> Self {
        self.far_mtu = Some(mtu);
        self
    }

    /// VIPs that every server holds; the first of the LAN in both families if not said.
    pub fn vips(mut self, vips: impl IntoIterator<Item = IpAddr>) -> Self {
        self.vips = vips.into_iter().collect();
        self
    }

    /// Keeps the namespaces beyond this process, under names that start with `prefix`.
    pub fn kept(mut self, prefix: &str) -> Self {
        self.scope = Some(prefix.to_owned());
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// When a command fails or the caller is not root; what was built so far is removed again.
    pub fn build(self) -> Result<Lab> {
        stale::clear_once();
        let wiring = Wiring::new(&self);
        let mtu = self.mtu;

        let lan = wiring.switch("lan")?;
        let second_lan =
            self.second_lan_servers.gt(&0).then(|| wiring.switch("lan2")).transpose()?;
        let far = self.far_servers.gt(&0).then(|| wiring.switch("far")).transpose()?;

        let mut router = wiring.host("router", Role::Router)?;
        router.plug("lan", LAN, ROUTER_HOST, &lan, mtu)?;
        if let Some(second_lan) = &second_lan {
            router.plug("lan2", SECOND_LAN, ROUTER_HOST, second_lan, mtu)?;
        }
        router.add_routes(&[
            format!("{} dev lan", ROUTED_VIPS.v4_net()),
            format!("{} dev lan", ROUTED_VIPS.v6_net()),
        ])?;
        let (client, gate) = self.client_side(&wiring, &mut router)?;
        let far_router = match &far {
            Some(far) => Some(self.far_router(&wiring, &router, &lan, far)?),
            None => None,
        };

        let mut edges = Vec::new();
        for n in 0..self.edges {
            let mut edge = wiring.host(&format!("edge-{}", n + 1), Role::EndSystem)?;
            edge.plug(ETH0, LAN, FIRST_EDGE + n, &lan, mtu)?;
            if let Some(second_lan) = &second_lan {
                edge.plug(ETH1, SECOND_LAN, FIRST_EDGE + n, second_lan, mtu)?;
            }
            edge.add_default_routes(LAN, ROUTER_HOST)?;
            if far.is_some() {
                edge.add_routes(&routes_to(FAR, LAN, FAR_ROUTER_HOST))?;
            }
            edges.push(edge);
        }

        let far_mtu = self.far_mtu.unwrap_or(mtu);
        let places = [
            (Some(&lan), LAN, self.servers, mtu),
            (second_lan.as_ref(), SECOND_LAN, self.second_lan_servers, mtu),
            (far.as_ref(), FAR, self.far_servers, far_mtu),
        ];
        let mut servers = Vec::new();
        for (switch, subnet, count, mtu) in places {
            let Some(switch) = switch else { continue };
            for _ in 0..count {
                let index = servers.len() as u8;
                let mut server =
                    wiring.host(&format!("server-{}", index + 1), Role::DirectServer)?;
                server.plug(ETH0, subnet, FIRST_SERVER + index, switch, mtu)?;
                server.add_default_routes(subnet, ROUTER_HOST)?;
                self.vips.iter().try_for_each(|vip| server.hold_vip(*vip))?;
                servers.push(server);
            }
        }

        let scope = wiring.scope;
        Ok(Lab { client, gate, router, edges, servers, far_router, lan, second_lan, far, scope })
    }

    /// The client, and the gate if the way to it is narrow.
    fn client_side(&self, wiring: &Wiring, router: &mut Host) -> Result<(Host, Option<Host>)> {
        let mut client = wiring.host("client", Role::EndSystem)?;
        let mut gate = None;
        if let Some(narrow) = self.narrow_mtu {
            let mut host = wiring.host("gate", Role::Router)?;
            host.connect(("core", FAR_ROUTER_HOST), router, ("gate", ROUTER_HOST), NARROW, narrow)?;
            host.add_default_routes(NARROW, ROUTER_HOST)?;
            router.add_routes(&routes_to(CLIENT, NARROW, FAR_ROUTER_HOST))?;
            gate = Some(host);
        }
        let first_hop = gate.as_mut().unwrap_or(router);
        client.connect(
            (ETH0, CLIENT_HOST),
            first_hop,
            ("client", ROUTER_HOST),
            CLIENT,
            self.mtu,
        )?;
        client.add_default_routes(CLIENT, ROUTER_HOST)?;
        Ok((client, gate))
    }

    fn far_router(
        &self,
        wiring: &Wiring,
        router: &Host,
        lan: &Switch,
        far: &Switch,
    ) -> Result<Host> {
        let mut host = wiring.host("far-router", Role::Router)?;
        host.plug(ETH0, LAN, FAR_ROUTER_HOST, lan, self.mtu)?;
        host.plug(ETH1, FAR, ROUTER_HOST, far, self.far_mtu.unwrap_or(self.mtu))?;
        host.add_default_routes(LAN, ROUTER_HOST)?;
        router.add_routes(&routes_to(FAR, LAN, FAR_ROUTER_HOST))?;
        Ok(host)
    }
}

impl Lab {
    /// A laboratory with one edge and two servers, to be told what is to be different.
    pub fn builder() -> Builder {
        Builder {
            scope: None,
            edges: 1,
            servers: 2,
            second_lan_servers: 0,
            far_servers: 0,
            mtu: ETHERNET_MTU,
            narrow_mtu: None,
            far_mtu: None,
            vips: vec![vip4(0), vip6(0)],
        }
    }

    /// Removes what [`Builder::kept`] left behind, with the processes inside.
    pub fn remove_kept(prefix: &str) {
        let start = format!("{prefix}-");
        stale::remove_namespaces(|name| name.starts_with(&start));
    }

    /// The prefix of this laboratory's names.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Who asks, ready to ask.
    pub fn client(&self) -> Client {
        Client::new(&self.client.ns)
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        [&self.client]
            .into_iter()
            .chain(&self.gate)
            .chain([&self.router])
            .chain(&self.far_router)
            .chain(&self.edges)
            .chain(&self.servers)
    }

    /// Every namespace, the switches' included.
    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        let switches = [&self.lan].into_iter().chain(&self.second_lan).chain(&self.far);
        self.hosts().map(|host| &host.ns).chain(switches.map(Switch::ns))
    }
}

impl fmt::Display for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts().try_for_each(|host| writeln!(f, "{host}"))
    }
}

/// Routes of both families to `subnet` by way of number `router` of `way`.
fn routes_to(subnet: Subnet, way: Subnet, router: u8) -> [String; 2] {
    [
        format!("{} via {}", subnet.v4_net(), way.v4(router)),
        format!("{} via {}", subnet.v6_net(), way.v6(router)),
    ]
}

/// Names and creates namespaces.
struct Wiring {
    scope: Scope,
    kept: bool,
    mtu: u32,
}

impl Wiring {
    fn new(builder: &Builder) -> Self {
        Self {
            scope: builder.scope.as_deref().map_or_else(Scope::unique, Scope::fixed),
            kept: builder.scope.is_some(),
            mtu: builder.mtu,
        }
    }

    fn namespace(&self, name: &str) -> Result<Netns> {
        let name = self.scope.name(name);
        if self.kept { Netns::create_kept(&name) } else { Netns::create(&name) }
    }

    fn host(&self, name: &str, role: Role) -> Result<Host> {
        Host::new(name, self.namespace(name)?, role)
    }

    fn switch(&self, name: &str) -> Result<Switch> {
        Switch::new(self.namespace(name)?, self.mtu)
    }
}
