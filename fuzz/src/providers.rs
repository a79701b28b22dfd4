//! What answers: metric servers, gateways' pages, webhooks; and the templates of what is asked.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serin_core::model::Canary;
use serin_core::observed::Answer;
use serin_core::parse::{self, Limits};
use serin_providers::gateway::recorded::{self, Recorded};
use serin_providers::gateway::{Pair, Scrape, Wanted};
use serin_providers::hook;
use serin_providers::metric::{self, Sample, template};

use super::source::Source;

/// No message about an answer is longer: it goes into a status and into Events.
const WORDS_MAX: usize = 1024;
/// Nothing older is asked for.
const WINDOW_MILLIS: u64 = 300_000;
/// No rendered query is longer.
const QUERY_MAX: usize = 32 * 1024;

fn backend() -> Canary {
    let object = serde_json::from_slice(include_bytes!("../seeds/canary/weighted.json"))
        .expect("seeds are JSON");
    parse::canary(&object, &Limits::default()).expect("the seed is a Canary")
}

fn response(status: u8, body: &[u8]) -> Response<Bytes> {
    const STATUSES: [u16; 8] = [200, 200, 200, 201, 404, 429, 500, 503];
    let mut response = Response::new(Bytes::copy_from_slice(body));
    *response.status_mut() = StatusCode::from_u16(STATUSES[usize::from(status) % STATUSES.len()])
        .expect("these are statuses");
    response
}

pub fn metric(data: &[u8]) {
    for status in [0, 4, 6] {
        let response = response(status, data);
        let sample = metric::prometheus_sample(&response);
        match &sample {
            Ok(Sample::Value(value)) => {
                assert!(!value.is_nan(), "NaN is no value");
                assert!(response.status().is_success(), "a failure has no value");
            }
            Ok(Sample::NoData(why)) => assert!(!why.is_empty()),
            Err(error) => {
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() < WORDS_MAX, "{} bytes", text.len());
            }
        }
        metric::answer(sample);
    }
}

/// However the network cuts a page, it says the same.
pub fn page(data: &[u8]) {
    let mut wanted = Wanted::default();
    wanted.add(&backend(), &[100.0, 500.0]);
    let mut whole = Scrape::new(&wanted);
    whole.push(data);
    let whole = whole.finish();
    let step = data.first().map_or(1, |byte| usize::from(*byte % 31) + 1);
    let mut cut = Scrape::new(&wanted);
    for piece in data.chunks(step) {
        cut.push(piece);
    }
    assert_eq!(format!("{whole:?}"), format!("{:?}", cut.finish()), "cut every {step} bytes");
}

/// Samples as a server recorded them, in one answer or in two.
pub fn recorded(data: &[u8]) {
    let canary = backend();
    let mut wanted = Wanted::default();
    wanted.add(&canary, &[100.0, 500.0]);
    let body = Bytes::copy_from_slice(data);
    let known = Bytes::from_static(include_bytes!("../seeds/recorded/matrix.json"));
    for bodies in [vec![body.clone()], vec![body, known]] {
        let Ok(mut read) = Recorded::read(&wanted, &bodies) else { continue };
        assert_eq!(Ok(&read), Recorded::read(&wanted, &bodies).as_ref());
        assert!(read.every_millis().is_none_or(|every| every <= WINDOW_MILLIS));
        assert!(read.due_millis().is_none_or(|due| due <= WINDOW_MILLIS), "the guard would sleep");
        for page in read.pages.values() {
            page.sides(&Pair::of(&canary), &[100.0, 500.0], 0.0);
        }
        if read.lacks_bounds(&wanted) {
            read.add_bounds(&wanted, &recorded::bounds(data).unwrap_or_default());
        }
    }
}

pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let canary = backend();
    let variables = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    let rendered = template::render(&text, &canary, "1m", &variables);
    assert_eq!(rendered, template::render(&text, &canary, "1m", &variables));
    match rendered {
        Ok(query) => {
            assert!(query.len() <= QUERY_MAX);
            if !text.contains("{{") {
                assert_eq!(query, text, "without actions nothing changes");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub fn hook(data: &[u8]) {
    let mut source = Source::new(data);
    let (status, attempt) = (source.byte(), u32::from(source.byte()));
    let body = data.get(2..).unwrap_or_default();
    let mut response = response(status, body);
    if let Ok(value) = HeaderValue::from_bytes(body.get(..8).unwrap_or_default()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    let approves = matches!(response.status().as_u16(), 200..=202);
    match hook::outcome(&response) {
        Answer::Approved => assert!(approves),
        Answer::Refused(words) => {
            assert!(!approves);
            assert!(!words.is_empty() && words.len() < WORDS_MAX, "{} bytes", words.len());
            assert!(!words.chars().any(char::is_control), "{words:?}");
        }
        other @ (Answer::Value(_) | Answer::NoData(_) | Answer::Unreachable(_)) => {
            panic!("a webhook approves or refuses: {other:?}")
        }
    }
    assert!(hook::backoff_secs(attempt, Some(&response)) <= 30);
    assert!(!approves || !hook::may_retry(response.status()));
}
