//! Logs, metrics and health over HTTP.

pub mod health;
pub mod http;
pub mod logs;
pub mod metrics;
mod traffic;

use std::time::Duration;

pub use health::Health;
pub use http::{HttpServer, ListenError};
pub use metrics::{CountersSnapshot, Metrics, ReadCounters, ServiceTraffic};

/// How long requests in flight may hold up a shutdown.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Serves until `shutdown` completes, then gives requests in flight [`SHUTDOWN_GRACE`] to end.
pub(crate) async fn serve_until<L>(
    listener: L,
    router: axum::Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let (begin, begun) = tokio::sync::oneshot::channel();
    let shutdown = async {
        shutdown.await;
        // Nobody listens only if the server has ended already.
        let _ = begin.send(());
    };
    let serve = axum::serve(listener, router).with_graceful_shutdown(shutdown);
    let overdue = async {
        match begun.await {
            Ok(()) => tokio::time::sleep(SHUTDOWN_GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = serve => ended,
        () = overdue => Ok(()),
    }
}
