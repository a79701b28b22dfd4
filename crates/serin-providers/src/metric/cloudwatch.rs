//! Amazon CloudWatch: GetMetricData, signed with keys of a Secret or with the controller's own, page by page.

mod identity;
mod sign;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serin_core::model::{MetricKind, metric_kind};

use self::sign::Scope;
use super::MetricError;
use super::access::Access;
use super::answer::{BODY_BYTES_MAX, Bucket, WORDS_MAX, newest, too_many};
use super::conversation::{MetricProvider, Progress, Query};
use crate::json::{bounded, items, text};
use crate::settings::AwsKeys;

/// Queries with arithmetic over many metrics take their time.
const TIMEOUT_SECS: u32 = 10;
/// Flagger's: more points than a window of ten intervals has.
const POINTS_MAX: u32 = 20;
/// Amazon's own.
const QUERIES_MAX: usize = 500;
/// Of one answer; the newest values are on the first.
const PAGES_MAX: u32 = 5;
/// Flagger's, for answers that ask for patience.
const RETRIES_MAX: u32 = 3;

pub(super) struct CloudWatch;

impl MetricProvider for CloudWatch {
    fn kind(&self) -> &'static MetricKind {
        &metric_kind::CLOUDWATCH
    }

    fn begin(&self, query: &Query<'_>, access: &Access) -> Result<Progress, MetricError> {
        let job = Job::of(query, access)?;
        let page = Page { token: None, number: 1, attempt: 0 };
        // What cannot be sent is found before anybody is asked for keys.
        job.request(&page)?;
        let secret = access.key("aws_access_key_id").zip(access.key("aws_secret_access_key"));
        if let Some((id, secret)) = secret {
            let session_token = access.key("aws_session_token").map(str::to_owned);
            let keys = AwsKeys { id: id.to_owned(), secret: secret.to_owned(), session_token };
            return job.ask(keys, page, query.now);
        }
        let region = job.region.clone();
        let then = Box::new(move |keys, now| job.ask(keys, page, now));
        identity::keys(access.aws.clone(), &region, query.now, then)
    }
}

/// What Amazon's hosts of a region end with.
fn domain(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 6] = [
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    let found = PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("amazonaws.com", |(_, domain)| domain)
}

/// One query on its way.
struct Job {
    access: Access,
    region: String,
    queries: Vec<Value>,
    /// The query whose result is judged.
    wanted: String,
    period_millis: i64,
    window_millis: i64,
    /// The end of the window; all pages are about the same time.
    end: Timestamp,
}

struct Page {
    token: Option<String>,
    number: u32,
    attempt: u32,
}

impl Job {
    fn of(query: &Query<'_>, access: &Access) -> Result<Self, MetricError> {
        let invalid = |why: String| MetricError::Text(why);
        let queries: Vec<Value> = serde_json::from_str(query.text)
            .map_err(|error| invalid(format!("it is no JSON list of MetricDataQuery: {error}")))?;
        if queries.len() > QUERIES_MAX {
            return Err(invalid(format!("it has more than {QUERIES_MAX} queries")));
        }
        let returns = |query: &&Value| query.get("ReturnData") != Some(&Value::Bool(false));
        let Some(first) = queries.iter().find(returns) else {
            return Err(invalid("none of its queries returns data".to_owned()));
        };
        let Some(wanted) = text(first, "/Id").filter(|id| !id.is_empty()) else {
            return Err(invalid("a query has no Id".to_owned()));
        };
        let period_millis = period_millis(first, &queries);
        let region = access.region.clone().unwrap_or_default();
        let mut access = access.clone();
        if access.is_public {
            access.address = format!("https://monitoring.{region}.{}", domain(&region));
        }
        Ok(Self {
            wanted: wanted.to_owned(),
            period_millis,
            window_millis: query.window_millis,
            end: query.now,
            access,
            region,
            queries,
        })
    }

    fn request(&self, page: &Page) -> Result<http::Request<Bytes>, MetricError> {
        let window = SignedDuration::from_millis(self.window_millis);
        let start = self.end.checked_sub(window).unwrap_or(Timestamp::MIN);
        let mut body = json!({
            "StartTime": start.as_second(),
            "EndTime": self.end.as_second(),
            "MaxDatapoints": POINTS_MAX,
            "MetricDataQueries": self.queries,
        });
        if let (Some(token), Some(body)) = (&page.token, body.as_object_mut()) {
            body.insert("NextToken".to_owned(), token.clone().into());
        }
        let mut request = self.access.get("/", &[])?;
        if request.uri().path() != "/" || request.uri().query().is_some() {
            let why = "the signature covers no path: name scheme and host only";
            return Err(MetricError::Address(why.to_owned()));
        }
        *request.method_mut() = Method::POST;
        let json = HeaderValue::from_static("application/x-amz-json-1.0");
        let target = HeaderValue::from_static("GraniteServiceVersion20100801.GetMetricData");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request.headers_mut().insert("x-amz-target", target);
        *request.body_mut() = Bytes::from(body.to_string());
        Ok(request)
    }

    fn ask(self, keys: AwsKeys, page: Page, now: Timestamp) -> Result<Progress, MetricError> {
        let mut request = self.request(&page)?;
        let scope = Scope { region: &self.region, service: "monitoring" };
        sign::sign(&mut request, &keys, scope, now)?;
        let call = self.access.call(request, TIMEOUT_SECS);
        // One, two and four seconds.
        let after_secs = page.attempt.checked_sub(1).map_or(0, |again| 1 << again.min(4));
        let then = Box::new(move |response, now| self.hear(keys, page, &response, now));
        Ok(Progress::Http { call: Box::new(call), after_secs, then })
    }

    fn hear(
        self,
        keys: AwsKeys,
        page: Page,
        response: &Response<Bytes>,
        now: Timestamp,
    ) -> Result<Progress, MetricError> {
        let Page { token: _, number, attempt } = page;
        if attempt < RETRIES_MAX && asks_for_patience(response) {
            return self.ask(keys, Page { attempt: attempt + 1, ..page }, now);
        }
        let body = super::answer::json(&metric_kind::CLOUDWATCH, response, words)?;
        let buckets = self.buckets(&body)?;
        let measured = newest(&buckets, self.period_millis, self.window_millis, now);
        let found = matches!(measured.sample, super::Sample::Value(_));
        match text(&body, "/NextToken").filter(|token| !token.is_empty()) {
            Some(token) if !found && number < PAGES_MAX => {
                let token = Some(token.to_owned());
                self.ask(keys, Page { token, number: number + 1, attempt: 0 }, now)
            }
            Some(_) | None => Ok(Progress::Done(measured)),
        }
    }

    /// The values of the query that is wanted. One query may have several results, by a SEARCH or a GROUP BY.
    fn buckets(&self, body: &Value) -> Result<Vec<Bucket>, MetricError> {
        let complaint = |why: &str| MetricError::Answer(why.to_owned());
        let results = body.pointer("/MetricDataResults").and_then(Value::as_array);
        let results = results.ok_or_else(|| complaint("the answer has no results"))?;
        let of_query = |result: &&Value| text(result, "/Id") == Some(self.wanted.as_str());
        let wanted: Vec<Value> = results.iter().filter(of_query).cloned().collect();
        let result = match wanted.as_slice() {
            [] => return Ok(Vec::new()),
            [result] => result,
            many => {
                let label = |result: &Value| text(result, "/Label").unwrap_or_default().to_owned();
                let way_out = "wrap it in SUM(), or name one";
                return Err(MetricError::Answer(too_many(many, label, way_out)));
            }
        };
        if let Some(code @ ("InternalError" | "Forbidden")) = text(result, "/StatusCode") {
            let why = text(result, "/Messages/0/Value").unwrap_or("no reason given");
            let why = bounded(why, WORDS_MAX);
            return Err(MetricError::Answer(format!("{code} for {}: {why}", self.wanted)));
        }
        let (times, values) = (items(result, "/Timestamps"), items(result, "/Values"));
        if times.len() != values.len() {
            return Err(complaint("the result has not as many values as times"));
        }
        // "NaN" and the like are no values.
        let bucket = |(time, value): (&Value, &Value)| {
            let begin_millis = (time.as_f64()? * 1000.0) as i64;
            Some(Bucket { begin_millis, value: value.as_f64()? })
        };
        Ok(times.iter().zip(values).filter_map(bucket).collect())
    }
}

/// Of the query itself, or else the longest of those that it may be made of.
fn period_millis(query: &Value, all: &[Value]) -> i64 {
    let own = |query: &Value| {
        let period = query.pointer("/Period").or_else(|| query.pointer("/MetricStat/Period"));
        period.and_then(Value::as_i64).filter(|secs| *secs > 0)
    };
    let secs = own(query).or_else(|| all.iter().filter_map(own).max()).unwrap_or(0);
    secs.saturating_mul(1000)
}

/// The last part of `com.amazon.coral.service#AccessDenied`.
fn error_type(body: &Value) -> Option<&str> {
    text(body, "/__type").and_then(|name| name.rsplit('#').next())
}

fn asks_for_patience(response: &Response<Bytes>) -> bool {
    if response.status().is_success() || response.body().len() > BODY_BYTES_MAX {
        return false;
    }
    let body: Option<Value> = serde_json::from_slice(response.body()).ok();
    let throttled = body.as_ref().and_then(error_type).is_some_and(|name| {
        name.starts_with("Throttl") || name == "TooManyRequestsException" || name == "LimitExceeded"
    });
    throttled || response.status().is_server_error() || response.status().as_u16() == 429
}

fn words(body: &Value) -> Option<String> {
    let name = bounded(error_type(body)?, 80);
    // Of a signature that does not fit, Amazon repeats all that was signed, tokens included.
    let said = text(body, "/message").or_else(|| text(body, "/Message"));
    match said.filter(|_| !name.contains("Signature")) {
        Some(message) => Some(format!("{name}: {}", bounded(message, WORDS_MAX))),
        None => Some(name),
    }
}

#[cfg(test)]
mod tests;
