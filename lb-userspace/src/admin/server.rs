//! The agent's end of the Unix socket.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use nix::sys::{
    socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr},
    stat::{Mode, fchmod},
};
use serde::Serialize;

use super::view::{
    BackendsView, DropsView, ExplainRequest, ExplainView, FlowsView, ServicesView, StatusView,
    VipsView,
};

/// What can be asked of a running agent. Methods may block: they run on threads of their own.
pub trait Inspect: Send + Sync + 'static {
    /// `sluice status`.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn status(&self) -> Result<StatusView, InspectError>;

    /// `sluice vips`.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn vips(&self) -> Result<VipsView, InspectError>;

    /// `sluice services`.
    ///
    /// # Errors
    /// When the state or the counters cannot be read.
    fn services(&self) -> Result<ServicesView, InspectError>;

    /// `sluice backends`.
    ///
    /// # Errors
    /// When the state or the counters cannot be read.
    fn backends(&self) -> Result<BackendsView, InspectError>;

    /// `sluice flows`.
    ///
    /// # Errors
    /// When the flow memory cannot be read.
    fn flows(&self) -> Result<FlowsView, InspectError>;

    /// `sluice drops`.
    ///
    /// # Errors
    /// When the counters cannot be read.
    fn drops(&self) -> Result<DropsView, InspectError>;

    /// `sluice explain`.
    ///
    /// # Errors
    /// When the question makes no sense, or the maps cannot be read.
    fn explain(&self, request: &ExplainRequest) -> Result<ExplainView, InspectError>;
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The question makes no sense; the sentence says why.
    #[error("{0}")]
    BadRequest(String),
    /// The agent is not far enough yet; the sentence says what it waits for.
    #[error("{0}")]
    NotReady(String),
    /// Something went wrong in the agent.
    #[error("{0}")]
    Failed(String),
}

impl InspectError {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error as the socket tells it.
#[derive(Serialize)]
struct ErrorBody {
    error: String,
}

impl IntoResponse for InspectError {
    fn into_response(self) -> Response {
        (self.status(), Json(ErrorBody { error: self.to_string() })).into_response()
    }
}

/// Why the agent cannot listen on its socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The directory cannot be made.
    #[error("socket: cannot create the directory {}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent listens.
    #[error("socket: another agent listens on {}; give this one a `socket` of its own", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is something else in its place.
    #[error("socket: {} exists and is no socket; name another `socket` or remove it", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Listening failed.
    #[error("socket: cannot listen on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A listening admin socket that only its user (root) can connect to. Dropping it removes it from the file system.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    place: Place,
}

impl AdminSocket {
    /// Listens on `path`: creates its directory and takes the place of a socket that nobody listens on any more.
    ///
    /// # Errors
    /// When somebody listens there, something other than a socket is there, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(
                |source| SocketError::Directory { directory: directory.to_owned(), source },
            )?;
        }
        clear_the_way(path)?;
        let listener = listen(path).map_err(|errno| failed(errno.into()))?;
        listener.set_nonblocking(true).map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        Ok(Self { listener, place: Place { path: path.to_owned(), identity } })
    }

    /// Answers questions until `shutdown` completes, then removes the socket.
    ///
    /// # Errors
    /// When the socket cannot be handed to the runtime.
    pub async fn serve(
        self,
        inspect: Arc<dyn Inspect>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener)?;
        crate::telemetry::serve_until(listener, router(inspect), shutdown).await?;
        drop(self.place);
        Ok(())
    }
}

/// Where our socket lies in the file system.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for Place {
    fn drop(&mut self) {
        // A successor may have put its own socket here by now.
        let ours = identity(&self.path).is_ok_and(|now| now == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the admin socket");
        }
    }
}

/// Removes a socket that nobody listens on.
fn clear_the_way(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn listen(path: &Path) -> nix::Result<UnixListener> {
    let address = UnixAddr::new(path)?;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The file takes over the mode of the unbound socket, so that it is never open to others, not for an instant.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(fd.as_raw_fd(), &address)?;
    socket::listen(&fd, Backlog::MAXCONN)?;
    Ok(UnixListener::from(fd))
}

type Inspector = State<Arc<dyn Inspect>>;

fn router(inspect: Arc<dyn Inspect>) -> Router {
    Router::new()
        .route("/v1/status", get(|State(i): Inspector| answer(move || i.status())))
        .route("/v1/vips", get(|State(i): Inspector| answer(move || i.vips())))
        .route("/v1/services", get(|State(i): Inspector| answer(move || i.services())))
        .route("/v1/backends", get(|State(i): Inspector| answer(move || i.backends())))
        .route("/v1/flows", get(|State(i): Inspector| answer(move || i.flows())))
        .route("/v1/drops", get(|State(i): Inspector| answer(move || i.drops())))
        .route("/v1/explain", post(explain))
        .fallback(|| async {
            let error = "this agent does not know that question; is it older than this sluice?";
            (StatusCode::NOT_FOUND, Json(ErrorBody { error: error.to_owned() }))
        })
        .with_state(inspect)
}

async fn explain(
    State(inspect): Inspector,
    request: Result<Json<ExplainRequest>, JsonRejection>,
) -> Response {
    match request {
        Ok(Json(request)) => answer(move || inspect.explain(&request)).await,
        Err(rejection) => InspectError::BadRequest(rejection.body_text()).into_response(),
    }
}

/// Runs `question` where it may block, and writes its answer for people and programs alike.
async fn answer<V, Q>(question: Q) -> Response
where
    V: Serialize,
    Q: FnOnce() -> Result<V, InspectError> + Send + 'static,
{
    let body = tokio::task::spawn_blocking(move || {
        let view = question()?;
        serde_json::to_string_pretty(&view).map_err(|e| InspectError::Failed(e.to_string()))
    })
    .await
    .unwrap_or_else(|panic| Err(InspectError::Failed(format!("the agent failed: {panic}"))));
    match body {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
