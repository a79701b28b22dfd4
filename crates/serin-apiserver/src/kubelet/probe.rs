//! Liveness, readiness and startup probes: HTTP, TCP or a command.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::controllers::object::{int, list, text};

/// Bytes read of an answer: only the status line is used.
const ANSWER_BYTES_MAX: usize = 4096;

/// The action of a probe or a lifecycle hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Http { host: String, port: u16, path: String, headers: Vec<(String, String)> },
    Tcp { host: String, port: u16 },
    Exec(Vec<String>),
    Sleep(Duration),
}

/// A probe: its action, periods and thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) action: Action,
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
}

impl Probe {
    /// Reads `container.<key>`, such as `readinessProbe`; `None` if it is absent, an error if it is not supported.
    pub(crate) fn of(container: &Value, key: &str, ip: Ipv4Addr) -> Result<Option<Self>, String> {
        let Some(probe) = container.get(key).filter(|probe| probe.is_object()) else {
            return Ok(None);
        };
        let number = |field: &str, default: u64, least: u64| {
            let value =
                int(probe, &format!("/{field}")).and_then(|value| u64::try_from(value).ok());
            value.unwrap_or(default).max(least)
        };
        let count = |field: &str, default: u64| {
            u32::try_from(number(field, default, 1)).unwrap_or(u32::MAX)
        };
        Ok(Some(Self {
            action: Action::of(probe, container, ip).map_err(|why| format!("{key}: {why}"))?,
            initial_delay: Duration::from_secs(number("initialDelaySeconds", 0, 0)),
            period: Duration::from_secs(number("periodSeconds", 10, 1)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1, 1)),
            successes: count("successThreshold", 1),
            failures: count("failureThreshold", 3),
        }))
    }
}

impl Action {
    /// Reads the handler (`httpGet`, `tcpSocket` or `exec`) of a probe or a hook.
    pub(crate) fn of(handler: &Value, container: &Value, ip: Ipv4Addr) -> Result<Self, String> {
        let host = |at: &Value| match text(at, "/host") {
            "" => ip.to_string(),
            host => host.to_owned(),
        };
        if let Some(http) = handler.get("httpGet").filter(|http| http.is_object()) {
            if text(http, "/scheme") == "HTTPS" {
                return Err(
                    "httpGet over HTTPS is not supported for pods that are processes".to_owned()
                );
            }
            let headers = list(http, "/httpHeaders")
                .iter()
                .map(|header| (text(header, "/name").to_owned(), text(header, "/value").to_owned()))
                .collect::<Vec<_>>();
            if headers.iter().any(|(name, value)| {
                name.contains(['\r', '\n', ':']) || value.contains(['\r', '\n'])
            }) {
                return Err("a header of httpGet holds a line break".to_owned());
            }
            let path = if text(http, "/path").is_empty() { "/" } else { text(http, "/path") };
            let slash = if path.starts_with('/') { "" } else { "/" };
            return Ok(Self::Http {
                host: host(http),
                port: port(http, container)?,
                path: format!("{slash}{path}").replace([' ', '\r', '\n'], "%20"),
                headers,
            });
        }
        if let Some(tcp) = handler.get("tcpSocket").filter(|tcp| tcp.is_object()) {
            return Ok(Self::Tcp { host: host(tcp), port: port(tcp, container)? });
        }
        if let Some(exec) = handler.get("exec").filter(|exec| exec.is_object()) {
            return Ok(Self::Exec(
                list(exec, "/command")
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ));
        }
        if let Some(sleep) = handler.get("sleep").filter(|sleep| sleep.is_object()) {
            return Ok(Self::Sleep(Duration::from_secs(
                int(sleep, "/seconds").and_then(|secs| u64::try_from(secs).ok()).unwrap_or(0),
            )));
        }
        Err("only httpGet, tcpSocket, exec and sleep are supported for pods that are processes"
            .to_owned())
    }
}

fn port(at: &Value, container: &Value) -> Result<u16, String> {
    let named = |name: &str| {
        let mut ports = list(container, "/ports").iter();
        ports
            .find(|port| text(port, "/name") == name)
            .and_then(|port| port["containerPort"].as_i64())
    };
    let number = match at["port"].as_str() {
        Some(name) => named(name).or_else(|| name.parse().ok()),
        None => at["port"].as_i64(),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("the container has no port {}", at["port"]))
}

/// Connects and closes the connection.
pub(crate) async fn tcp(host: &str, port: u16) -> Result<(), String> {
    TcpStream::connect((host, port))
        .await
        .map(drop)
        .map_err(|error| format!("dial tcp {host}:{port}: {error}"))
}

/// Sends one GET; a status from 200 to 399 is a success.
pub(crate) async fn http(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("Get \"http://{host}:{port}{path}\": {error}");
    let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nUser-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n"
    );
    if !named {
        request.push_str(&format!("Host: {host}:{port}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    let mut stream = stream.take(ANSWER_BYTES_MAX as u64);
    while !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
            break;
        }
    }
    match status_code(&answer) {
        Some(200..400) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(format!("Get \"http://{host}:{port}{path}\": the answer is not HTTP")),
    }
}

fn status_code(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_refusals() {
        let ip = Ipv4Addr::new(127, 1, 1, 1);
        let of = |probe: Value| {
            Probe::of(
                &json!({"ports": [{"name": "http", "containerPort": 8080}], "readinessProbe": probe}),
                "readinessProbe",
                ip,
            )
        };
        let seconds = Duration::from_secs;
        let plain = of(json!({"httpGet": {"port": "http"}})).unwrap().unwrap();
        let action = Action::Http {
            host: "127.1.1.1".to_owned(),
            port: 8080,
            path: "/".to_owned(),
            headers: vec![],
        };
        assert_eq!(
            plain,
            Probe {
                action,
                initial_delay: seconds(0),
                period: seconds(10),
                timeout: seconds(1),
                successes: 1,
                failures: 3
            }
        );
        assert_eq!(of(Value::Null), Ok(None));
        for refused in [
            json!({"grpc": {"port": 1}}),
            json!({"httpGet": {"port": "x"}}),
            json!({"httpGet": {"port": 1, "scheme": "HTTPS"}}),
            json!({}),
        ] {
            assert!(of(refused).is_err());
        }
        assert_eq!(status_code(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status_code(b"SSH-2.0"), None);
    }
}
