//! `sluice explain` for people: numbered steps, and what comes of them.

use super::render::{Render, Style, Tone, state, table, text};
use crate::admin::view::{ExplainVerdict, ExplainView};

impl Render for ExplainView {
    fn render(&self, style: &Style) -> String {
        let row = |(step, position): (&crate::admin::view::ExplainStep, u32)| {
            vec![
                text(format_args!("{position}.")),
                text(&step.stage),
                text(&step.result),
                text(&step.why),
            ]
        };
        let mut out = String::new();
        if !self.steps.is_empty() {
            out = table(&[], self.steps.iter().zip(1..).map(row).collect(), style);
            out.push('\n');
        }
        let (sentence, tone) = verdict(self);
        out.push_str(&table(&[], vec![vec![text("Verdict:"), state(sentence, tone)]], style));
        out
    }
}

fn verdict(view: &ExplainView) -> (String, Tone) {
    let backend = view.backend.map(|backend| format!(" to backend {backend}")).unwrap_or_default();
    let endpoint =
        view.endpoint.map(|endpoint| format!(", endpoint {endpoint}")).unwrap_or_default();
    match view.verdict {
        ExplainVerdict::Forward => (format!("forwarded{backend}{endpoint}"), Tone::Good),
        ExplainVerdict::Deliver => (format!("delivered here{backend}{endpoint}"), Tone::Good),
        ExplainVerdict::Depends => {
            ("depends on the client's port: give SRC:PORT".to_owned(), Tone::Warning)
        }
        ExplainVerdict::Pass => ("passed to the kernel untouched".to_owned(), Tone::Neutral),
        ExplainVerdict::Refuse => {
            ("refused: the client gets a TCP RST or an ICMP error".to_owned(), Tone::Warning)
        }
        ExplainVerdict::Drop => ("dropped: the client gets no answer".to_owned(), Tone::Bad),
    }
}
