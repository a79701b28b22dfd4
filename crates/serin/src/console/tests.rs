//! Who is answered, what every answer carries, and that the pages need nothing from elsewhere.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use kube::{Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Board;
use super::assets::ASSETS;
use super::server::{is_ours, serve};
use crate::clock::SystemClock;

fn ours(headers: &[(&str, &str)]) -> bool {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    is_ours(&map, 8003)
}

#[test]
fn only_this_machines_browser_is_answered() {
    let host = ("host", "127.0.0.1:8003");
    assert!(ours(&[host]));
    assert!(ours(&[("host", "localhost:8003")]) && ours(&[("host", "[::1]:8003")]));
    assert!(ours(&[host, ("origin", "http://127.0.0.1:8003"), ("sec-fetch-site", "same-origin")]));
    // A name of another client that was made to lead here.
    for name in
        ["evil.example:8003", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8003", ""]
    {
        assert!(!ours(&[("host", name)]), "{name}");
    }
    assert!(!ours(&[]));
    // A page of another site, and one of another port of this machine.
    assert!(!ours(&[host, ("origin", "https://evil.example")]));
    assert!(!ours(&[host, ("origin", "http://127.0.0.1:9000")]));
    assert!(!ours(&[host, ("origin", "null")]));
    assert!(!ours(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
    assert!(!ours(&[host, ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]));
    // A link in a chat leads to a page, which nobody can read from outside.
    assert!(ours(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
}

#[test]
fn pages_need_nothing_from_elsewhere_and_run_no_code_of_their_own_text() {
    let mut all = 0;
    for asset in ASSETS {
        let text = asset.text;
        all += text.len();
        for word in ["https://", "//cdn", "@import", "innerHTML", "eval(", "new Function"] {
            assert!(!text.contains(word), "{}: {word}", asset.path);
        }
        if asset.kind.starts_with("text/html") {
            assert!(
                !text.contains("<style") && !text.contains(" style=") && !text.contains(" on"),
                "{}",
                asset.path
            );
            for script in text.split("<script").skip(1) {
                assert!(
                    script.contains(" src=") && script.contains("></script>"),
                    "{}",
                    asset.path
                );
            }
            for link in
                text.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css"))
            {
                assert!(ASSETS.iter().any(|other| other.path == format!("/{link}")), "{link}");
            }
        }
    }
    assert!(all < 100_000, "{all} bytes, before they are packed");
}

async fn served() -> SocketAddr {
    drop(rustls::crypto::ring::default_provider().install_default());
    // Nobody listens there: what is shown without a cluster is shown.
    let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let board = Board::new(client, None, None, Arc::new(SystemClock::default()));
    let watching = board.clone();
    tokio::spawn(async move { watching.run().await });
    tokio::spawn(serve(listener, board));
    address
}

async fn ask(to: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut text = Vec::new();
    write!(text, "{head}\r\nhost: {to}\r\nconnection: close\r\n\r\n").unwrap();
    stream.write_all(&text).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn every_answer_is_locked_down_and_nothing_can_be_changed() {
    let to = served().await;
    for (head, code) in [
        ("GET / HTTP/1.1", "200"),
        ("GET /release?c=a/b HTTP/1.1", "200"),
        ("GET /api/v1/fleet HTTP/1.1", "200"),
        ("GET /api/v1/fleet?since=99999999999999999999 HTTP/1.1", "200"),
        ("GET /api/v1/releases/a/%2e%2e%2f HTTP/1.1", "404"),
        ("GET /api/v1/releases/a HTTP/1.1", "404"),
        ("GET /../Cargo.toml HTTP/1.1", "404"),
        ("POST /api/v1/fleet HTTP/1.1", "405"),
        ("DELETE / HTTP/1.1", "405"),
        ("GET / HTTP/1.1\r\norigin: http://evil.example", "403"),
    ] {
        let answer = ask(to, head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{head}: {answer}");
        for guard in [
            "content-security-policy: default-src 'none'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(answer.contains(guard), "{head}: {guard}");
        }
        assert!(!answer.contains("unsafe-inline"));
    }
}

#[tokio::test]
async fn without_a_cluster_the_page_is_told_why() {
    let to = served().await;
    let told = async {
        loop {
            let answer = ask(to, "GET /api/v1/releases/a/b HTTP/1.1").await;
            if answer.starts_with("HTTP/1.1 502") {
                return answer;
            }
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::time::timeout(std::time::Duration::from_secs(60), told).await.unwrap();
    assert!(answer.contains("\"error\":"), "{answer}");
    assert!(ask(to, "GET /api/v1/fleet HTTP/1.1").await.contains("\"trouble\":"));
}
