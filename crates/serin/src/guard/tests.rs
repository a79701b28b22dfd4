//! What a session makes of pages: bounds that do not exist, gateways that do not answer, processes that start over.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serin_core::judge::design::Memory;
use serin_core::model::{Canary, Key, Policy};
use serin_core::observed::{Fitness, Guard, Visibility};
use serin_core::parse::{self, Limits};
use serin_providers::gateway::{Sampled, Scrape, Wanted};

use super::session::{Session, Trust};
use super::source::Scraped;
use super::{Guards, Shared, lock};

fn canary(analysis: &Value, status: &Value) -> Canary {
    let mut all = json!({"interval": "10s", "stepWeights": [5, 10]});
    for (field, value) in analysis.as_object().unwrap() {
        all[field] = value.clone();
    }
    let object = json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": {"name": "backend", "namespace": "develop"},
        "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
            "service": {"port": 80},
            "analysis": all,
        },
        "status": status,
    });
    parse::canary(&object, &Limits::default()).unwrap()
}

fn derived_spec() -> Value {
    json!({"metrics": [
        {"name": "request-success-rate", "thresholdRange": {"min": 99}},
        {"name": "request-duration", "thresholdRange": {"max": 500}},
    ]})
}

fn asked_spec() -> Value {
    json!({"guard": {"errorRate": {"slo": 1}, "latency": [{"threshold": 500, "slo": 1}]}})
}

fn session(analysis: &Value) -> Session {
    let canary = canary(analysis, &json!({"phase": "Progressing", "canaryWeight": 5}));
    Session::begin(&canary, canary.spec.analysis.guard.as_ref().unwrap(), false)
}

fn now(secs: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(secs)
}

/// A page with requests, failures among them and slow ones, by side; the histogram ends at `bound` seconds.
fn page(session: &Session, process: &str, bound: &str, sides: &[(&str, u64, u64, u64)]) -> Scraped {
    let mut wanted = Wanted::default();
    session.add_to(&mut wanted);
    let mut scrape = Scrape::new(&wanted);
    for (side, requests, failed, slow) in sides {
        let service = format!("service=\"develop-backend-{side}-80@kubernetescrd\"");
        let name = "traefik_service_request";
        let text = format!(
            "{name}s_total{{code=\"200\",{service}}} {}\n{name}s_total{{code=\"500\",{service}}} {failed}\n\
             {name}_duration_seconds_bucket{{code=\"200\",{service},le=\"{bound}\"}} {}\n\
             {name}_duration_seconds_count{{code=\"200\",{service}}} {requests}\n",
            requests - failed,
            requests - slow,
        );
        scrape.push(text.as_bytes());
    }
    (process.to_owned(), scrape.finish())
}

fn reason(session: &Session) -> String {
    match session.watched().metrics {
        Some(
            Fitness::Partial { reason, message }
            | Fitness::Unfit { reason, message }
            | Fitness::Unknown { reason, message },
        ) => {
            format!("{reason}: {message}")
        }
        Some(Fitness::Fit) => "fit".to_owned(),
        None => "nothing".to_owned(),
    }
}

/// Good pages for a while, then `bad` of ten requests bad in each second.
fn run(session: &mut Session, bound: &str, failed: u64, slow: u64) {
    for k in 0..30u64 {
        let bad = k.saturating_sub(15);
        let sides = [("canary", 10 * k, failed * bad, slow * bad), ("primary", 190 * k, 0, 0)];
        let page = page(session, "g#1", bound, &sides);
        session.look(&[page], None, now(k as i64));
    }
}

#[test]
fn slow_canaries_are_found_where_the_bound_exists() {
    let mut session = session(&asked_spec());
    run(&mut session, "0.5", 0, 8);
    let Guard::RollBack(why) = session.verdict() else { panic!("{:?}", session.verdict()) };
    assert!(why.contains("slower than 500 ms"), "{why}");
    assert_eq!(reason(&session), "fit");
}

#[test]
fn a_bound_that_does_not_exist_is_named_and_never_taken_for_slowness() {
    let mut derived = session(&derived_spec());
    run(&mut derived, "0.3", 0, 8);
    assert_eq!(derived.verdict(), Guard::Quiet, "nobody asked for it by name");
    let said = reason(&derived);
    assert!(said.starts_with("NoSuchBucket") && said.contains("bounds 300 ms"), "{said}");
    let mut asked = session(&asked_spec());
    run(&mut asked, "0.3", 0, 8);
    assert!(matches!(asked.verdict(), Guard::Hold(_)), "{:?}", asked.verdict());
    let mut failing = session(&derived_spec());
    run(&mut failing, "0.3", 8, 0);
    assert!(matches!(failing.verdict(), Guard::RollBack(_)), "errors are still counted");
}

fn asked_errors() -> Value {
    json!({"guard": {"errorRate": {"slo": 1}}})
}

#[test]
fn a_gateway_that_appears_later_without_the_bound_is_left_out() {
    let mut session = session(&asked_spec());
    for k in 0..20u64 {
        let sides = [("canary", 10 * k, 0, 0), ("primary", 190 * k, 0, 0)];
        let fine = page(&session, "g#1", "0.5", &sides);
        let coarse = page(&session, "h#1", "0.3", &sides);
        let pages = if k < 5 { vec![fine] } else { vec![fine, coarse] };
        session.look(&pages, None, now(k as i64));
    }
    assert!(!matches!(session.verdict(), Guard::RollBack(_)), "{:?}", session.verdict());
    assert!(reason(&session).starts_with("NoSuchBucket"), "{}", reason(&session));
}

#[test]
fn blindness_holds_after_a_while_and_ends_with_the_next_look() {
    let mut session = session(&asked_errors());
    assert!(matches!(session.verdict(), Guard::Hold(_)), "nobody has looked");
    let sides = [("canary", 10, 0, 0), ("primary", 190, 0, 0)];
    let fine = page(&session, "g#1", "0.5", &sides);
    session.look(&[fine], None, now(0));
    for k in 1..5 {
        let news = session.look(&[], Some("refused"), now(k));
        assert!(!news.turned && session.verdict() == Guard::Quiet, "second {k}");
    }
    session.look(&[], Some("refused"), now(6));
    let Guard::Hold(why) = session.verdict() else { panic!("{:?}", session.verdict()) };
    assert!(why.contains("cannot see") && why.contains("refused"), "{why}");
    let sides = [("canary", 10, 0, 0), ("primary", 190, 0, 0)];
    let page = page(&session, "g#1", "0.5", &sides);
    assert!(session.look(&[page], None, now(7)).turned);
    assert_eq!(session.verdict(), Guard::Quiet);
}

#[test]
fn requests_before_the_first_histogram_are_not_lost() {
    let mut session = session(&asked_spec());
    let empty = page(&session, "g#1", "0.5", &[]);
    session.look(&[empty], None, now(0));
    assert_eq!(session.log_evidence(), None);
    let sides = [("canary", 10, 8, 0), ("primary", 190, 0, 0)];
    let first = page(&session, "g#1", "0.5", &sides);
    session.look(&[first], None, now(1));
    assert!(session.log_evidence().unwrap() > 0.0, "ten requests, eight of them bad");
}

#[test]
fn memory_is_small_and_a_changed_objective_is_not_continued() {
    let mut session = session(&asked_spec());
    run(&mut session, "0.5", 0, 0);
    let kept = session.watched().memory.unwrap();
    assert!(kept.to_string().len() < 1000, "{}", kept.to_string().len());
    let memory = Memory::read(&kept).unwrap();
    assert_eq!((memory.weight, memory.measured.objectives), (5, vec![0, 1]));
    let status = json!({"phase": "Progressing", "canaryWeight": 5, "guard": kept});
    let same = canary(&asked_spec(), &status);
    let same = Session::begin(&same, same.spec.analysis.guard.as_ref().unwrap(), false);
    assert_eq!(
        (same.verdict(), same.log_evidence().is_some()),
        (Guard::Hold("the guard has not looked yet".into()), true)
    );
    let other = canary(
        &json!({"guard": {"errorRate": {"slo": 2}, "latency": [{"threshold": 500, "slo": 1}]}}),
        &status,
    );
    let other = Session::begin(&other, other.spec.analysis.guard.as_ref().unwrap(), false);
    assert!(matches!(other.verdict(), Guard::Hold(_)), "{:?}", other.verdict());
}

#[test]
fn without_a_gateway_only_guards_that_were_asked_for_hold() {
    for (analysis, holds) in [(asked_spec(), true), (derived_spec(), false)] {
        let canary = canary(&analysis, &json!({"phase": "Progressing", "canaryWeight": 5}));
        let session = Session::begin(&canary, canary.spec.analysis.guard.as_ref().unwrap(), true);
        assert_eq!(matches!(session.verdict(), Guard::Hold(_)), holds);
        assert!(reason(&session).starts_with("NoGateway"), "{}", reason(&session));
    }
}

/// Ten requests a second, eight of them bad since the process was born in this second of the release.
fn born(session: &Session, second: f64, now: u64) -> Scraped {
    let age = now - second as u64;
    let sides = [("canary", 10 * age, 8 * age, 0), ("primary", 190 * age, 0, 0)];
    let (name, mut page) = page(session, "g#2", "0.5", &sides);
    page.started = Some(1_800_000_000.0 + second);
    (name, page)
}

#[test]
fn what_one_source_has_counted_another_does_not_count_again() {
    let start = json!({"phase": "Progressing", "canaryWeight": 5, "analysisStartTime": "2027-01-15T08:00:00Z"});
    let canary = canary(&asked_errors(), &start);
    let spec = canary.spec.analysis.guard.as_ref().unwrap();
    let requests = |switches: bool| {
        let mut session = Session::begin(&canary, spec, false);
        session.trust(Trust { recorded: switches, optional: false });
        // Nothing bad so far, by whoever counts.
        for k in 0..9u64 {
            let sides = [("canary", 10 * k, 0, 0), ("primary", 190 * k, 0, 0)];
            session.look(&[page(&session, "10.0.0.1", "0.5", &sides)], None, now(k as i64));
        }
        session.trust(Trust { recorded: false, optional: false });
        let born = born(&session, 3.0, 10);
        session.look(&[born], None, now(10));
        session.watched().checks[0].canary.unwrap().requests
    };
    // Eight seconds of one process, and then all of one that was born during the release; but whoever came before the switch
    // has been seen by the server.
    assert_eq!((requests(false), requests(true)), (80 + 70, 80));
}

fn of_errors(fields: &Value) -> Value {
    let mut errors = json!({"slo": 1});
    for (field, value) in fields.as_object().unwrap() {
        errors[field] = value.clone();
    }
    json!({"guard": {"errorRate": errors}})
}

#[test]
fn no_requests_and_no_answers_are_what_the_spec_calls_them() {
    for (fields, no_data, cannot_measure) in [
        (json!({}), Some(Policy::Hold), None),
        (json!({"noData": "pass", "cannotMeasure": "hold"}), None, None),
        (
            json!({"noData": "fail", "cannotMeasure": "fail"}),
            Some(Policy::Fail),
            Some(Policy::Fail),
        ),
        (json!({"cannotMeasure": "pass"}), Some(Policy::Hold), None),
    ] {
        let mut session = session(&of_errors(&fields));
        let unknown =
            |session: &Session| session.watched().unknown.first().map(|unknown| unknown.policy);
        for k in 0..3 {
            let idle = page(&session, "g#1", "0.5", &[("primary", 190 * k, 0, 0)]);
            session.look(&[idle], None, now(k as i64));
        }
        assert_eq!((unknown(&session), session.verdict()), (no_data, Guard::Quiet), "{fields}");
        for k in 3..12 {
            session.look(&[], Some("refused"), now(k));
        }
        assert_eq!(unknown(&session), cannot_measure, "{fields}");
        let holds = matches!(fields["cannotMeasure"].as_str(), None | Some("hold"));
        assert_eq!(matches!(session.verdict(), Guard::Hold(_)), holds, "{fields}");
    }
    let mut session = session(&of_errors(&json!({})));
    run(&mut session, "0.5", 0, 0);
    assert_eq!(session.watched().unknown, Vec::new());
}

#[test]
fn first_seconds_count_for_failures_only() {
    let begun = now(16);
    let status = json!({"phase": "Progressing", "canaryWeight": 5, "trafficStartTime": begun});
    for (failed, slow, found) in [(0, 10, false), (10, 0, true)] {
        let mut analysis = asked_spec();
        analysis["guard"]["warmUp"] = json!("30s");
        let canary = canary(&analysis, &status);
        let mut session =
            Session::begin(&canary, canary.spec.analysis.guard.as_ref().unwrap(), false);
        run(&mut session, "0.5", failed, slow);
        assert_eq!(
            matches!(session.verdict(), Guard::RollBack(_)),
            found,
            "{:?}",
            session.verdict()
        );
    }
}

/// Looks at a primary with twenty bad requests at once, now and then.
fn batches(session: &mut Session) {
    for k in 0..300u64 {
        let bad = 20 * (k / 30);
        let sides = [("canary", 10 * k, 0, 0), ("primary", 190 * k, bad, 0)];
        let page = page(session, "g#1", "0.5", &sides);
        session.look(&[page], None, now(k as i64));
    }
}

#[test]
fn groups_of_errors_that_one_release_shows_count_for_less_in_the_next() {
    let mut first = session(&asked_errors());
    batches(&mut first);
    let seen = first.watched().dispersion;
    assert!((15.0..30.0).contains(&seen["error-rate"]), "{seen:?}");
    let release = |dispersion: &Value| {
        let status = json!({"phase": "Progressing", "canaryWeight": 5, "dispersion": dispersion});
        let canary = canary(&asked_errors(), &status);
        let mut session =
            Session::begin(&canary, canary.spec.analysis.guard.as_ref().unwrap(), false);
        // Three groups hit the canary.
        for k in 0..20u64 {
            let bad = 20 * (k / 6);
            let sides = [("canary", 30 * k, bad, 0), ("primary", 170 * k, 0, 0)];
            let page = page(&session, "g#1", "0.5", &sides);
            session.look(&[page], None, now(k as i64));
        }
        (session.verdict(), session.watched().memory.unwrap())
    };
    let (surprised, _) = release(&json!({}));
    assert!(matches!(surprised, Guard::RollBack(_)), "{surprised:?}");
    let (warned, memory) = release(&json!(seen));
    assert!(!matches!(warned, Guard::RollBack(_)), "{warned:?}");
    // What is learnt later does not change the questions of this release.
    assert_eq!(Memory::read(&memory).unwrap().measured.dispersion, [seen["error-rate"]]);
    let status = json!({"phase": "Progressing", "canaryWeight": 5, "guard": memory});
    let canary = canary(&asked_errors(), &status);
    let again = Session::begin(&canary, canary.spec.analysis.guard.as_ref().unwrap(), false);
    assert!(again.log_evidence().is_some());
}

fn followed(guards: &Guards, key: &Key) -> Shared {
    guards.session(key).expect("who has traffic is watched")
}

#[test]
fn another_version_is_not_judged_by_what_the_one_before_did() {
    let spec = json!({"guard": {"errorRate": {"slo": 1}, "pace": "evidence"}});
    let guards = Guards::default();
    let status = |began: i64, weight: u32, memory: Value| {
        let status = json!({
            "phase": "Progressing", "canaryWeight": weight, "analysisStartTime": now(began), "guard": memory,
        });
        canary(&spec, &status)
    };
    let first = status(0, 5, Value::Null);
    guards.follow(&first, Some(true));
    let session = followed(&guards, &first.key);
    guards.follow(&status(0, 0, Value::Null), Some(true));
    assert!(Arc::ptr_eq(&session, &followed(&guards, &first.key)), "the same analysis goes on");
    let memory = lock(&session).watched().memory;
    guards.follow(&status(40, 0, memory.unwrap_or_else(|| json!({}))), Some(false));
    assert!(
        Arc::ptr_eq(&session, &followed(&guards, &first.key)),
        "it has lost its pods, and what is known is kept"
    );
    guards.follow(&status(60, 0, Value::Null), Some(false));
    assert!(!Arc::ptr_eq(&session, &followed(&guards, &first.key)), "another revision");
}

#[test]
fn a_canary_that_lost_its_traffic_is_not_held_for_requests_that_cannot_come() {
    let spec = json!({"guard": {"errorRate": {"slo": 1}, "pace": "evidence"}});
    let status = |weight: u32| {
        let status =
            json!({"phase": "Progressing", "canaryWeight": weight, "analysisStartTime": now(0)});
        canary(&spec, &status)
    };
    let with_traffic = status(5);
    let guard = with_traffic.spec.analysis.guard.as_ref().unwrap();
    let mut session = Session::begin(&with_traffic, guard, false);
    // What both suffer is no evidence against the canary, and still breaks the objective.
    for second in 0..20 {
        let count = second * 20;
        let sides = [("canary", count, count / 3, 0), ("primary", count * 9, count * 3, 0)];
        let pages = [page(&session, "gateway", "1.0", &sides)];
        session.look(&pages, None, now(10 + second as i64));
    }
    assert!(matches!(session.verdict(), Guard::Hold(_)), "{:?}", session.verdict());
    session.follow(&status(0), guard);
    assert_eq!(session.verdict(), Guard::Quiet);
    session.follow(&with_traffic, guard);
    assert!(matches!(session.verdict(), Guard::Hold(_)), "{:?}", session.verdict());
}

#[test]
fn a_clock_that_goes_back_blinds_nobody() {
    let mut session = session(&asked_errors());
    for k in 0..40u64 {
        let bad = 8 * k.saturating_sub(30);
        let sides = [("canary", 10 * k, bad, 0), ("primary", 190 * k, 0, 0)];
        let page = page(&session, "g#1", "0.5", &sides);
        // Set back by a minute and a half just before the canary fails.
        let at = if k < 28 { k as i64 } else { k as i64 - 90 };
        session.look(&[page], None, now(at));
    }
    assert!(matches!(session.verdict(), Guard::RollBack(_)), "{:?}", session.verdict());
}

#[test]
fn counters_below_what_they_were_hold_where_that_was_asked_for() {
    for (analysis, holds) in [(asked_errors(), true), (derived_spec(), false)] {
        let mut session = session(&analysis);
        for k in 1..30u64 {
            // The canary's failures are missing from the page, and requests with them; the gateway has not restarted.
            let failed = if k < 15 { 40 } else { 0 };
            let sides = [("canary", 60 + failed + k / 8, failed, 0), ("primary", 190 * k, 0, 0)];
            let page = page(&session, "g#1", "0.5", &sides);
            session.look(&[page], None, now(k as i64));
        }
        assert_eq!(matches!(session.verdict(), Guard::Hold(_)), holds, "{:?}", session.verdict());
        assert!(reason(&session).starts_with("CountersContradict"), "{}", reason(&session));
    }
}

#[test]
fn samples_whose_times_do_not_go_on_hold() {
    let mut session = session(&asked_errors());
    session.trust(Trust { recorded: true, optional: false });
    for k in 0..60u64 {
        let sides = [("canary", 10 * k, 0, 0), ("primary", 190 * k, 0, 0)];
        let (process, mut page) = page(&session, "g#1", "0.5", &sides);
        // The server's clock is set back by an hour at the thirtieth look.
        let at_millis = if k < 30 { 1000 * k } else { 1000 * k - 30_000 } as i64;
        page.sampled = Some(Sampled { at_millis, every_millis: Some(1000) });
        session.look(&[(process, page)], None, now(k as i64));
        let holds = matches!(session.verdict(), Guard::Hold(_));
        assert!(!holds || !(3..30).contains(&k), "{k}: {:?}", session.verdict());
        assert!(holds || !(38..58).contains(&k), "{k}: {:?}", session.verdict());
    }
}

/// What a gateway counts of a canary that has 5 %, in the first second of which a page was read before.
struct Counted {
    /// Counted requests of the canary and of the primary in a second.
    rates: (u64, u64),
    /// Seconds that one request takes.
    secs: f64,
    code: &'static str,
    protocol: &'static str,
}

const AS_ROUTED: Counted = Counted { rates: (5, 95), secs: 0.05, code: "200", protocol: "http" };
/// Of two requests of the canary one breaks off.
const HALF: Counted = Counted { rates: (5, 190), ..AS_ROUTED };

fn counted(session: &mut Session, what: &Counted, from: u64, to: u64) {
    let Counted { rates, secs, code, protocol } = what;
    for k in from..to {
        let mut wanted = Wanted::default();
        session.add_to(&mut wanted);
        let mut scrape = Scrape::new(&wanted);
        for (side, rate) in [("canary", rates.0), ("primary", rates.1)] {
            // What was there before the release was counted by another version.
            let requests = 1000 + k * rate;
            let took = requests as f64 * secs;
            let labels = format!(
                "{{code=\"{code}\",method=\"GET\",protocol=\"{protocol}\",service=\"develop-backend-{side}-80@kubernetescrd\"}}"
            );
            let name = "traefik_service_request";
            let text = format!(
                "{name}s_total{labels} {requests}\n{name}_duration_seconds_sum{labels} {took}\n\
                 {name}_duration_seconds_count{labels} {requests}\n"
            );
            scrape.push(text.as_bytes());
        }
        let page = ("g#1".to_owned(), scrape.finish());
        session.look(&[page], None, now(k as i64));
    }
}

#[test]
fn requests_of_the_canary_that_are_counted_nowhere_hold_and_are_never_a_rollback() {
    let mut session = session(&asked_errors());
    counted(&mut session, &HALF, 1, 120);
    let Guard::Hold(why) = session.verdict() else { panic!("{:?}", session.verdict()) };
    let said = "error-rate cannot be measured, the gateway counts fewer requests of the canary than its share of them";
    assert!(why.starts_with(said), "{why}");
    assert_eq!(session.watched().visibility, Visibility::Contradicted);
    let told = reason(&session);
    assert!(told.starts_with("RequestsMissing: error-rate cannot be measured: of "), "{told}");
    assert!(told.contains("2.56 %, and it is to get 5 %"), "{told}");
    // It ends when they are counted again.
    counted(&mut session, &AS_ROUTED, 400, 600);
    assert_eq!((session.verdict(), reason(&session).as_str()), (Guard::Quiet, "fit"));
}

#[test]
fn a_share_that_was_taken_back_for_missing_requests_is_not_given_again_by_itself() {
    let mut session = session(&asked_errors());
    counted(&mut session, &HALF, 1, 120);
    let taken_back = canary(&asked_errors(), &json!({"phase": "Progressing", "canaryWeight": 0}));
    let spec = taken_back.spec.analysis.guard.clone().unwrap();
    session.follow(&taken_back, &spec);
    counted(&mut session, &Counted { rates: (0, 200), ..AS_ROUTED }, 400, 600);
    assert_eq!(session.watched().visibility, Visibility::Contradicted);
}

/// A gateway drops the counters of a version that was rolled back, seconds after the next release has begun.
#[test]
fn counters_that_the_gateway_drops_hold_until_the_share_is_taken_back_and_no_longer() {
    let mut session = session(&asked_errors());
    let look = |session: &mut Session, counts: Option<(u64, u64)>, second: u64| {
        let primary = ("primary", 1000 + 100 * second, 0, 0);
        let canary = counts.map(|(requests, failed)| ("canary", requests, failed, 0));
        let sides: Vec<_> = canary.into_iter().chain([primary]).collect();
        let pages = [page(session, "g#1", "0.5", &sides)];
        session.look(&pages, None, now(second.cast_signed()));
    };
    look(&mut session, Some((120, 120)), 1);
    for second in 2..12 {
        look(&mut session, Some((second, 0)), second);
    }
    assert_eq!(session.watched().visibility, Visibility::Contradicted);
    let analysis = asked_errors();
    let taken_back = canary(&analysis, &json!({"phase": "Progressing", "canaryWeight": 0}));
    session.follow(&taken_back, &taken_back.spec.analysis.guard.clone().unwrap());
    for second in 12..20 {
        look(&mut session, None, second);
    }
    assert_eq!(session.watched().visibility, Visibility::Clear);
    let again = canary(&analysis, &json!({"phase": "Progressing", "canaryWeight": 5}));
    session.follow(&again, &again.spec.analysis.guard.clone().unwrap());
    for second in 20..80 {
        look(&mut session, Some((5 * (second - 19), 0)), second);
    }
    assert_eq!(session.verdict(), Guard::Quiet, "{}", reason(&session));
    // Nothing of the version before is this one's.
    assert!(session.evidence().unwrap().checks.iter().all(|check| check.canary.bad == 0));
}

#[test]
fn a_share_is_tested_only_where_a_shortfall_can_be_nothing_healthy() {
    let run = |analysis: &Value, sticky: bool, what: &Counted| {
        let mut session = session(analysis);
        session.stick(sticky);
        counted(&mut session, what, 1, 240);
        (session.verdict(), reason(&session))
    };
    let errors = &asked_errors();
    let fine = |reason: &str| (Guard::Quiet, reason.to_owned());
    assert_eq!(run(errors, false, &AS_ROUTED), fine("fit"));
    let (verdict, told) = run(errors, true, &HALF);
    assert!(
        verdict == Guard::Quiet
            && told.starts_with("ShareNotTested")
            && told.contains("keeps clients"),
        "{told}"
    );
    let (verdict, told) = run(errors, false, &Counted { protocol: "websocket", code: "0", ..HALF });
    assert!(verdict == Guard::Quiet && told.contains("some connections stay open"), "{told}");
    // A long poll is counted when it ends, the canary's first ones long after the primary's.
    assert_eq!(run(errors, false, &Counted { secs: 30.0, ..HALF }), fine("fit"));
    // Whoever knows that they go another way says so.
    let passed = json!({"guard": {"errorRate": {"slo": 1, "cannotMeasure": "pass"}}});
    assert_eq!(run(&passed, false, &HALF).0, Guard::Quiet);
    let told = run(errors, false, &Counted { code: "2", ..AS_ROUTED }).1;
    assert!(told.starts_with("GrpcStatusUnknown"), "{told}");
}
