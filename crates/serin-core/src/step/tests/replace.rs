//! Configs that change in the middle of an analysis: what is analysed was started with them.

use expect_test::expect;

use super::world::canary;
use crate::model::*;

#[test]
fn pods_are_started_again_before_a_changed_config_is_analysed() {
    let mut world = canary();
    world.configs.insert("configmap/flags".into(), "one".into());
    let mut world = world.resting();
    world.push("s1:v2");
    while world.canary.status.canary_weight < 10 {
        world.run(1);
    }
    world.take_log();
    world.configs.insert("configmap/flags".into(), "two".into());
    while world.canary.status.canary_weight > 0 {
        world.run(1);
    }
    while world.canary.status.canary_weight == 0 {
        world.run(1);
    }
    expect![[r#"
        5726s Progressing 0 (route 10) Restarted [!route 0]
               - New revision detected! Restarting analysis for backend.develop <Info: New revision detected, progressing canary analysis.>
        5728s Progressing 0 (route 0) Draining
        5731s Progressing 0 (route 0) PodsReplaced [route 0] [scale 0]
               - A config changed after the canary's pods were started: they are started again.
        5733s Progressing 0 (route 0) PodsReplaced [scale 2]
        5735s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5736s Progressing 10 (route 0) Advanced [route 10]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary weight 10
    "#]].assert_eq(&world.take_log());
    world.until(Phase::Succeeded);
    let primary = world.primary.as_ref().unwrap();
    assert_eq!(primary.configs["configmap/flags"], "two");
}

#[test]
fn a_release_of_configs_alone_starts_its_pods_after_the_change() {
    let mut world = canary();
    world.configs.insert("configmap/flags".into(), "one".into());
    let mut world = world.resting();
    world.take_log();
    world.configs.insert("configmap/flags".into(), "two".into());
    world.until(Phase::Progressing);
    assert!(!world.canary.status.outdated_pods, "at rest nothing runs that could be outdated");
}
