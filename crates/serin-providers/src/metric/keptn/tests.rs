//! Golden conversations with the API server about KeptnMetrics.

use expect_test::expect;

use super::super::talk::{Heard, Talk, ended};
use super::*;
use crate::testing::yaml;

fn check(query: &str, seen: Option<Seen<Arc<Value>>>, expected: expect_test::Expect) {
    let spec = format!("{{provider: {{type: keptn}}, query: '{query}'}}");
    let heard = seen.map(Heard::Object).into_iter().collect();
    expected.assert_eq(&Talk::of(&spec, None).told(heard));
}

fn metric(text: &str) -> Option<Seen<Arc<Value>>> {
    Some(Seen::Present(Arc::new(yaml(text))))
}

const QUERY: &str = "keptnmetric/Observed/response-time\n";

#[test]
fn the_value_is_read_with_what_it_is_about() {
    check(
        QUERY,
        metric(
            "{spec: {range: {interval: 2m}}, status: {value: '1.5', lastUpdated: '2026-01-01T00:09:30Z'}}",
        ),
        expect![[r#"
            read KeptnMetric observed/response-time
            = 1.5, of the last 150 s
        "#]],
    );
    check(
        QUERY,
        metric("{status: {value: '7', lastUpdated: '2026-01-01T00:09:59Z'}}"),
        expect![[r#"
            read KeptnMetric observed/response-time
            = 7, of the last 301 s
        "#]],
    );
    check(
        QUERY,
        metric("{status: {value: '7'}}"),
        expect![[r#"
            read KeptnMetric observed/response-time
            = 7
        "#]],
    );
}

#[test]
fn what_is_not_there_is_told() {
    for (found, expected) in [
        ("{}", "= no data: KeptnMetric observed/m has no value"),
        (
            "{status: {value: '', errMsg: no such host}}",
            "= no data: KeptnMetric observed/m has no value: no such host",
        ),
        ("{status: {value: NaN}}", "= no data: KeptnMetric observed/m is not a number"),
        (
            "{status: {value: much}}",
            "= error: the value of KeptnMetric observed/m is no number: \"much\"",
        ),
    ] {
        let spec = "{provider: {type: keptn, address: 'http://x', secretRef: {name: s}}, query: keptnmetrics/observed/m}";
        let heard = metric(found).map(Heard::Object).into_iter().collect();
        assert_eq!(ended(&Talk::of(spec, Some("{}")).hold(heard)), expected);
    }
    check(
        QUERY,
        Some(Seen::Absent),
        expect![[r#"
        read KeptnMetric observed/response-time
        = error: KeptnMetric observed/response-time does not exist
    "#]],
    );
    check(
        QUERY,
        Some(Seen::Unreadable("forbidden".into())),
        expect![[r#"
        read KeptnMetric observed/response-time
        = error: KeptnMetric observed/response-time cannot be read: forbidden
    "#]],
    );
}

#[test]
fn only_a_name_is_read() {
    for query in [
        "up",
        "keptnmetric/a",
        "keptnmetric/a/b/c",
        "keptnmetric//b",
        "keptnmetric/a/b?x=1",
        "keptnmetric/../b c",
        "secret/a/b",
    ] {
        check(
            query,
            None,
            expect![[r#"
            = error: the query is of no use: write keptnmetric/NAMESPACE/NAME
        "#]],
        );
    }
    check(
        "analysis/a/b/1m",
        None,
        expect![[r#"
        = error: the query is of no use: an Analysis is not supported yet; name a KeptnMetric
    "#]],
    );
}
