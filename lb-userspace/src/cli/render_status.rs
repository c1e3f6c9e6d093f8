//! `sluice status` for people.

use std::{fmt::Write, time::Duration};

use comfy_table::Cell;

use super::render::{
    Column::Left, Render, Style, Tone, Word, count, maybe, span, state, table, text,
};
use crate::admin::view::{
    Counts, InterfaceStatus, Member, SourceState, SourceStatus, StatusView, XdpMode,
};

impl Render for StatusView {
    fn render(&self, style: &Style) -> String {
        let uptime = span(Duration::from_secs(self.uptime_seconds));
        let role = if self.edge { "edge" } else { "delivers only" };
        let ready = match &self.not_ready {
            None => state("yes", Tone::Good),
            Some(why) => state(format_args!("no: {why}"), Tone::Warning),
        };
        let rows = vec![
            vec![text("Node:"), text(format_args!("{} ({role})", self.node))],
            vec![text("Agent:"), text(format_args!("version {}, up for {uptime}", self.version))],
            vec![text("Ready:"), ready],
            vec![text("Source:"), source(&self.source, style)],
            vec![text("Balancing:"), text(balancing(&self.counts))],
        ];
        let mut out = table(&[], rows, style);
        for error in &self.source.errors {
            // Writing to a string does not fail.
            let _ = writeln!(out, "  {error}");
        }
        out.push('\n');
        out.push_str(&interfaces(&self.interfaces, style));
        if !self.members.is_empty() {
            out.push('\n');
            out.push_str(&members(&self.members, style));
        }
        out
    }
}

fn source(source: &SourceStatus, style: &Style) -> Cell {
    let applied = match source.last_applied {
        Some(then) => format!("last applied {} ago", span(then.age(style.now))),
        None => "nothing applied yet".to_owned(),
    };
    let (tone, news) = match source.state {
        SourceState::Synced => (Tone::Good, ""),
        SourceState::Pending => (Tone::Warning, ""),
        SourceState::Refused => (Tone::Bad, ", the newest state is refused:"),
    };
    state(format_args!("{}, {}, {applied}{news}", source.kind, Word(&source.state)), tone)
}

fn balancing(counts: &Counts) -> String {
    format!(
        "{} ({} owned), {}, {}, {}",
        count(counts.vips, "VIP"),
        counts.owned_vips,
        count(counts.services, "service"),
        count(counts.backends, "backend"),
        count(counts.moved_slots, "moved slot"),
    )
}

fn interfaces(interfaces: &[InterfaceStatus], style: &Style) -> String {
    if interfaces.is_empty() {
        return "No interface is configured.\n".to_owned();
    }
    let mode = |interface: &InterfaceStatus| match interface.xdp_mode {
        Some(XdpMode::Native) => state("native", Tone::Good),
        Some(XdpMode::Generic) => state("generic", Tone::Warning),
        None => state("not attached", Tone::Bad),
    };
    let rows = interfaces.iter().map(|one| vec![text(&one.name), mode(one)]).collect();
    table(&[Left("INTERFACE"), Left("XDP")], rows, style)
}

fn members(members: &[Member], style: &Style) -> String {
    let tone = |member: &Member| match member.state.as_str() {
        "alive" => Tone::Good,
        "dead" => Tone::Bad,
        _ => Tone::Warning,
    };
    let row =
        |one: &Member| vec![text(&one.node), maybe(one.address), state(&one.state, tone(one))];
    table(
        &[Left("MEMBER"), Left("ADDRESS"), Left("STATE")],
        members.iter().map(row).collect(),
        style,
    )
}
