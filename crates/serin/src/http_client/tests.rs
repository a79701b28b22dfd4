//! The real client against servers that misbehave in every way they know: it never hangs, never keeps more than its bounds,
//! and never takes half an answer for a whole one.

use parking_lot::Mutex;
use std::sync::Arc;

use serin_core::observed::Answer;
use serin_providers::hook;
use serin_providers::metric::prometheus_sample;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

/// What a server does after its first bytes.
#[derive(Clone)]
enum Then {
    Close,
    /// Keeps the connection and says nothing.
    Hold,
    /// The same again and again, as fast as it is read.
    Repeat(Vec<u8>),
    /// The same once a second.
    Drip(&'static [u8]),
}

struct Server {
    url: String,
    /// Heads of the requests that came.
    heads: Arc<Mutex<Vec<String>>>,
    open: watch::Receiver<usize>,
}

impl Server {
    /// Every connection gets these bytes, once it has asked.
    async fn start(first: &[u8], then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (count, open) = watch::channel(0);
        let (first, asked) = (first.to_vec(), Arc::clone(&heads));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.send_modify(|open| *open += 1);
                let (first, then) = (first.clone(), then.clone());
                let (asked, count) = (Arc::clone(&asked), count.clone());
                tokio::spawn(async move {
                    // That the client hangs up is the end that is waited for.
                    drop(misbehave(stream, &first, then, &asked).await);
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, heads, open }
    }

    fn request(&self) -> Request<Bytes> {
        Request::get(&self.url).body(Bytes::new()).unwrap()
    }

    /// Until no connection is left.
    async fn deserted(&mut self) {
        self.open.wait_for(|open| *open == 0).await.unwrap();
    }
}

async fn misbehave(
    mut stream: TcpStream,
    first: &[u8],
    then: Then,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    asked.lock().push(String::from_utf8_lossy(&head).to_lowercase());
    stream.write_all(first).await?;
    match then {
        Then::Close => Ok(()),
        Then::Hold => stream.read_u8().await.map(drop),
        Then::Repeat(bytes) => loop {
            stream.write_all(&bytes).await?;
        },
        Then::Drip(bytes) => loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stream.write_all(bytes).await?;
        },
    }
}

fn word(error: &HttpError) -> &'static str {
    match error {
        HttpError::Timeout(_) => "late",
        HttpError::TooLong => "too long",
        HttpError::Unframed => "no end",
        HttpError::Connect { .. } => "broken",
        HttpError::Setup(_) => "no client",
        HttpError::NotAllowed { .. } => "not allowed",
    }
}

/// What comes of one answer: as a whole and as a page, and whether all connections are closed.
async fn told(options: &CallOptions, first: &[u8], then: Then) -> (String, String) {
    let http_client = ReqwestClient::new().unwrap();
    let mut server = Server::start(first, then).await;
    let sent = match http_client.send(server.request(), options.clone()).await {
        Ok(answer) => {
            assert!(answer.body().len() <= BODY_MAX);
            let hook = match hook::outcome(&answer) {
                Answer::Approved => "approved".to_owned(),
                Answer::Refused(words) => words,
                other @ (Answer::Value(_) | Answer::NoData(_) | Answer::Unreachable(_)) => {
                    panic!("a webhook approves or refuses: {other:?}")
                }
            };
            let metric = prometheus_sample(&answer);
            assert!(metric.is_err(), "there is no number in it: {metric:?}");
            format!("{} {}: {hook}", answer.status().as_u16(), answer.body().len())
        }
        Err(error) => word(&error).to_owned(),
    };
    drop(http_client);
    server.deserted().await;
    let http_client = ReqwestClient::new().unwrap();
    let mut most = 0;
    let mut take = |piece: &[u8]| most += piece.len();
    let framed = CallOptions { framed: true, ..options.clone() };
    let read = match http_client.read(server.request(), framed, &mut take).await {
        Ok(status) => format!("{} {most}", status.as_u16()),
        Err(error) => word(&error).to_owned(),
    };
    assert!(most <= PAGE_MAX);
    drop(http_client);
    server.deserted().await;
    (sent, read)
}

type Case = (&'static str, &'static str, Then, &'static str, &'static str);

async fn check(options: CallOptions, cases: Vec<Case>) {
    for (case, first, then, sent, read) in cases {
        let told = told(&options, first.as_bytes(), then).await;
        assert_eq!(told, (sent.to_owned(), read.to_owned()), "{case}");
    }
}

fn repeat(bytes: &str) -> Then {
    // As much as a socket takes at once.
    Then::Repeat(bytes.repeat((1 << 16) / bytes.len()).into_bytes())
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
/// Nothing here waits for this; a server that is never done is found out by what it sends.
const NEVER: Duration = Duration::from_secs(600);

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let piece = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
    let endless = Then::Repeat(piece.into_bytes());
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let tera = "HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n";
    let cases = vec![
        ("chunks", chunked, endless, "too long", "too long"),
        (
            "a body up to the end of the connection",
            "HTTP/1.1 200 OK\r\n\r\n",
            repeat("x\n"),
            "too long",
            "no end",
        ),
        ("a terabyte", tera, repeat("x\n"), "too long", "too long"),
        ("a terabyte that is only promised", tera, Then::Hold, "too long", "too long"),
        ("header lines", OK, repeat("X-A: b\r\n"), "broken", "broken"),
        ("a header line", "HTTP/1.1 200 OK\r\nX-A: ", repeat("b"), "broken", "broken"),
        ("a status line", "HTTP/1.1 200 ", repeat("b"), "broken", "broken"),
        (
            "an extension of a chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            repeat("a"),
            "broken",
            "broken",
        ),
        (
            "trailers",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            repeat("X-A: b\r\n"),
            "broken",
            "broken",
        ),
    ];
    check(CallOptions::within(NEVER), cases).await;
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let cases = vec![
        ("nothing at all", "", Then::Close, "broken", "broken"),
        ("half a head", OK, Then::Close, "broken", "broken"),
        (
            "less than was promised",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1\n",
            Then::Close,
            "broken",
            "broken",
        ),
        (
            "a chunk that is cut",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nup 1\n",
            Then::Close,
            "broken",
            "broken",
        ),
        (
            "no last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n",
            Then::Close,
            "broken",
            "broken",
        ),
        ("no length", "HTTP/1.1 200 OK\r\n\r\nup 1\n", Then::Close, "200 5: approved", "no end"),
        (
            "no length, as long ago",
            "HTTP/1.0 200 OK\r\n\r\nup 1\n",
            Then::Close,
            "200 5: approved",
            "no end",
        ),
        (
            "chunks in a coding that is none",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, x\r\n\r\n5\r\nup 1\n\r\n",
            Then::Close,
            "200 10: approved",
            "no end",
        ),
    ];
    check(CallOptions::within(NEVER), cases).await;
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_none() {
    let cases = vec![
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            Then::Close,
            "broken",
            "broken",
        ),
        (
            "a length below nothing",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            Then::Close,
            "broken",
            "broken",
        ),
        (
            "a length beyond numbers",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Then::Close,
            "broken",
            "broken",
        ),
        (
            "a chunk without a size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            Then::Close,
            "broken",
            "broken",
        ),
        (
            "a chunk beyond numbers",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
            Then::Close,
            "broken",
            "broken",
        ),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n", Then::Hold, "broken", "broken"),
        ("a body alone", "{\"status\": \"success\"}\n", Then::Close, "broken", "broken"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", Then::Close, "broken", "broken"),
    ];
    check(CallOptions::within(NEVER), cases).await;
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_done() {
    let cases = vec![
        (
            "a redirect to itself",
            "HTTP/1.1 302 Found\r\nLocation: /metrics\r\nContent-Length: 0\r\n\r\n",
            Then::Hold,
            "302 0: answered 302",
            "302 0",
        ),
        (
            "a redirect that keeps the body",
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            Then::Hold,
            "307 0: answered 307",
            "307 0",
        ),
        (
            "part of it",
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nup 1\n",
            Then::Hold,
            "206 5: answered 206: up 1",
            "206 5",
        ),
        (
            "a bomb that would unpack",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\u{1f}xyz",
            Then::Hold,
            "200 4: approved",
            "200 4",
        ),
    ];
    check(CallOptions::within(NEVER), cases).await;
    let server = Server::start(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", Then::Close).await;
    drop(ReqwestClient::new().unwrap().send(server.request(), CallOptions::within(NEVER)).await);
    let heads = server.heads.lock();
    assert_eq!(heads.len(), 1, "redirects are not followed");
    assert!(!heads[0].contains("accept-encoding"), "{}", heads[0]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_its_time_has_none_left() {
    let cases = vec![
        ("silence", "", Then::Hold, "late", "late"),
        ("a byte of the head a second", OK, Then::Drip(b"X"), "late", "late"),
        ("a header a second", OK, Then::Drip(b"X-A: b\r\n"), "late", "late"),
        (
            "a byte of the body a second",
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
            Then::Drip(b"x"),
            "late",
            "late",
        ),
        (
            "a chunk a second",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Then::Drip(b"1\r\nx\r\n"),
            "late",
            "late",
        ),
        (
            "a body that does not come",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            Then::Hold,
            "late",
            "late",
        ),
        (
            "no last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
            Then::Hold,
            "late",
            "late",
        ),
        ("soon", "", Then::Drip(b"HTTP/1.1 100 Continue\r\n\r\n"), "late", "late"),
    ];
    check(CallOptions::within(Duration::from_secs(30)), cases).await;
}

/// In real time, because there is always something to read: what does not end keeps no other from running.
#[tokio::test]
async fn a_server_that_always_says_soon_is_late() {
    let soon = repeat("HTTP/1.1 100 Continue\r\n\r\n");
    let options = CallOptions::within(Duration::from_millis(200));
    check(options, vec![("soon", "", soon, "late", "late")]).await;
}

/// An answer hidden behind an answer is nobody's.
#[tokio::test]
async fn an_answer_never_goes_to_another_question() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let hidden = format!("{refusal}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes");
    let http_client = ReqwestClient::new().unwrap();
    let server = Server::start(hidden.as_bytes(), Then::Hold).await;
    for _ in 0..8 {
        let answer = http_client.send(server.request(), CallOptions::within(NEVER)).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (403, &b"no"[..]));
    }
}

#[test]
fn a_refusal_of_the_api_is_in_its_own_words() {
    let status =
        kube::core::Status::failure("backend has been modified", "Conflict").with_code(409);
    let target = serin_providers::ObjectRef {
        kind: crate::cache::EVENT,
        namespace: "develop".to_owned(),
        name: "backend".to_owned(),
    };
    let source = Box::new(kube::Error::Api(Box::new(status)));
    let error = crate::operator::error::ApplyError::Write { target, source };
    assert_eq!(
        chain(&error),
        "cannot write Event develop/backend: backend has been modified (409)"
    );
}

#[tokio::test]
async fn user_and_password_of_a_url_are_sent_and_never_shown() {
    let server = Server::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Close).await;
    let url = server.url.replace("http://", "http://user:p%40ss@");
    let request = Request::get(&url).body(Bytes::new()).unwrap();
    let http_client = ReqwestClient::new().unwrap();
    http_client.send(request, CallOptions::within(NEVER)).await.unwrap();
    let head = server.heads.lock().join("\n");
    let expected = format!("authorization: basic {}", STANDARD.encode("user:p@ss").to_lowercase());
    assert!(head.contains(&expected), "{head}");
    assert!(!head.contains("user:"), "{head}");
    assert_eq!(shown(&format!("{url}?token=hunter2")), server.url);
    assert_eq!(shown("http://user:hunter2@"), "a malformed URL");
    // Nobody listens there.
    let request = Request::get("http://user:hunter2@127.0.0.1:1/").body(Bytes::new()).unwrap();
    let error = http_client.send(request, CallOptions::within(NEVER)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn objects_reach_only_the_hosts_that_are_allowed() {
    let hosts = Hosts::new(["Prometheus", "*.svc.cluster.local", "10.0.0.7"].map(str::to_owned));
    for (host, allowed) in [
        ("prometheus", true),
        ("PROMETHEUS.", true),
        ("loadtester.test.svc.cluster.local", true),
        ("svc.cluster.local", false),
        ("evilsvc.cluster.local", false),
        ("10.0.0.7", true),
        ("10.0.0.70", false),
        ("169.254.169.254", false),
        ("", false),
    ] {
        assert_eq!(hosts.allow(host), allowed, "{host}");
    }
    assert!(Hosts::default().allow("anything"));
    let server = Server::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Close).await;
    let http_client = ReqwestClient::new().unwrap().only(hosts);
    let mut options = CallOptions::within(NEVER);
    let refused = http_client.send(server.request(), options.clone()).await;
    assert!(matches!(refused, Err(HttpError::NotAllowed { .. })));
    let mut page = |_: &[u8]| {};
    assert!(http_client.read(server.request(), options.clone(), &mut page).await.is_err());
    let by_proxy = CallOptions { proxy: Some(server.url.clone()), ..options.clone() };
    let request = Request::get("http://10.0.0.7/").body(Bytes::new()).unwrap();
    assert!(matches!(http_client.send(request, by_proxy).await, Err(HttpError::NotAllowed { .. })));
    assert!(server.heads.lock().is_empty(), "nothing was sent");
    // What the operator's own flags name.
    options.trusted = true;
    assert!(http_client.send(server.request(), options).await.is_ok());
}
