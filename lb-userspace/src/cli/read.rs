//! Read commands: one question to the agent, one answer on standard output.

use std::{io::IsTerminal, process::ExitCode, time::SystemTime};

use super::{
    args::{Access, Output},
    render::{Render, Style},
};
use crate::admin::{
    AdminClient, ClientError,
    client::Answer,
    view::{
        BackendsView, DropsView, ExplainRequest, ExplainView, FlowsView, ServicesView, StatusView,
        VipsView,
    },
};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Status,
    Vips,
    Services,
    Backends,
    Flows,
    Drops,
    Explain(ExplainRequest),
}

impl Question {
    async fn ask(&self, client: &AdminClient) -> Result<Answer, ClientError> {
        match self {
            Self::Status => client.get("status").await,
            Self::Vips => client.get("vips").await,
            Self::Services => client.get("services").await,
            Self::Backends => client.get("backends").await,
            Self::Flows => client.get("flows").await,
            Self::Drops => client.get("drops").await,
            Self::Explain(request) => client.explain(request).await,
        }
    }

    fn table(&self, answer: &Answer, style: &Style) -> Result<String, ClientError> {
        match self {
            Self::Status => Ok(answer.view::<StatusView>()?.render(style)),
            Self::Vips => Ok(answer.view::<VipsView>()?.render(style)),
            Self::Services => Ok(answer.view::<ServicesView>()?.render(style)),
            Self::Backends => Ok(answer.view::<BackendsView>()?.render(style)),
            Self::Flows => Ok(answer.view::<FlowsView>()?.render(style)),
            Self::Drops => Ok(answer.view::<DropsView>()?.render(style)),
            Self::Explain(_) => Ok(answer.view::<ExplainView>()?.render(style)),
        }
    }
}

/// Asks, and prints the answer as asked for.
pub(super) fn run(question: &Question, access: &Access) -> ExitCode {
    let client = AdminClient::new(&access.socket());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let text = runtime
        .map_err(|error| format!("cannot start: {error}"))
        .and_then(|runtime| {
            runtime.block_on(question.ask(&client)).map_err(|error| error.to_string())
        })
        .and_then(|answer| match access.output() {
            Output::Json => Ok(answer.json + "\n"),
            Output::Table => question.table(&answer, &style()).map_err(|error| error.to_string()),
        });
    match text {
        Ok(text) => super::print(text.as_bytes()),
        Err(error) => super::failure(&error),
    }
}

/// Colours only where a person looks, and wants them (<https://no-color.org>).
fn style() -> Style {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let colours = std::io::stdout().is_terminal() && !unwanted && !dumb;
    Style { colours, now: SystemTime::now() }
}
