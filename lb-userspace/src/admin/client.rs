//! The command line's end of the Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::view::ExplainRequest;

/// Long enough for an agent that copies a full flow memory out of the kernel.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks one agent.
#[derive(Clone, Debug)]
pub struct AdminClient {
    socket: PathBuf,
    patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no agent answers at {}: is `sluice agent` running? another socket can be named with --socket",
        socket.display()
    )]
    NoAgent {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("permission denied at {}: run as root, as the agent does", socket.display())]
    PermissionDenied {
        /// The socket.
        socket: PathBuf,
    },
    /// There is something, but it is not a socket or it broke off.
    #[error("cannot talk to an agent at {}: {source}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the agent at {} hung up: {source}; its log may say why", socket.display())]
    Interrupted {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: hyper::Error,
    },
    /// The agent accepted the question and fell silent.
    #[error("the agent at {} has not answered within {} s; it may be stuck: see its log", socket.display(), patience.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// The agent said no, and why.
    #[error("{0}")]
    Refused(String),
    /// The answer has another shape.
    #[error(
        "the agent's answer is not what sluice {version} expects: {why}; do agent and command have the same version?",
        version = env!("CARGO_PKG_VERSION")
    )]
    Answer {
        /// What is wrong with it.
        why: String,
    },
}

/// An answer, as it came and readable as one of the [views](super::view).
#[derive(Clone, Debug)]
pub struct Answer {
    /// JSON, indented.
    pub json: String,
}

impl Answer {
    /// The answer as a view.
    ///
    /// # Errors
    /// When it has another shape: agent and command differ in version.
    pub fn view<V: DeserializeOwned>(&self) -> Result<V, ClientError> {
        serde_json::from_str(&self.json).map_err(|error| unreadable(&error))
    }
}

impl AdminClient {
    /// A client of the agent that listens on `socket`. Nothing is opened yet.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// Waits at most `patience` for an answer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks for the view called `name`, such as `vips`.
    ///
    /// # Errors
    /// When there is no agent, it refuses, or it does not answer.
    pub async fn get(&self, name: &str) -> Result<Answer, ClientError> {
        self.ask(Method::GET, name, String::new()).await
    }

    /// Asks which backend a flow gets.
    ///
    /// # Errors
    /// When there is no agent, it refuses, or it does not answer.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<Answer, ClientError> {
        self.post("explain", request).await
    }

    async fn post(&self, name: &str, body: &impl Serialize) -> Result<Answer, ClientError> {
        let body = serde_json::to_string(body).map_err(|error| unreadable(&error))?;
        self.ask(Method::POST, name, body).await
    }

    async fn ask(&self, method: Method, name: &str, body: String) -> Result<Answer, ClientError> {
        let silent =
            || ClientError::Silent { socket: self.socket.clone(), patience: self.patience };
        tokio::time::timeout(self.patience, self.converse(method, name, body))
            .await
            .map_err(|_| silent())?
    }

    async fn converse(
        &self,
        method: Method,
        name: &str,
        body: String,
    ) -> Result<Answer, ClientError> {
        let interrupted = |source| ClientError::Interrupted { socket: self.socket.clone(), source };
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.unconnected(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(interrupted)?;
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{name}"))
            .header(header::HOST, "sluice")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unreadable(&error))?;

        // The connection only moves while it is polled; its own end says nothing that the response does not.
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(interrupted)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(interrupted)?.to_bytes();
        driver.abort();

        let json = String::from_utf8(body.into()).map_err(|error| unreadable(&error))?;
        if status == StatusCode::OK {
            Ok(Answer { json })
        } else {
            Err(ClientError::Refused(refusal(status, &json)))
        }
    }

    fn unconnected(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoAgent { socket }
            }
            io::ErrorKind::PermissionDenied => ClientError::PermissionDenied { socket },
            _ => ClientError::Connect { socket, source },
        }
    }
}

fn unreadable(error: &dyn std::error::Error) -> ClientError {
    ClientError::Answer { why: error.to_string() }
}

/// The sentence of an error answer.
fn refusal(status: StatusCode, body: &str) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    match serde_json::from_str::<Body>(body) {
        Ok(body) => body.error,
        Err(_) => format!("the agent answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(kind: io::ErrorKind) -> String {
        AdminClient::new(Path::new("/run/sluice/sluice.sock")).unconnected(kind.into()).to_string()
    }

    #[test]
    fn permission_denied_says_run_as_root() {
        assert_eq!(
            sentence(io::ErrorKind::PermissionDenied),
            "permission denied at /run/sluice/sluice.sock: run as root, as the agent does"
        );
    }

    #[test]
    fn an_unforeseen_error_is_told_with_the_socket() {
        assert_eq!(
            sentence(io::ErrorKind::NotADirectory),
            "cannot talk to an agent at /run/sluice/sluice.sock: not a directory"
        );
    }

    #[test]
    fn a_refusal_without_a_sentence_is_told_by_its_status() {
        assert_eq!(
            refusal(StatusCode::BAD_GATEWAY, "<html>"),
            "the agent answered 502 Bad Gateway"
        );
    }
}
