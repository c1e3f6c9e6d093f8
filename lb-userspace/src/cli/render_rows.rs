//! The read commands that answer with a list.

use std::{net::SocketAddr, time::Duration};

use comfy_table::Cell;

use super::render::{
    Column::{self, Left, Right},
    Render, Style, Tone, Word, age, bytes, duration, maybe, number, state, table, text,
};
use crate::admin::view::{
    BackendRow, BackendState, BackendsView, DropVerdict, DropsView, FlowRow, FlowsView, ServiceRow,
    ServiceState, ServicesView, Vip, VipState, VipsView,
};

/// A table, or a sentence where there is nothing to show.
fn list<R>(
    rows: impl IntoIterator<Item = R>,
    columns: &[Column],
    row: impl Fn(R) -> Vec<Cell>,
    nothing: &str,
    style: &Style,
) -> String {
    let rows: Vec<_> = rows.into_iter().map(row).collect();
    if rows.is_empty() { format!("{nothing}\n") } else { table(columns, rows, style) }
}

impl Render for VipsView {
    fn render(&self, style: &Style) -> String {
        let row = |vip: &Vip| {
            let tone = match vip.state {
                VipState::Owned => Tone::Good,
                VipState::Standby => Tone::Neutral,
                VipState::Pending => Tone::Warning,
                VipState::Conflict => Tone::Bad,
            };
            vec![
                text(vip.address),
                state(Word(&vip.state), tone),
                maybe(vip.owner.as_ref()),
                maybe(vip.interface.as_ref()),
                age(vip.since, style),
                maybe(vip.conflict_with.as_ref()),
            ]
        };
        list(
            &self.vips,
            &[
                Left("VIP"),
                Left("STATE"),
                Left("OWNER"),
                Left("INTERFACE"),
                Right("FOR"),
                Left("CONFLICT WITH"),
            ],
            row,
            "There are no VIPs: no service is configured.",
            style,
        )
    }
}

/// What a service's packets are matched against; `*` stands for every port that no other service names.
fn matched(service: &ServiceRow) -> String {
    let end = SocketAddr::new(service.vip, service.port).to_string();
    match end.strip_suffix(":0") {
        Some(vip) => format!("{vip}:*/{}", service.protocol),
        None => format!("{end}/{}", service.protocol),
    }
}

impl Render for ServicesView {
    fn render(&self, style: &Style) -> String {
        let row = |service: &ServiceRow| {
            let tone = match service.state {
                ServiceState::Ready => Tone::Good,
                ServiceState::Passed => Tone::Warning,
                ServiceState::Empty => Tone::Bad,
            };
            let name = match &service.port_name {
                Some(port) => format!("{}:{port}", service.name),
                None => service.name.clone(),
            };
            vec![
                text(name),
                text(matched(service)),
                state(Word(&service.state), tone),
                text(Word(&service.forwarding)),
                number(service.backends),
                number(service.moved_slots),
                number(service.packets),
                bytes(service.bytes),
                number(service.new_flows),
            ]
        };
        list(
            &self.services,
            &[
                Left("SERVICE"),
                Left("VIP"),
                Left("STATE"),
                Left("FORWARDING"),
                Right("BACKENDS"),
                Right("MOVED SLOTS"),
                Right("PACKETS"),
                Right("BYTES"),
                Right("NEW FLOWS"),
            ],
            row,
            "There are no services.",
            style,
        )
    }
}

impl Render for BackendsView {
    fn render(&self, style: &Style) -> String {
        let row = |backend: &BackendRow| {
            let tone = match backend.state {
                BackendState::Up => Tone::Good,
                BackendState::Draining => Tone::Warning,
                BackendState::Down => Tone::Bad,
            };
            vec![
                text(backend.address),
                maybe(backend.node.as_ref()),
                text(Word(&backend.kind)),
                state(Word(&backend.state), tone),
                text(Word(&backend.forwarding)),
                number(backend.weight),
                maybe(backend.next_hop.interface.as_ref()),
                maybe(backend.next_hop.mac.as_ref()),
                number(backend.packets),
                bytes(backend.bytes),
                number(backend.new_flows),
                text(backend.reason.as_deref().unwrap_or_default()),
            ]
        };
        list(
            &self.backends,
            &[
                Left("BACKEND"),
                Left("NODE"),
                Left("KIND"),
                Left("STATE"),
                Left("FORWARDING"),
                Right("WEIGHT"),
                Left("INTERFACE"),
                Left("NEXT HOP"),
                Right("PACKETS"),
                Right("BYTES"),
                Right("NEW FLOWS"),
                Left("REASON"),
            ],
            row,
            "There are no backends.",
            style,
        )
    }
}

impl Render for FlowsView {
    fn render(&self, style: &Style) -> String {
        let row = |flow: &FlowRow| {
            let target = match (flow.endpoint, flow.backend) {
                (Some(endpoint), _) => Some(endpoint.to_string()),
                (None, backend) => backend.map(|backend| backend.to_string()),
            };
            vec![
                text(flow.client),
                text(format_args!("{}/{}", flow.vip, flow.protocol)),
                maybe(target),
                text(Word(&flow.level)),
                duration(Duration::from_secs(flow.idle_seconds)),
            ]
        };
        list(
            &self.flows,
            &[Left("CLIENT"), Left("VIP"), Left("GOES TO"), Left("LEVEL"), Right("IDLE")],
            row,
            "No flow is remembered: no slot has moved recently, so every flow is placed by its hash alone.",
            style,
        )
    }
}

impl Render for DropsView {
    fn render(&self, style: &Style) -> String {
        let seen = self.drops.iter().filter(|drop| drop.packets > 0);
        list(
            seen,
            &[Left("REASON"), Left("VERDICT"), Right("PACKETS")],
            |drop| {
                let tone = match drop.verdict {
                    DropVerdict::Drop => Tone::Bad,
                    DropVerdict::Refuse => Tone::Warning,
                    DropVerdict::Pass => Tone::Neutral,
                };
                vec![text(&drop.reason), state(Word(&drop.verdict), tone), number(drop.packets)]
            },
            "No packet was dropped, refused or passed on.",
            style,
        )
    }
}
