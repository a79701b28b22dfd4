//! What becomes of `spec.analysis.guard`, named or derived.

use expect_test::expect;

use super::*;

fn guards(rows: &[&str], adopted: bool, expected: Expect) {
    let mut out = String::new();
    for row in rows {
        let mut object = object(row);
        object["status"] = json!({"adopted": adopted});
        out.push_str(&format!("{row}\n"));
        let Some(guard) = canary(&object).unwrap().spec.analysis.guard else {
            out.push_str("    none\n");
            continue;
        };
        let (mode, millis, alpha) = (guard.mode.name(), guard.interval_millis, guard.alpha);
        let (asked, attributed) = (guard.asked, guard.attributed);
        out.push_str(&format!(
            "    {mode} every {millis} ms, alpha {alpha}, asked {asked}, attributed {attributed}\n"
        ));
        for objective in guard.objectives {
            let crate::model::Objective { name, bad: _, slo, margin, asked } = objective;
            let (absolute, relative) = (margin.absolute, margin.relative);
            out.push_str(&format!(
                "    {name} at most {slo}, {relative} x primary + {absolute}, asked {asked}\n"
            ));
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn guards_are_named_or_derived() {
    guards(
        &[
            "",
            "analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}, {name: request-duration, thresholdRange: {max: 500}}]}",
            "analysis: {metrics: [{name: request-success-rate, threshold: 100}, {name: request-duration, threshold: 250}]}",
            "analysis: {metrics: [{name: request-success-rate, threshold: 0}, {name: mine, query: up, threshold: 1}]}",
            "analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {mode: 'off'}}",
            "analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {latency: [{threshold: 300, slo: 5}]}}",
            "analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {mode: observe, interval: 500ms, alpha: 0.05, attribution: none, errorRate: {slo: 0.1, tolerance: {absolute: 1, relative: 1.5}}}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 3, metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]}}",
        ],
        false,
        expect![[r#"

                none
            analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}, {name: request-duration, thresholdRange: {max: 500}}]}
                enforce every 1000 ms, alpha 0.01, asked false, attributed true
                error-rate at most 0.01, 1 x primary + 0.005, asked false
                slower than 500 ms at most 0.01, 1 x primary + 0.005, asked false
            analysis: {metrics: [{name: request-success-rate, threshold: 100}, {name: request-duration, threshold: 250}]}
                enforce every 1000 ms, alpha 0.01, asked false, attributed true
                error-rate at most 0.0001, 1 x primary + 0.00005, asked false
                slower than 250 ms at most 0.01, 1 x primary + 0.005, asked false
            analysis: {metrics: [{name: request-success-rate, threshold: 0}, {name: mine, query: up, threshold: 1}]}
                none
            analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {mode: 'off'}}
                none
            analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {latency: [{threshold: 300, slo: 5}]}}
                enforce every 1000 ms, alpha 0.01, asked true, attributed true
                slower than 300 ms at most 0.05, 1 x primary + 0.025, asked true
                error-rate at most 0.01, 1 x primary + 0.005, asked false
            analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {mode: observe, interval: 500ms, alpha: 0.05, attribution: none, errorRate: {slo: 0.1, tolerance: {absolute: 1, relative: 1.5}}}}
                observe every 500 ms, alpha 0.05, asked true, attributed false
                error-rate at most 0.001, 1.5 x primary + 0.01, asked true
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 3, metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]}}
                none
        "#]],
    );
}

#[test]
fn what_came_from_flagger_is_observed_unless_told_otherwise() {
    guards(
        &[
            "analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]}",
            "analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {mode: enforce}}",
        ],
        true,
        expect![[r#"
            analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]}
                observe every 1000 ms, alpha 0.01, asked false, attributed true
                error-rate at most 0.01, 1 x primary + 0.005, asked false
            analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}], guard: {mode: enforce}}
                enforce every 1000 ms, alpha 0.01, asked true, attributed true
                error-rate at most 0.01, 1 x primary + 0.005, asked false
        "#]],
    );
}
