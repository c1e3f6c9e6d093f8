//! Reading how a service's endpoints are to be checked.

use std::time::Duration;

use super::{HealthCheck, HealthCheckKind, problem::Problems, scalar, value::Value, yaml};

/// Reads `healthCheck`. `None` if something that has no default could not be read.
pub(super) fn read_health_check(value: &Value<'_>, problems: &mut Problems) -> Option<HealthCheck> {
    let kinds = [
        ("tcp", HealthCheckKind::Tcp),
        ("http", HealthCheckKind::Http),
        ("https", HealthCheckKind::Https),
        ("dns", HealthCheckKind::Dns),
        ("udp", HealthCheckKind::Udp),
        ("ping", HealthCheckKind::Ping),
        ("exec", HealthCheckKind::Exec),
    ];
    let mut fields = value.fields(problems)?;
    let kind = fields
        .required("type", "what to try, such as tcp", problems, |node| scalar::word(node, &kinds));
    let interval_value = fields.get("interval");
    let interval = match interval_value {
        Some(value) => value.read(problems, scalar::duration),
        None => Some(Duration::from_secs(1)),
    };
    let timeout_value = fields.get("timeout");
    let timeout = match timeout_value {
        Some(value) => value.read(problems, scalar::duration),
        // Half a second, or all there is of a shorter interval.
        None => interval.map(|interval| interval.min(Duration::from_millis(500))),
    };
    if let (Some(value), Some(timeout), Some(interval)) = (timeout_value, timeout, interval)
        && timeout > interval
    {
        let message = format!(
            "{} is longer than the interval of {}; make it that at most",
            humantime::format_duration(timeout),
            humantime::format_duration(interval)
        );
        problems.error(&value.place, message);
    }
    let tries = |node: &yaml::Node| scalar::integer(node, "a count of tries", 1, 1000);
    let rise = fields.optional("rise", problems, tries);
    let fall = fields.optional("fall", problems, tries);
    fields.close(problems);
    Some(HealthCheck {
        kind: kind?,
        interval: interval?,
        timeout: timeout?,
        rise: rise.unwrap_or(2),
        fall: fall.unwrap_or(3),
    })
}
