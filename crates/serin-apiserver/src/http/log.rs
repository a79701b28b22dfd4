//! The query of `kubectl logs`.

use jiff::{SignedDuration, Timestamp};

use super::{Call, LogRequest};
use crate::failure::Failure;

pub(super) fn request(
    namespace: &str,
    pod: &str,
    call: &Call,
    now: Timestamp,
) -> Result<LogRequest, Failure> {
    Ok(LogRequest {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: Some(call.query("container").to_owned()).filter(|c| !c.is_empty()),
        follow: call.flag("follow"),
        previous: call.flag("previous"),
        tail_lines: number(call, "tailLines", 0)?,
        since: since(call, now)?,
        timestamps: call.flag("timestamps"),
        limit_bytes: number(call, "limitBytes", 1)?,
    })
}

/// A numeric option of a log, if it is given.
fn number(call: &Call, option: &str, least: usize) -> Result<Option<usize>, Failure> {
    let text = call.query(option);
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        Ok(_) | Err(_) => {
            let why = format!("{option} must be a whole number of at least {least}, not {text:?}");
            Err(Failure::bad_request(why))
        }
    }
}

/// The earliest time of a log's lines: `sinceSeconds` before now, or `sinceTime`.
fn since(call: &Call, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let time = call.query("sinceTime");
    match (number(call, "sinceSeconds", 1)?, time.is_empty()) {
        (None, true) => Ok(None),
        (Some(_), false) => {
            Err(Failure::bad_request("at most one of sinceTime or sinceSeconds may be specified"))
        }
        (Some(secs), true) => {
            let secs = SignedDuration::from_secs(i64::try_from(secs).unwrap_or(i64::MAX));
            Ok(Some(now.checked_sub(secs).unwrap_or(Timestamp::MIN)))
        }
        (None, false) => time.parse().map(Some).map_err(|_| {
            Failure::bad_request(format!("sinceTime must be a time of RFC 3339, not {time:?}"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<LogRequest, String> {
        let query: BTreeMap<String, String> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        let call = Call { method: Method::GET, query, headers, body };
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        request("develop", "web", &call, now).map_err(|failure| failure.message)
    }

    #[test]
    fn every_option_of_kubectl_is_read() {
        let since = Some("2026-01-01T00:09:30Z".parse().unwrap());
        let read_all = read(&[
            ("tailLines", "0"),
            ("sinceSeconds", "30"),
            ("timestamps", "true"),
            ("limitBytes", "100"),
            ("follow", "true"),
            ("previous", "false"),
            ("container", "main"),
        ]);
        let expected = LogRequest {
            namespace: "develop".to_owned(),
            pod: "web".to_owned(),
            container: Some("main".to_owned()),
            follow: true,
            previous: false,
            tail_lines: Some(0),
            since,
            timestamps: true,
            limit_bytes: Some(100),
        };
        assert_eq!(read_all, Ok(expected));
        assert_eq!(read(&[("sinceTime", "2026-01-01T00:09:30Z")]).unwrap().since, since);
        assert_eq!(read(&[]).unwrap().since, None);
    }

    #[test]
    fn invalid_options_are_refused() {
        for (query, said) in [
            (&[("tailLines", "-1")][..], "tailLines"),
            (&[("sinceSeconds", "0")], "sinceSeconds"),
            (&[("limitBytes", "0")], "limitBytes"),
            (&[("sinceTime", "yesterday")], "sinceTime"),
            (&[("sinceSeconds", "1"), ("sinceTime", "2026-01-01T00:00:00Z")], "at most one"),
        ] {
            let message = read(query).unwrap_err();
            assert!(message.contains(said), "{query:?}: {message}");
        }
    }
}
