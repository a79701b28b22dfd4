//! What the scraped target shows, step by step: every sample with its time, so that both servers have the same.

use std::fmt::Write as _;

/// One story each of a canary, told by every gateway at once.
pub(crate) const NAMESPACES: [&str; 7] =
    ["healthy", "errors", "broken", "idle", "restarted", "silenced", "absent"];

/// What the target shows at a step, every sample with its time.
pub(crate) fn exposition(base: i64, step: i64) -> String {
    let at = base + step * 1000;
    let mut text = String::new();
    let mut hits = |service: &str, code: &str, value: i64| {
        let _ = writeln!(
            text,
            "hits_total{{service=\"develop-{service}-80@kubernetescrd\",code=\"{code}\"}} {value} {at}"
        );
    };
    // Falls in the middle, as after a restart.
    hits("web", "200", if step < 7 { 10 * step } else { 3 * (step - 7) });
    if step >= 5 {
        hits("web", "500", 2 * (step - 4));
    }
    hits("bad", "500", 5 * step);
    hits("idle", "200", 7);
    let _ = writeln!(
        text,
        "hits_again_total{{service=\"develop-bad-80@kubernetescrd\",code=\"500\"}} {step} {at}"
    );
    for namespace in NAMESPACES {
        gateways(namespace, step, at, &mut text);
    }
    // Without times of their own: these get a marker when they end.
    let _ = writeln!(text, "staying{{half=\"first\"}} 3");
    if step < 6 {
        let _ = writeln!(text, "vanishing{{half=\"first\"}} 42\nleaving 1");
    }
    if !(3..9).contains(&step) {
        let _ = writeln!(text, "returning{{half=\"both\"}} 7");
    }
    for (le, share) in [("0.1", 4), ("0.3", 8), ("1.2", 9), ("+Inf", 10)] {
        let _ = writeln!(
            text,
            "took_seconds_bucket{{service=\"develop-web-80@kubernetescrd\",le=\"{le}\"}} {} {at}",
            share * step
        );
        for (code, count) in [("200", 9), ("500", 1)] {
            let _ = writeln!(
                text,
                "traefik_service_request_duration_seconds_bucket{{code=\"{code}\",method=\"GET\",protocol=\"http\",service=\"develop-backend-canary-80@kubernetescrd\",le=\"{le}\"}} {} {at}",
                share * count * step
            );
        }
        let _ = writeln!(
            text,
            "http_request_duration_seconds_bucket{{kubernetes_namespace=\"develop\",kubernetes_pod_name=\"backend-5c9f-x1\",status=\"200\",le=\"{le}\"}} {} {at}",
            share * step
        );
    }
    for (code, count) in [("200", 90), ("500", 10)] {
        let _ = writeln!(
            text,
            "traefik_service_requests_total{{code=\"{code}\",method=\"GET\",protocol=\"http\",service=\"develop-backend-canary-80@kubernetescrd\"}} {} {at}",
            count * step
        );
        let _ = writeln!(
            text,
            "http_request_duration_seconds_count{{kubernetes_namespace=\"develop\",kubernetes_pod_name=\"backend-5c9f-x1\",status=\"{code}\"}} {} {at}",
            count * step
        );
    }
    text
}

/// Requests so far: well answered, failed.
fn counts(namespace: &str, step: i64) -> Option<(i64, i64)> {
    match namespace {
        "healthy" => Some((40 * step, 0)),
        "errors" => Some((45 * step, if step >= 3 { 5 * (step - 2) } else { 0 })),
        "broken" => Some((0, 20 * step)),
        "idle" => Some((100, 1)),
        "restarted" => {
            Some(if step < 7 { (1000 + 30 * step, 10 + step) } else { (3 * (step - 7), 0) })
        }
        // Ends without a word; the look-back and the window decide how long it counts.
        "silenced" if step < 6 => Some((12 * step, step)),
        // Nothing of it at all.
        _ => None,
    }
}

/// A counter per answer and a histogram, under the labels that a gateway gives them.
struct Gateway<'a> {
    counter: &'a str,
    histogram: &'a str,
    labels: String,
    /// The bounds of the histogram are seconds or milliseconds.
    unit: f64,
}

const GATEWAYS: &str = include_str!("gateways.txt");

/// Everything that Flagger's builtin checks read, for one canary and its primary.
fn gateways(namespace: &str, step: i64, at: i64, text: &mut String) {
    let Some((good, bad)) = counts(namespace, step) else { return };
    for line in GATEWAYS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap();
        let (counter, histogram, unit) = (word(), word(), word());
        let labels = word().replace("%namespace", namespace);
        let unit = if unit == "ms" { 1000.0 } else { 1.0 };
        let gateway = Gateway { counter, histogram, labels, unit };
        gateway.write("200", "success", good, at, text);
        gateway.write("503", "failure", bad, at, text);
    }
}

impl Gateway<'_> {
    fn write(&self, code: &str, class: &str, count: i64, at: i64, text: &mut String) {
        // A gateway has no series for an answer that it has never given.
        if count == 0 && code != "200" {
            return;
        }
        let labels = self.labels.replace("%code", code).replace("%class", class);
        let Self { counter, histogram, unit, .. } = self;
        let _ = writeln!(text, "{counter}{{{labels}}} {count} {at}");
        // Failures take longer.
        let shares = if code == "200" { [60, 90, 97, 99, 100] } else { [10, 30, 60, 80, 90] };
        for (bound, share) in [0.01, 0.1, 0.25, 0.5, 1.0].iter().zip(shares) {
            let le = bound * unit;
            let _ = writeln!(
                text,
                "{histogram}_bucket{{{labels},le=\"{le}\"}} {} {at}",
                count * share / 100
            );
        }
        let _ = writeln!(text, "{histogram}_bucket{{{labels},le=\"+Inf\"}} {count} {at}");
        let _ = writeln!(text, "{histogram}_sum{{{labels}}} {} {at}", count * 3);
        let _ = writeln!(text, "{histogram}_count{{{labels}}} {count} {at}");
    }
}
