//! A watch over a real socket: every event must be flushed.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0_u8; 4096];
    while !seen.contains(wanted) {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "closed after {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    seen
}

#[tokio::test]
async fn a_watch_sends_its_headers_before_the_first_event() {
    let server = server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, server.api.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let version = server.version().await;
    let request = format!(
        "GET {CONFIGS}?watch=true&resourceVersion={version} HTTP/1.1\r\nHost: {address}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked"),
        "{head}"
    );
    assert!(
        !head.contains("content-length") && head.contains("content-type: application/json"),
        "{head}"
    );
    server.made(CONFIGS, config("a", "1")).await;
    assert!(read_until(&mut stream, "\n\r\n").await.contains("\"ADDED\""));
    serving.abort();
}
