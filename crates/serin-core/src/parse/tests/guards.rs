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
            let crate::model::Objective { name, slo, margin, asked, .. } = objective;
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

fn complaints(rows: &[&str], adopted: bool) -> String {
    let mut out = String::new();
    for row in rows {
        let mut object = object(&format!("analysis: {{guard: {row}}}"));
        object["status"] = json!({"adopted": adopted});
        let guard = &mut object["spec"]["analysis"]["guard"];
        guard["errorRate"] = json!({"slo": 1});
        out.push_str(&format!("{row}\n"));
        match canary(&object) {
            Ok(canary) => {
                let analysis = canary.spec.analysis;
                let guard = analysis.guard.unwrap();
                let (bake, soak) = (guard.min_bake_secs, guard.soak_secs);
                out.push_str(&format!("    {:?} bake {bake} soak {soak:?}\n", guard.pace));
                if let Some(ladder) = analysis.schedule.ladder() {
                    let shares: Vec<_> = ladder.iter().map(|share| share.percent()).collect();
                    out.push_str(&format!("    {shares:?}\n"));
                }
            }
            Err(failure) => {
                for error in failure.obstacles() {
                    out.push_str(&format!("    {error}\n"));
                }
            }
        }
    }
    out
}

#[test]
fn paces_and_soaks() {
    let rows = [
        "{}",
        "{pace: evidence}",
        "{pace: evidence, blastRadius: 5, minDwell: 30s, maxDuration: 1h, minBake: 10m, soak: {duration: 1h30m}}",
        "{pace: fixed, minBake: 90s}",
        "{blastRadius: 5, minDwell: 1s, maxDuration: 1s}",
        "{pace: quick}",
        "{pace: evidence, mode: observe}",
        "{pace: evidence, mode: 'off', soak: {duration: 1m}, minBake: 1s}",
        "{pace: evidence, blastRadius: 0, minDwell: 2h, minBake: soon}",
        "{soak: {}}",
        "{soak: {duration: 5s}}",
        "{warmUp: 1h}",
        "{warmUp: soon}",
    ];
    expect![[r#"
        {}
            Fixed bake 0 soak None
            [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        {pace: evidence}
            Evidence(EvidencePace { blast_radius: 25.0, min_dwell_secs: 10, max_duration_secs: 1800 }) bake 0 soak None
            [1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        {pace: evidence, blastRadius: 5, minDwell: 30s, maxDuration: 1h, minBake: 10m, soak: {duration: 1h30m}}
            Evidence(EvidencePace { blast_radius: 5.0, min_dwell_secs: 30, max_duration_secs: 3600 }) bake 600 soak Some(5400)
            [1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        {pace: fixed, minBake: 90s}
            Fixed bake 90 soak None
            [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        {blastRadius: 5, minDwell: 1s, maxDuration: 1s}
            spec.analysis.guard.blastRadius: belongs to pace evidence; set that, or remove it
            spec.analysis.guard.minDwell: belongs to pace evidence; set that, or remove it
            spec.analysis.guard.maxDuration: belongs to pace evidence; set that, or remove it
        {pace: quick}
            spec.analysis.guard.pace: "quick" is none of fixed, evidence
        {pace: evidence, mode: observe}
            spec.analysis.guard.pace: evidence lets the guard decide: it needs mode enforce
        {pace: evidence, mode: 'off', soak: {duration: 1m}, minBake: 1s}
            spec.analysis.guard.pace: evidence lets the guard decide: it needs mode enforce
            spec.analysis.guard.minBake: has no effect with mode off; remove one of them
            spec.analysis.guard.soak: has no effect with mode off; remove one of them
        {pace: evidence, blastRadius: 0, minDwell: 2h, minBake: soon}
            spec.analysis.guard.blastRadius: must be between 1 and 1000000, not 0
            spec.analysis.guard.minDwell: 7200s is more than maxDuration 1800s
            spec.analysis.guard.minBake: "soon" is no duration such as 30s or 10m
        {soak: {}}
            spec.analysis.guard.soak.duration: is required
        {soak: {duration: 5s}}
            spec.analysis.guard.soak.duration: "5s" is no duration between 10s and 24h
        {warmUp: 1h}
            spec.analysis.guard.warmUp: must be at most 10m, not 3600s
        {warmUp: soon}
            spec.analysis.guard.warmUp: "soon" is no duration such as 30s or 10m
    "#]].assert_eq(&complaints(&rows, false));
    expect![[r#"
        {pace: evidence}
            spec.analysis.guard.pace: evidence lets the guard decide: it needs mode enforce
        {mode: enforce, pace: evidence}
            Evidence(EvidencePace { blast_radius: 25.0, min_dwell_secs: 10, max_duration_secs: 1800 }) bake 0 soak None
            [1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    "#]]
        .assert_eq(&complaints(&["{pace: evidence}", "{mode: enforce, pace: evidence}"], true));
}

#[test]
fn what_follows_from_not_knowing_is_named_or_usual() {
    let rows = [
        ("{slo: 1}", "hold", None),
        ("{slo: 1, noData: pass, cannotMeasure: fail}", "pass", Some("fail")),
    ];
    for (errors, no_data, cannot_measure) in rows {
        let object = object(&format!("analysis: {{guard: {{errorRate: {errors}}}}}"));
        let guard = canary(&object).unwrap().spec.analysis.guard.unwrap();
        let objective = &guard.objectives[0];
        assert_eq!(objective.no_data.name(), no_data);
        assert_eq!(objective.cannot_measure.map(crate::model::Policy::name), cannot_measure);
        assert_eq!(guard.warm_up_secs, 5);
    }
    let object = object("analysis: {guard: {latency: [{threshold: 1, slo: 1, noData: wait}]}}");
    let errors = canary(&object).unwrap_err().findings;
    let text = "spec.analysis.guard.latency[0].noData: \"wait\" is none of hold, pass, fail";
    assert_eq!(errors[0].to_string(), text);
}

#[test]
fn the_shape_of_latencies_is_compared_with_a_margin() {
    guards(
        &[
            "analysis: {guard: {latencyShape: {}}}",
            "analysis: {metrics: [{name: request-duration, thresholdRange: {max: 500}}], guard: {pace: evidence, soak: {duration: 10m}, latencyShape: {tolerance: {absolute: 1, relative: 1.1}}}}",
        ],
        false,
        expect![[r#"
            analysis: {guard: {latencyShape: {}}}
                enforce every 1000 ms, alpha 0.01, asked true, attributed true
                latency-shape at most 0.01, 1.25 x primary + 0.005, asked true
            analysis: {metrics: [{name: request-duration, thresholdRange: {max: 500}}], guard: {pace: evidence, soak: {duration: 10m}, latencyShape: {tolerance: {absolute: 1, relative: 1.1}}}}
                enforce every 1000 ms, alpha 0.01, asked true, attributed true
                slower than 500 ms at most 0.01, 1 x primary + 0.005, asked false
                latency-shape at most 0.01, 1.1 x primary + 0.01, asked true
        "#]],
    );
}

#[test]
fn what_the_shape_cannot_do_is_refused() {
    let rows = [
        "{latencyShape: {tolerance: {absolute: 0, relative: 1000}}}",
        "{latencyShape: {noData: wait}}",
        "{latencyShape: yes}",
    ];
    expect![[r#"
        {latencyShape: {tolerance: {absolute: 0, relative: 1000}}}
            spec.analysis.guard.latencyShape.tolerance.absolute: must be between 0.01 and 100, not 0
            spec.analysis.guard.latencyShape.tolerance.relative: must be between 0.1 and 100, not 1000
        {latencyShape: {noData: wait}}
            spec.analysis.guard.latencyShape.noData: "wait" is none of hold, pass, fail
        {latencyShape: yes}
            spec.analysis.guard.latencyShape: must be an object, not a boolean
    "#]].assert_eq(&complaints(&rows, false));
    let mut out = String::new();
    for row in ["{latencyShape: {}, pace: evidence}", "{latencyShape: {}, soak: {duration: 10m}}"] {
        let object = object(&format!("analysis: {{guard: {row}}}"));
        for error in canary(&object).unwrap_err().findings {
            out.push_str(&format!("{error}\n"));
        }
    }
    expect![[r#"
        spec.analysis.guard.pace: evidence needs an objective beside latencyShape, which only compares: set errorRate or latency, or use a builtin check
        spec.analysis.guard.soak: needs an objective beside latencyShape, which only compares: set errorRate or latency, or use a builtin check
    "#]].assert_eq(&out);
}
