//! Refuses requests of web pages: on loopback there is no password, and a Pod is a program on this machine.
//!
//! A page can send requests to any address, also to this one, and its own host name can resolve to this address. Clients of Kubernetes
//! send no `Origin` header, and address the server by a loopback address or as localhost.

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::failure::Failure;

/// The refusal of a request from a web page; `None` if it is served.
pub(super) fn refusal(headers: &HeaderMap) -> Option<Failure> {
    let why = if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        "web pages may not use this API"
    } else if !headers.get(header::HOST).is_none_or(|host| host.to_str().is_ok_and(is_local)) {
        "this API is served to 127.0.0.1 and localhost only"
    } else {
        return None;
    };
    Some(Failure::new(403, "Forbidden", why))
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn refused(name: &'static str, value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        refusal(&headers).is_some()
    }

    #[test]
    fn hosts() {
        for host in ["127.0.0.1:8001", "127.0.0.1", "localhost:80", "[::1]:8001", "127.3.0.1:1"] {
            assert!(!refused("host", host), "{host}");
        }
        for host in
            ["evil.example:8001", "127.0.0.1.evil.example", "192.168.0.1:8001", "localhost.x"]
        {
            assert!(refused("host", host), "{host}");
        }
    }

    #[test]
    fn pages() {
        assert!(refused("origin", "http://127.0.0.1:8001"));
        assert!(refused("origin", "null"));
        assert!(refused("sec-fetch-site", "same-origin"));
        assert!(!refused("user-agent", "kubectl/v1.37.1"));
    }
}
