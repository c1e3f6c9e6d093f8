//! Logs, metrics and health over HTTP.
