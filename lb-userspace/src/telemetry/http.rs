//! `/metrics`, `/healthz` and `/readyz`.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Instant,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Health, Metrics};

/// Listens as the configuration's `metrics.listen` says.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
}

/// The address of `metrics.listen` cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("metrics.listen: cannot listen on {address}: {}", way_out(source))]
pub struct ListenError {
    /// The address asked for.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

fn way_out(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; name another one, or stop what uses it".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this host has no such address; 0.0.0.0 or [::] stands for all it has".to_owned()
        }
        _ => error.to_string(),
    }
}

impl HttpServer {
    /// Takes the address; requests wait until [`serve`](Self::serve).
    ///
    /// # Errors
    /// When the address is in use or not this host's.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener })
    }

    /// Where it listens: tells the port if 0 was asked for.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown` completes.
    ///
    /// # Errors
    /// When the listener cannot be handed to the runtime.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        super::serve_until(listener, router(metrics, health), shutdown).await
    }
}

fn router(metrics: Arc<Metrics>, health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(exposition)).with_state(metrics))
}

async fn healthz(State(health): State<Arc<Health>>) -> Response {
    match health.stalled(Instant::now()) {
        None => "ok\n".into_response(),
        Some(silence) => {
            let why = format!("the main loop has been silent for {} s\n", silence.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    match health.not_ready() {
        None => "ok\n".into_response(),
        Some(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> Response {
    // Counters are read from the kernel at this moment, which may take a while.
    match tokio::task::spawn_blocking(move || metrics.encode()).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{panic}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt, Empty};
    use hyper::{Request, body::Bytes};
    use hyper_util::rt::TokioIo;

    use super::*;
    use crate::telemetry::{CountersSnapshot, ReadCounters};

    struct NoTraffic;

    impl ReadCounters for NoTraffic {
        fn read(&self) -> anyhow::Result<CountersSnapshot> {
            Ok(CountersSnapshot::default())
        }
    }

    async fn get(health: Health, path: &str) -> (StatusCode, String) {
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new(Arc::new(NoTraffic)).unwrap());
        let task = tokio::spawn(server.serve(metrics, Arc::new(health), std::future::pending()));

        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        task.abort();
        (status, String::from_utf8(body.into()).unwrap())
    }

    fn health(tolerance: Duration) -> Health {
        Health::new(tolerance, "no interface is attached")
    }

    #[tokio::test]
    async fn readyz_gives_the_reason_until_the_agent_is_ready() {
        let (status, body) = get(health(Duration::MAX), "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "not ready: no interface is attached\n");

        let ready = health(Duration::MAX);
        ready.set_ready();
        assert_eq!(get(ready, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    }

    #[tokio::test]
    async fn healthz_fails_when_the_main_loop_is_silent() {
        let (status, body) = get(health(Duration::MAX), "/healthz").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));

        let (status, body) = get(health(Duration::ZERO), "/healthz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "the main loop has been silent for 0 s\n");
    }

    #[tokio::test]
    async fn metrics_are_served_as_prometheus_text() {
        let (status, body) = get(health(Duration::MAX), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("\nsluice_build_info{"), "{body}");
    }

    #[test]
    fn a_port_in_use_names_the_field() {
        let first = HttpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = HttpServer::bind(address).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "metrics.listen: cannot listen on {address}: the port is in use; name another one, or stop what uses it"
            )
        );
    }

    #[test]
    fn an_address_of_another_host_is_told() {
        let error = HttpServer::bind("198.51.100.1:9473".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("this host has no such address"), "{error}");
    }
}
