//! The socket's two ends together: every view over the wire, and the sentences of every failure.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::{
    admin::{AdminClient, ClientError, view::*},
    desired::Protocol,
};

/// An agent with nothing in it, that can be told to fail.
#[derive(Default)]
struct Fake {
    fails: Option<fn() -> InspectError>,
}

impl Fake {
    fn give<V>(&self, view: V) -> Result<V, InspectError> {
        self.fails.map_or(Ok(view), |error| Err(error()))
    }
}

impl Inspect for Fake {
    fn status(&self) -> Result<StatusView, InspectError> {
        panic!("a bug in the agent")
    }
    fn vips(&self) -> Result<VipsView, InspectError> {
        self.give(VipsView::default())
    }
    fn services(&self) -> Result<ServicesView, InspectError> {
        self.give(ServicesView::default())
    }
    fn backends(&self) -> Result<BackendsView, InspectError> {
        self.give(BackendsView::default())
    }
    fn flows(&self) -> Result<FlowsView, InspectError> {
        self.give(FlowsView::default())
    }
    fn drops(&self) -> Result<DropsView, InspectError> {
        self.give(DropsView::default())
    }
    fn explain(&self, request: &ExplainRequest) -> Result<ExplainView, InspectError> {
        self.give(ExplainView {
            steps: vec![],
            verdict: ExplainVerdict::Pass,
            backend: Some(request.client),
            endpoint: None,
        })
    }
}

struct Agent {
    directory: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Agent {
    fn start(fake: Fake) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = AdminSocket::bind(&directory.path().join("run/sluice.sock")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(socket.serve(Arc::new(fake), async {
            let _ = stopped.await;
        }));
        Self { directory, stop: Some(stop), task }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("run/sluice.sock")
    }

    fn client(&self) -> AdminClient {
        AdminClient::new(&self.path())
    }

    async fn stop(mut self) -> tempfile::TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.unwrap().unwrap().unwrap();
        self.directory
    }
}

fn question() -> ExplainRequest {
    ExplainRequest {
        client: "203.0.113.7".parse().unwrap(),
        client_port: None,
        vip: "192.0.2.10".parse().unwrap(),
        port: 80,
        protocol: Protocol::Tcp,
    }
}

#[tokio::test]
async fn every_list_is_one_object_with_one_list_named_after_the_command() {
    let agent = Agent::start(Fake::default());
    for name in ["vips", "services", "backends", "flows", "drops"] {
        let answer: Value = agent.client().get(name).await.unwrap().view().unwrap();
        assert_eq!(answer, json!({ name: [] }));
    }
    agent.stop().await;
}

#[tokio::test]
async fn explain_carries_its_question_to_the_agent() {
    let agent = Agent::start(Fake::default());
    let answer: ExplainView = agent.client().explain(&question()).await.unwrap().view().unwrap();
    assert_eq!(answer.backend, Some("203.0.113.7".parse().unwrap()));
    agent.stop().await;
}

#[tokio::test]
async fn the_agent_s_own_sentence_reaches_the_user() {
    for error in [
        || InspectError::BadRequest("the client is a multicast address".into()),
        || InspectError::NotReady("the first state is not applied yet".into()),
        || InspectError::Failed("cannot read map drops".into()),
    ] {
        let agent = Agent::start(Fake { fails: Some(error) });
        let got = agent.client().explain(&question()).await.unwrap_err();
        assert_eq!(got.to_string(), error().to_string());
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_panic_in_a_view_is_an_answer_and_the_socket_lives_on() {
    let agent = Agent::start(Fake::default());
    let got = agent.client().get("status").await.unwrap_err().to_string();
    assert!(got.starts_with("the agent failed: "), "{got}");
    agent.client().get("vips").await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn a_question_the_agent_does_not_know_is_told_from_a_failure() {
    let agent = Agent::start(Fake::default());
    let got = agent.client().get("weather").await.unwrap_err().to_string();
    assert_eq!(got, "this agent does not know that question; is it older than this sluice?");
    agent.stop().await;
}

#[tokio::test]
async fn an_answer_of_another_shape_asks_for_the_versions() {
    let agent = Agent::start(Fake::default());
    let answer = agent.client().get("vips").await.unwrap();
    let got = answer.view::<DropsView>().unwrap_err().to_string();
    assert!(got.contains("do agent and command have the same version?"), "{got}");
    agent.stop().await;
}

#[tokio::test]
async fn only_its_owner_can_connect() {
    let agent = Agent::start(Fake::default());
    let mode = fs::metadata(agent.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    agent.stop().await;
}

#[tokio::test]
async fn a_second_agent_does_not_take_the_socket_of_a_living_one() {
    let agent = Agent::start(Fake::default());
    let error = AdminSocket::bind(&agent.path()).unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error}");
    agent.client().get("vips").await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    AdminSocket::bind(&path).unwrap();
}

#[tokio::test]
async fn a_file_in_the_socket_s_place_is_not_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.sock");
    fs::write(&path, "precious").unwrap();
    let error = AdminSocket::bind(&path).unwrap_err();
    assert!(matches!(error, SocketError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_stopped_agent_leaves_no_socket() {
    let agent = Agent::start(Fake::default());
    let path = agent.path();
    let directory = agent.stop().await;
    assert!(!path.exists());
    drop(directory);
}

#[tokio::test]
async fn a_stopped_agent_leaves_its_successor_s_socket() {
    let agent = Agent::start(Fake::default());
    let path = agent.path();
    fs::remove_file(&path).unwrap();
    let successor = AdminSocket::bind(&path).unwrap();
    let directory = agent.stop().await;
    assert!(path.exists());
    drop((successor, directory));
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_up_the_shutdown() {
    let agent = Agent::start(Fake::default());
    let mute = UnixStream::connect(agent.path()).unwrap();
    agent.client().get("vips").await.unwrap();
    agent.stop().await;
    drop(mute);
}

#[tokio::test]
async fn no_agent_is_told_with_the_way_out() {
    let error = AdminClient::new(Path::new("/nowhere/sluice.sock")).get("vips").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no agent answers at /nowhere/sluice.sock: is `sluice agent` running? \
         another socket can be named with --socket"
    );
}

#[tokio::test]
async fn a_socket_nobody_listens_on_counts_as_no_agent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = AdminClient::new(&path).get("vips").await.unwrap_err();
    assert!(matches!(error, ClientError::NoAgent { .. }), "{error}");
}

#[tokio::test]
async fn an_agent_that_never_answers_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let client = AdminClient::new(&path).with_patience(Duration::from_millis(20));
    let error = client.get("vips").await.unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    drop(listener);
}
