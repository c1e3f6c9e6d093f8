//! `sluice explain`: the data path's steps for one flow, taken from the same maps and with the same hash.

use std::net::IpAddr;

use lb_common::{
    address::Address,
    backend::{BACKEND_DOWN, BACKEND_ON_LINK, BACKEND_RESOLVED},
    hash,
    service::SERVICE_L2,
};

use super::core::{Core, mac};
use crate::{
    admin::{
        InspectError,
        view::{ExplainRequest, ExplainStep, ExplainVerdict, ExplainView},
    },
    desired::{Service, ServiceKey, SessionAffinity},
    plan::ServiceView,
};

/// The steps taken so far.
#[derive(Default)]
struct Story(Vec<ExplainStep>);

impl Story {
    fn tell(&mut self, stage: &str, result: impl ToString, why: impl ToString) {
        self.0.push(ExplainStep {
            stage: stage.into(),
            result: result.to_string(),
            why: why.to_string(),
        });
    }

    fn end(self, verdict: ExplainVerdict, backend: Option<IpAddr>) -> ExplainView {
        ExplainView { steps: self.0, verdict, backend, endpoint: None }
    }
}

/// Explains a flow.
///
/// # Errors
/// When client and VIP are of different families.
pub fn explain(core: &Core, request: &ExplainRequest) -> Result<ExplainView, InspectError> {
    if request.client.is_ipv4() != request.vip.is_ipv4() {
        return Err(InspectError::BadRequest(format!(
            "client {} and VIP {} are of different families",
            request.client, request.vip
        )));
    }
    let mut story = Story::default();
    if !super::inspect::vips(core).contains(&request.vip) {
        story.tell("vip", "not a VIP", "the configuration names no service with this address");
        return Ok(story.end(ExplainVerdict::Pass, None));
    }
    match core.held.get(&request.vip) {
        Some(held) => story.tell(
            "vip",
            format!("owned, on {}", held.interface),
            "this agent answers ARP and NDP for it",
        ),
        None => {
            story.tell("vip", "not owned here", "this agent does not answer ARP and NDP for it")
        }
    }
    if !core.config.agent.edge {
        story.tell(
            "edge",
            "no",
            "edge: false: this node does not balance; the kernel gets the packet",
        );
        return Ok(story.end(ExplainVerdict::Pass, None));
    }
    let exact = ServiceKey { vip: request.vip, port: request.port, protocol: request.protocol };
    let every_port = ServiceKey { port: 0, ..exact };
    let found = [(exact, "names this port"), (every_port, "takes every port that no other names")]
        .into_iter()
        .find_map(|(key, why)| Some((key, core.desired.services.get(&key)?, why)));
    let Some((key, service, why)) = found else {
        story.tell(
            "service",
            "none",
            format!("no service of {} has port {}/{}", request.vip, request.port, request.protocol),
        );
        let reject = core.tables.vip_record(request.vip).flags & lb_common::vip::VIP_REJECT != 0;
        return Ok(story.end(refused(reject), None));
    };
    story.tell("service", &service.name, format!("it {why}"));
    if !allowed(service, request.client) {
        story.tell("sourceRanges", "not allowed", "no range of the service contains the client");
        return Ok(story.end(ExplainVerdict::Drop, None));
    }
    if !service.source_ranges.is_empty() {
        story.tell("sourceRanges", "allowed", "a range of the service contains the client");
    }
    let view = core.planner.services().find(|view| view.key == key);
    let Some((view, (_, length))) =
        view.and_then(|view| Some((view.table?, view)).map(|(t, v)| (v, t)))
    else {
        story.tell("backends", "none", "the service has no endpoint that takes flows");
        return Ok(story.end(refused(service.reject), None));
    };
    let Some(hash) = flow_hash(core, request, service) else {
        story.tell(
            "hash",
            "depends on the client's port",
            "name it (ADDRESS:PORT) to see which backend the flow gets",
        );
        return Ok(story.end(ExplainVerdict::Depends, None));
    };
    story.tell(
        "hash",
        format!("{hash:016x}"),
        match service.affinity {
            SessionAffinity::None => "keyed hash of addresses, ports and protocol",
            SessionAffinity::ClientIp => "keyed hash of client and VIP: session affinity ClientIP",
        },
    );
    Ok(through_slot(core, story, &view, hash, length))
}

fn refused(reject: bool) -> ExplainVerdict {
    if reject { ExplainVerdict::Refuse } else { ExplainVerdict::Drop }
}

fn allowed(service: &Service, client: IpAddr) -> bool {
    service.source_ranges.is_empty()
        || service.source_ranges.iter().any(|range| range.contains(&client))
}

fn flow_hash(core: &Core, request: &ExplainRequest, service: &Service) -> Option<u64> {
    let client_only = service.affinity == SessionAffinity::ClientIp;
    let client_port = match (request.client_port, client_only) {
        (Some(port), _) => port,
        (None, true) => 0,
        (None, false) => return None,
    };
    let [a, b] = client_port.to_be_bytes();
    let [c, d] = request.port.to_be_bytes();
    let ports = u32::from_ne_bytes([a, b, c, d]);
    let protocol = request.protocol.number();
    let key = core.edge_seed;
    Some(match (request.client, request.vip) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let (client, vip) =
                (u32::from_ne_bytes(client.octets()), u32::from_ne_bytes(vip.octets()));
            if client_only {
                hash::client_v4(key, client, vip)
            } else {
                hash::flow_v4(key, client, vip, ports, protocol)
            }
        }
        (client, vip) => {
            let (client, vip) = (Address::from(client).words(), Address::from(vip).words());
            if client_only {
                hash::client_v6(key, client, vip)
            } else {
                hash::flow_v6(key, client, vip, ports, protocol)
            }
        }
    })
}

fn through_slot(
    core: &Core,
    mut story: Story,
    view: &ServiceView,
    hash: u64,
    length: u32,
) -> ExplainView {
    let index = hash::slot_index(hash, length);
    let Some(slot) = core.planner.slot(view.id, index) else {
        story.tell("slot", "none", "the table changed while this was asked; ask again");
        return story.end(ExplainVerdict::Drop, None);
    };
    let address = |id: u32| core.placed.get(&id).map(|placed| placed.address);
    let name = |id: u32| address(id).map_or_else(|| format!("backend {id}"), |at| at.to_string());
    let mut chosen = slot.current;
    if slot.is_moved() {
        story.tell(
            "slot",
            format!(
                "{index} of {length}: moved from {} to {}",
                name(slot.previous_backend()),
                name(slot.current)
            ),
            "flows that began before the move keep their backend",
        );
        match remembered(core, view.id, hash) {
            Some(backend) => {
                story.tell("flowMemory", name(backend), "the flow is remembered");
                chosen = backend;
            }
            None => story.tell(
                "flowMemory",
                "not remembered",
                format!(
                    "a new flow goes to {}, one that began before the move to {}",
                    name(slot.current),
                    name(slot.previous_backend())
                ),
            ),
        }
    } else {
        story.tell(
            "slot",
            format!("{index} of {length}: {}", name(chosen)),
            "it has not moved: no memory is asked",
        );
    }
    let record = core.tables.backend(chosen);
    let backend = address(chosen);
    if record.flags & BACKEND_RESOLVED == 0 {
        let why = backend
            .and_then(|at| core.next_hops.get(&at)?.as_ref().err().cloned())
            .unwrap_or_else(|| "its next hop is not known yet".into());
        story.tell("backend", name(chosen), why);
        return story.end(ExplainVerdict::Drop, backend);
    }
    let state = if record.flags & BACKEND_DOWN == 0 { "up" } else { "down, but there is no other" };
    story.tell("backend", name(chosen), state);
    let l2 = view.flags & SERVICE_L2 != 0;
    if l2 && record.flags & BACKEND_ON_LINK == 0 {
        story.tell("forward", "impossible", "forwarding: l2 needs a backend on the same link");
        return story.end(ExplainVerdict::Drop, backend);
    }
    let how = if l2 { "MAC address rewritten" } else { "IP-in-IP" };
    story.tell(
        "forward",
        format!("{how}, to {}", mac(record.next_hop_mac)),
        format!("interface index {}, MTU {}", record.ifindex, record.mtu),
    );
    story.end(ExplainVerdict::Forward, backend)
}

fn remembered(core: &Core, service: u32, hash: u64) -> Option<u32> {
    let (entry, ..) = core.tables.remembered().find(|(entry, ..)| {
        entry.fingerprint() == hash && u32::from(entry.service) == service && core.is_current(entry)
    })?;
    Some(u32::from(entry.backend))
}
