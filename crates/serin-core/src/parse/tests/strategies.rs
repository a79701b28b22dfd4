//! Which weights an analysis visits.

use super::*;

#[test]
fn ladders_are_flaggers() {
    strategies(
        &[
            "analysis: {stepWeight: 10, maxWeight: 50}",
            "analysis: {stepWeight: 20, maxWeight: 50}",
            "analysis: {stepWeight: 60, maxWeight: 50}",
            "analysis: {stepWeight: 30}",
            "analysis: {stepWeight: 100}",
            "analysis: {stepWeight: 250}",
            "analysis: {stepWeight: 50, maxWeight: 0}",
            "analysis: {stepWeight: 50, maxWeight: -4}",
            "analysis: {stepWeight: 50, maxWeight: 101}",
            "analysis: {stepWeight: 0}",
            "analysis: {stepWeight: -5}",
            "analysis: {stepWeight: 2.5}",
            "analysis: {stepWeight: 50.0}",
            "analysis: {stepWeight: '50'}",
            "analysis: {stepWeight: 50, stepWeightPromotion: 20}",
            "analysis: {stepWeight: 50, stepWeightPromotion: 0}",
            "analysis: {stepWeight: 50, stepWeightPromotion: 200}",
            "analysis: {stepWeight: 50, stepWeightPromotion: -1}",
            "analysis: {stepWeight: null, stepWeights: [5, 10, 20, 30, 40, 50]}",
            "analysis: {stepWeight: null, stepWeights: [1]}",
            "analysis: {stepWeight: null, stepWeights: [50, 100]}",
            "analysis: {stepWeight: null, stepWeights: [50, 110]}",
            "analysis: {stepWeight: null, stepWeights: [50, 100, 110]}",
            "analysis: {stepWeight: null, stepWeights: []}",
            "analysis: {stepWeight: null, stepWeights: [0, 10]}",
            "analysis: {stepWeight: null, stepWeights: [10, 10]}",
            "analysis: {stepWeight: null, stepWeights: [10, 30, 20, 25, 40]}",
            "analysis: {stepWeight: null, stepWeights: [10, x, 2.5, null]}",
            "analysis: {stepWeight: null, stepWeights: 10}",
            "analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 20}",
            "analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 50}",
            "analysis: {stepWeight: null}",
            "analysis: {stepWeights: [10]}",
            "analysis: {stepWeights: [10], iterations: 3}",
            "analysis: {stepWeight: null, iterations: 3, maxWeight: 50, stepWeightPromotion: 10}",
            "analysis: {stepWeight: null, iterations: 0}",
        ],
        expect![[r#"
            analysis: {stepWeight: 10, maxWeight: 50} => 10 20 30 40 50
            analysis: {stepWeight: 20, maxWeight: 50} => 20 40 60
            analysis: {stepWeight: 60, maxWeight: 50} => 60
            analysis: {stepWeight: 30} => 30 60 90 100
            analysis: {stepWeight: 100} => 100
            analysis: {stepWeight: 250} => 100
            analysis: {stepWeight: 50, maxWeight: 0} => 50 100
            analysis: {stepWeight: 50, maxWeight: -4} => 50 100
            analysis: {stepWeight: 50, maxWeight: 101} => error spec.analysis.maxWeight: must be at most 100, not 101: it would never be reached
            analysis: {stepWeight: 0} => error spec.analysis.stepWeight: must be at least 1, not 0: the release would never advance
            analysis: {stepWeight: -5} => error spec.analysis.stepWeight: must be at least 1, not -5: the release would never advance
            analysis: {stepWeight: 2.5} => error spec.analysis.stepWeight: must be a whole number, not 2.5
            analysis: {stepWeight: 50.0} => 50 100
            analysis: {stepWeight: '50'} => error spec.analysis.stepWeight: must be a whole number, not a string
            analysis: {stepWeight: 50, stepWeightPromotion: 20} => 50 100, back by 20
            analysis: {stepWeight: 50, stepWeightPromotion: 0} => 50 100
            analysis: {stepWeight: 50, stepWeightPromotion: 200} => 50 100, back by 100
            analysis: {stepWeight: 50, stepWeightPromotion: -1} => error spec.analysis.stepWeightPromotion: must be between 0 and 2147483647, not -1
            analysis: {stepWeight: null, stepWeights: [5, 10, 20, 30, 40, 50]} => 5 10 20 30 40 50
            analysis: {stepWeight: null, stepWeights: [1]} => 1
            analysis: {stepWeight: null, stepWeights: [50, 100]} => 50 100
            analysis: {stepWeight: null, stepWeights: [50, 110]} => 50 100
                warning spec.analysis.stepWeights[1]: 110 is taken as 100
            analysis: {stepWeight: null, stepWeights: [50, 100, 110]} => 50 100
                warning spec.analysis.stepWeights[2]: 110 is taken as 100
            analysis: {stepWeight: null, stepWeights: []} => error spec.analysis.stepWeights: must not be empty: the release would never advance
            analysis: {stepWeight: null, stepWeights: [0, 10]} => error spec.analysis.stepWeights[0]: must be at least 1, not 0
            analysis: {stepWeight: null, stepWeights: [10, 10]} => error spec.analysis.stepWeights[1]: must be more than 10 before it, not 10: steps rise
            analysis: {stepWeight: null, stepWeights: [10, 30, 20, 25, 40]} => error spec.analysis.stepWeights[2]: must be more than 30 before it, not 20: steps rise; spec.analysis.stepWeights[3]: must be more than 30 before it, not 25: steps rise
            analysis: {stepWeight: null, stepWeights: [10, x, 2.5, null]} => error spec.analysis.stepWeights[1]: must be a whole number, not a string; spec.analysis.stepWeights[2]: must be a whole number, not 2.5; spec.analysis.stepWeights[3]: must be a whole number, not null
            analysis: {stepWeight: null, stepWeights: 10} => error spec.analysis.stepWeights: must be a list, not a number
            analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 20} => 10 20
            analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 50} => 10 20
                warning spec.analysis.maxWeight: has no effect with stepWeights, whose last is 20
            analysis: {stepWeight: null} => error spec.analysis.stepWeight: one of iterations, stepWeight and stepWeights is required
            analysis: {stepWeights: [10]} => error spec.analysis.stepWeight: only one of stepWeight, stepWeights can be set
            analysis: {stepWeights: [10], iterations: 3} => error spec.analysis.iterations: only one of iterations, stepWeight, stepWeights can be set
            analysis: {stepWeight: null, iterations: 3, maxWeight: 50, stepWeightPromotion: 10} => blue-green 3
                warning spec.analysis.maxWeight: has no effect with iterations
                warning spec.analysis.stepWeightPromotion: has no effect with iterations: all traffic returns at once
            analysis: {stepWeight: null, iterations: 0} => error spec.analysis.iterations: must be at least 1, not 0: the release would never end
        "#]],
    );
}

#[test]
fn provider_kubernetes_is_always_blue_green() {
    strategies(
        &[
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 5}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 0}}",
            "{provider: kubernetes, analysis: {stepWeight: 10, maxWeight: 50}}",
            "{provider: kubernetes, analysis: {stepWeight: null, stepWeights: [10, 20]}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 5, stepWeightPromotion: 10}}",
            "{provider: kubernetes, analysis: {stepWeight: null}}",
        ],
        expect![[r#"
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 5}} => blue-green 5
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 0}} => blue-green 10
                warning spec.analysis.iterations: provider kubernetes has no router to shift traffic with: the release is Blue/Green with 10 iterations
            {provider: kubernetes, analysis: {stepWeight: 10, maxWeight: 50}} => blue-green 10
                warning spec.analysis.maxWeight: has no effect with provider kubernetes, which has no router
                warning spec.analysis.stepWeight: provider kubernetes has no router to shift traffic with: the release is Blue/Green with 10 iterations
            {provider: kubernetes, analysis: {stepWeight: null, stepWeights: [10, 20]}} => blue-green 10
                warning spec.analysis.stepWeights: provider kubernetes has no router to shift traffic with: the release is Blue/Green with 10 iterations
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 5, stepWeightPromotion: 10}} => blue-green 5
                warning spec.analysis.stepWeightPromotion: has no effect with provider kubernetes, which has no router
            {provider: kubernetes, analysis: {stepWeight: null}} => error spec.analysis.stepWeight: one of iterations, stepWeight and stepWeights is required
        "#]],
    );
}

#[test]
fn what_never_runs_is_not_judged() {
    strategies(
        &[
            "{skipAnalysis: true, analysis: {stepWeight: 0}}",
            "{skipAnalysis: true, analysis: {stepWeight: null}}",
            "{skipAnalysis: true, analysis: {stepWeight: 10, maxWeight: 200}}",
            "{skipAnalysis: true, analysis: {stepWeight: null, stepWeights: [30, 20]}}",
            "{skipAnalysis: true, analysis: {mirror: true}}",
        ],
        expect![[r#"
            {skipAnalysis: true, analysis: {stepWeight: 0}} => 100
            {skipAnalysis: true, analysis: {stepWeight: null}} => 100
            {skipAnalysis: true, analysis: {stepWeight: 10, maxWeight: 200}} => 10 20 30 40 50 60 70 80 90 100
            {skipAnalysis: true, analysis: {stepWeight: null, stepWeights: [30, 20]}} => 100
            {skipAnalysis: true, analysis: {mirror: true}} => 10 20 30 40 50 60 70 80 90 100
        "#]],
    );
}

#[test]
fn copies_come_first() {
    strategies(
        &[
            "analysis: {stepWeight: 50, mirror: true}",
            "analysis: {stepWeight: 50, mirror: true, mirrorWeight: 20}",
            "analysis: {stepWeight: 50, mirror: true, mirrorWeight: 0}",
            "analysis: {stepWeight: 50, mirror: true, mirrorWeight: 101}",
            "analysis: {stepWeight: 50, mirror: false, mirrorWeight: 20}",
            "analysis: {stepWeight: null, iterations: 3, mirror: true}",
            "{routeRef: {kind: IngressRoute, name: r}, analysis: {stepWeight: null, iterations: 3, mirror: true, match: [{headers: {a: {exact: b}}}]}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 3, mirror: true, mirrorWeight: 20}}",
            "{provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: 50, mirror: true, mirrorWeight: 20}}",
        ],
        expect![[r#"
            analysis: {stepWeight: 50, mirror: true} => copies of 100, then 50 100
            analysis: {stepWeight: 50, mirror: true, mirrorWeight: 20} => copies of 20, then 50 100
            analysis: {stepWeight: 50, mirror: true, mirrorWeight: 0} => copies of 100, then 50 100
            analysis: {stepWeight: 50, mirror: true, mirrorWeight: 101} => error spec.analysis.mirrorWeight: must be between 0 and 100, not 101
            analysis: {stepWeight: 50, mirror: false, mirrorWeight: 20} => 50 100
                warning spec.analysis.mirrorWeight: has no effect without mirror
            analysis: {stepWeight: null, iterations: 3, mirror: true} => copies of 100, then blue-green 3
            {routeRef: {kind: IngressRoute, name: r}, analysis: {stepWeight: null, iterations: 3, mirror: true, match: [{headers: {a: {exact: b}}}]}} => matched 3
                warning spec.analysis.mirror: has no effect with match: the test has users from the beginning
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 3, mirror: true, mirrorWeight: 20}} => blue-green 3
                warning spec.analysis.mirror: has no effect with provider kubernetes, which has no router; remove it
                warning spec.analysis.mirrorWeight: has no effect with provider kubernetes, which has no router; remove it
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: 50, mirror: true, mirrorWeight: 20}} => copies of 20, then 50 100
        "#]],
    );
}
