//! The load generator against the sample application.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::app::{App, Faults};

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

async fn app(version: &str, faults: Faults) -> App {
    let options =
        crate::app::Options { faults, ..crate::app::Options::new(LOOPBACK.into(), version) };
    App::start(options).await.unwrap()
}

fn at(address: SocketAddr, rate: f64) -> Options {
    Options::new(format!("http://{address}/").parse().unwrap(), rate)
}

async fn until(load: &Load, wanted: impl Fn(&Snapshot) -> bool) {
    let mut snapshots = load.snapshots();
    let reached = snapshots.wait_for(|snapshot| wanted(snapshot));
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_counts_by_version_and_status() {
    let app = app("v2", Faults { error_rate: 0.5, ..Faults::default() }).await;
    let load = run(at(app.address(), 500.0)).unwrap();
    until(&load, |snapshot| snapshot.completed() >= 100).await;
    let last = load.stop().await;
    assert_eq!(last.sent, last.completed());
    assert_eq!((last.failed, last.by_status.values().sum::<u64>()), (0, last.sent));
    let tally = &last.by_version["v2"];
    assert_eq!(tally, &last.total);
    assert_eq!(tally.bad, last.by_status[&500]);
    assert!(tally.first >= Some(last.began) && tally.first_bad <= tally.last_bad);
    assert!(tally.last_bad <= tally.last && tally.quantile(0.99) > Some(0.0));
    let rate = tally.success_rate().unwrap();
    assert!((0.49..=0.51).contains(&rate), "{rate}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrency_is_bounded_and_what_is_left_out_is_counted() {
    let slow = Faults { latency_rate: 1.0, latency_ms: 100, ..Faults::default() };
    let app = app("v1", slow).await;
    let load = run(Options { concurrency: 2, ..at(app.address(), 1000.0) }).unwrap();
    until(&load, |snapshot| snapshot.completed() >= 4 && snapshot.skipped > 0).await;
    let last = load.stop().await;
    assert!(last.skipped > last.sent, "{} skipped, {} sent", last.skipped, last.sent);
    assert_eq!((last.failed, last.completed()), (0, last.sent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_a_failure_of_no_version() {
    let closed = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
    let duration = Some(Duration::from_millis(50));
    let load = run(Options { duration, ..at(closed, 200.0) }).unwrap();
    let last = load.finish().await;
    assert!(last.sent > 0);
    assert_eq!((last.failed, last.total.bad), (last.sent, last.sent));
    assert!(last.by_version.is_empty() && last.total.first_bad.is_some());
}

#[tokio::test]
async fn nonsense_is_refused() {
    let at = at(LOOPBACK.into(), 1.0);
    for (options, message) in [
        (
            Options { requests_per_second: f64::NAN, ..at.clone() },
            "the rate must be above 0 and at most 20000 requests per second, not NaN",
        ),
        (
            Options { concurrency: 0, ..at.clone() },
            "the concurrency must be between 1 and 1024, not 0",
        ),
        (
            Options { url: "https://a/".parse().unwrap(), ..at.clone() },
            "the URL must be http:// with a host, not https://a/",
        ),
        (Options { host: Some("a\n".into()), ..at.clone() }, "\"a\\n\" is not a Host header"),
    ] {
        assert_eq!(run(options).err().unwrap().to_string(), message);
    }
}
