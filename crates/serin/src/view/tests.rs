//! The picture of a release, from the documents that the cluster has at each moment of it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serin_core::judge::design::{Design, Measured as Asked, Memory};
use serin_core::parse::{self, Limits};
use serin_judge::counters::{Born, Reading, Side as Judged};
use serin_judge::monitor::Monitor;

use super::fleet::row;
use super::*;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn canary(status: &Value) -> Value {
    json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": {"name": "backend", "namespace": "develop", "creationTimestamp": time(-500)},
        "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
            "service": {"port": 80},
            "analysis": {
                "interval": "10s", "threshold": 2, "stepWeights": [5, 10, 20],
                "guard": {"errorRate": {"slo": 1}},
                "webhooks": [{"name": "sign-off", "type": "confirm-promotion", "url": "http://gate/"}],
            },
        },
        "status": status,
    })
}

/// A status at so many seconds after the release began, with the guard's memory where it has counted.
fn status(phase: &str, weight: u8, code: &str, at: i64, counted: Option<(u64, u64)>) -> Value {
    let mut status = json!({
        "phase": phase, "canaryWeight": weight, "failedChecks": 0,
        "lastAppliedSpec": "s1:new", "lastPromotedSpec": "s1:old",
        "analysisStartTime": time(0), "phaseTime": time(0), "lastStepTime": time(at), "weightTime": time(at),
        "lastReason": {"code": code, "message": format!("{code} at {at}."), "time": time(at)},
    });
    if let Some((requests, bad)) = counted {
        status["guard"] = memory(at, requests, bad, weight);
    }
    status
}

fn memory(at: i64, requests: u64, bad: u64, weight: u8) -> Value {
    let spec = parse::canary(&canary(&Value::Null), &Limits::default()).unwrap().spec;
    let measured = Asked { objectives: vec![0], ..Asked::default() };
    let Design { config, sources, bounds } =
        Design::new(&spec.analysis.guard.unwrap(), &measured, 3);
    let mut watch = Monitor::new(config, bounds.len(), sources).unwrap();
    for (look, part) in [(1, 0), (2, 1)] {
        let reading = |side, requests, errors| Reading {
            side,
            series: "gateway",
            born: Born::Before,
            started: None,
            warm: true,
            requests: part * requests,
            errors: part * errors,
            timed: part * requests,
            within: &[],
        };
        let sides =
            [reading(Judged::Canary, requests, bad), reading(Judged::Primary, 10 * requests, 0)];
        watch.observe(look * 1000, sides).unwrap();
    }
    let watch = watch.save();
    Memory { time: time(at), weight, steps: 3, measured, decided: None, watch }.to_value()
}

pub(crate) fn seen(track: &Track, at: i64) -> ReleaseView {
    view(track, &Surroundings::default(), time(at))
}

pub(crate) fn released() -> Track {
    let mut track =
        Track::new(canary(&status("Initialized", 0, "Initialized", -400, None)), time(-300))
            .unwrap();
    let mut note = |status: Value, at: i64| track.note(canary(&status), time(at));
    note(status("Progressing", 0, "NewRevision", 0, None), 0);
    note(status("Progressing", 0, "CanaryNotReady", 1, None), 1);
    note(status("Progressing", 5, "Advanced", 3, None), 3);
    note(status("Progressing", 5, "Advanced", 3, Some((100, 0))), 8);
    note(status("Progressing", 10, "Advanced", 13, Some((300, 0))), 13);
    track
}

#[test]
fn a_release_under_way_shows_its_steps_its_looks_and_what_is_ahead() {
    let mut track = released();
    track.run(Images { old: "shop:1".into(), new: "shop:2".into(), ..Images::default() });
    let view = seen(&track, 15);
    assert_eq!((view.state, view.running, view.weight), (State::Running, true, 10));
    assert_eq!(view.t0, time(0).as_millisecond());
    let steps: Vec<(f64, u8)> = view.staircase.iter().map(|step| (step.t, step.weight)).collect();
    assert_eq!(steps, [(0.0, 0), (3.0, 5), (13.0, 10)]);
    let codes: Vec<&str> = view.decisions.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(codes, ["NewRevision", "CanaryNotReady", "Advanced", "Advanced"]);
    let ahead = view.plan.unwrap().ahead;
    assert_eq!((ahead[0].weight, ahead[0].at, ahead[0].why.as_str()), (20, Some(23.0), ""));
    assert_eq!(
        (ahead[1].promotes, ahead[1].at, ahead[1].why.as_str()),
        (true, None, "gate sign-off")
    );
    assert_eq!(
        view.gates,
        [Gate { name: "sign-off".into(), kind: "confirm-promotion", state: GateState::Later }]
    );
    let canary = &view.looks.objectives[0].canary;
    assert_eq!(
        (canary.requests.as_slice(), canary.bad.as_slice()),
        ([100, 300].as_slice(), [0, 0].as_slice())
    );
    let guard = view.guard.unwrap();
    let known = guard.evidence.unwrap();
    assert!((guard.log_limit - 100_f64.ln()).abs() < 1e-9);
    // What is drawn is what the guard said, to the last digit.
    assert_eq!(view.looks.log_evidence.last(), Some(&known.log_evidence));
    let beside = known.checks.iter().find(|check| check.beside_primary).unwrap();
    assert_eq!(canary.high.last(), Some(&beside.canary.high));
    assert_eq!(view.looks.objectives[0].limit.last(), Some(&beside.limit));
    assert_eq!(view.headline.what, "Advanced at 13.");
}

/// The same release, rolled back.
pub(crate) fn rolled_back() -> Track {
    let mut track = released();
    track.run(Images { old: "shop:1".into(), new: "shop:2".into(), ..Images::default() });
    let mut failed = status("Failed", 0, "GuardRolledBack", 16, Some((400, 90)));
    failed["drainTime"] = json!(time(16));
    failed["phaseTime"] = json!(time(16));
    track.note(canary(&failed), time(16));
    failed["lastReason"] =
        json!({"code": "RolledBack", "message": "No traffic and no pods.", "time": time(22)});
    track.note(canary(&failed), time(22));
    track
}

#[test]
fn a_rollback_says_why_though_more_was_said_since() {
    let mut track = rolled_back();
    let view = seen(&track, 60);
    assert_eq!((view.state, view.running, view.end), (State::Failed, false, Some(16.0)));
    assert_eq!(view.headline.what, "GuardRolledBack at 16.");
    assert_eq!(view.headline.mark, Mark::Down);
    assert_eq!(view.headline.command, "serin explain develop/backend");
    assert!(view.headline.docs.url.ends_with("guides/troubleshooting/#guardrolledback"));
    assert!(view.headline.more.contains("the guard acts at 1 in 100"), "{}", view.headline.more);
    assert_eq!(view.staircase.last(), Some(&Step { t: 16.0, weight: 0 }));
    assert_eq!(view.plan.unwrap().ahead, []);
    let row = row(&track);
    assert_eq!((row.state, row.text.as_str()), (State::Failed, "GuardRolledBack at 16."));
    assert_eq!((row.old.as_str(), row.new.as_str()), ("shop:1", "shop:2"));
    assert_eq!(row.under_way.unwrap().canary.last(), Some(&0.225));

    // Another release knows nothing of this one.
    let mut next = status("Progressing", 0, "NewRevision", 100, None);
    next["lastAppliedSpec"] = json!("s1:newer");
    next["analysisStartTime"] = json!(time(100));
    track.note(canary(&next), time(100));
    let view = seen(&track, 101);
    assert_eq!(
        (view.t0, view.looks.t.len(), view.decisions.len()),
        (time(100).as_millisecond(), 0, 1)
    );
    assert!(view.guard.unwrap().evidence.is_none());
}

#[test]
fn what_was_before_anybody_looked_is_told_by_events() {
    let mut track =
        Track::new(canary(&status("Progressing", 10, "GuardHolds", 30, None)), time(31)).unwrap();
    let event = |at: i64, code: &str| (time(at), code.to_owned(), format!("Event {code}"));
    let told = [
        event(-100, "Promoted"),
        event(0, "NewRevision"),
        event(3, "Advanced"),
        event(13, "Advanced"),
        event(30, "GuardHolds"),
        event(31, "GuardHolds"),
    ];
    for _ in 0..3 {
        track.recall(&told);
    }
    let view = seen(&track, 32);
    let codes: Vec<&str> = view.decisions.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(codes, ["NewRevision", "Advanced", "Advanced", "GuardHolds"]);
    assert_eq!(
        view.decisions[3].text, "GuardHolds at 30.",
        "the status has more to say than its Event"
    );
    assert_eq!(view.state, State::Held);
    assert_eq!(view.plan.unwrap().ahead[0].why, "until more is known");
}

#[test]
fn promoted_images_stay_beside_those_before() {
    let mut track = released();
    let run = |old: &str, new: &str| Images {
        old: old.into(),
        primary: old.into(),
        new: new.into(),
        by: String::new(),
    };
    track.run(run("shop:1", "shop:2"));
    track.run(run("shop:2", "shop:2"));
    let release = seen(&track, 20).release;
    assert_eq!(
        (release.old.as_str(), release.new.as_str(), release.primary.as_str()),
        ("shop:1", "shop:2", "shop:2")
    );
    track.run(run("shop:2", "shop:3"));
    assert_eq!(seen(&track, 20).release.old, "shop:2");
}

#[test]
fn every_phase_has_a_state_and_trouble_is_shown_in_each() {
    use serin_core::status::{ReasonRecord, Status};
    for phase in Phase::ALL {
        let of = |code: &str| Status {
            phase: Some(phase),
            last_reason: Some(ReasonRecord { code: code.to_owned(), ..ReasonRecord::default() }),
            ..Status::default()
        };
        assert_eq!(state(&of("SpecInvalid"), false), State::Trouble, "{phase:?}");
        assert_eq!(state(&of("SpecInvalid"), true), State::Suspended, "{phase:?}");
        assert_ne!(state(&of("Advanced"), false), State::Trouble, "{phase:?}");
    }
    assert_eq!(state(&Status::default(), false), State::Starting);
}

#[test]
fn a_spec_that_makes_no_sense_and_a_long_life_are_shown_in_bounds() {
    let mut broken = canary(&status("Progressing", 5, "Advanced", 0, None));
    broken["spec"]["analysis"]["stepWeights"] = json!(["a lot\u{1b}[31m"]);
    let mut track = Track::new(broken.clone(), time(1)).unwrap();
    for round in 0..5000_i64 {
        broken["status"]["lastReason"] = json!({"code": if round % 2 == 0 { "Advanced" } else { "CheckFailed" }, "message": "x", "time": time(round)});
        broken["status"]["canaryWeight"] = json!(round % 100);
        track.note(broken.clone(), time(round));
    }
    let view = view(&track, &Surroundings::default(), time(5000) + SignedDuration::from_millis(5));
    assert!(view.plan.is_none() && view.guard.is_none() && !view.findings.is_empty());
    assert!(view.decisions.len() <= DECISIONS_MAX && view.staircase.len() <= 200);
    assert!(!serde_json::to_string(&view).unwrap().contains('\u{1b}'));
}
