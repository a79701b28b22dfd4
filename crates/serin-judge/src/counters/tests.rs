//! Tables for each thing that goes wrong with a scrape, and laws for all of them together.

use super::*;
use crate::codec::{Decoder, Encoder};
use crate::guard::Unjudged;
use proptest::prelude::*;

fn reading(side: Side, series: &str, requests: u64, errors: u64) -> Reading<'_> {
    Reading {
        side,
        series,
        born: Born::Before,
        started: None,
        warm: true,
        requests,
        errors,
        timed: 0,
        within: &[],
    }
}

fn saved(tracker: &Tracker) -> String {
    let mut encoder = Encoder::default();
    tracker.write(&mut encoder);
    encoder.text()
}

fn canary(requests: u64, errors: u64) -> Reading<'static> {
    reading(Side::Canary, "a", requests, errors)
}

fn primary(requests: u64) -> Reading<'static> {
    reading(Side::Primary, "a", requests, 0)
}

fn since(started: u64, reading: Reading<'static>) -> Reading<'static> {
    Reading { started: Some(started), ..reading }
}

/// The canary's (requests, errors) after each scrape; `None` where the scrape was ignored.
fn run(scrapes: &[(u64, Vec<Reading<'_>>)]) -> Vec<Option<(u64, u64)>> {
    let mut tracker = Tracker::new(0);
    let mut answers = Vec::new();
    for (at, readings) in scrapes {
        let increase = tracker.observe(*at, readings.iter().copied());
        answers.push(increase.ok().map(|i| (i.errors().n, i.errors().x)));
    }
    answers
}

#[test]
fn each_mishap_has_its_rule() {
    let born = |r: Reading<'static>| Reading { born: Born::After, ..r };
    let cases = [
        (
            "the first value is a base",
            vec![(1, vec![canary(50, 5)]), (2, vec![canary(60, 6)])],
            vec![Some((0, 0)), Some((10, 1))],
        ),
        ("a new pod's whole value counts", vec![(1, vec![born(canary(7, 2))])], vec![Some((7, 2))]),
        (
            "a restart counts what is new",
            vec![(1, vec![canary(50, 5)]), (2, vec![canary(4, 1)])],
            vec![Some((0, 0)), Some((4, 1))],
        ),
        (
            "a repeated time is ignored",
            vec![
                (1, vec![canary(50, 5)]),
                (1, vec![canary(60, 6)]),
                (0, vec![canary(61, 6)]),
                (2, vec![canary(62, 6)]),
            ],
            vec![Some((0, 0)), None, None, Some((12, 1))],
        ),
        (
            "errors ahead of requests wait",
            vec![(1, vec![canary(50, 5)]), (2, vec![canary(51, 9)]), (3, vec![canary(60, 9)])],
            vec![Some((0, 0)), Some((1, 1)), Some((9, 3))],
        ),
        (
            "a missed scrape makes one longer block",
            vec![(1, vec![canary(50, 5)]), (2, vec![]), (3, vec![canary(60, 9)])],
            vec![Some((0, 0)), None, Some((10, 4))],
        ),
        (
            "a series read twice counts once",
            vec![(1, vec![canary(50, 5)]), (2, vec![canary(60, 6), canary(61, 6)])],
            vec![Some((0, 0)), Some((10, 1))],
        ),
        (
            "one long unseen starts over",
            vec![(1, vec![canary(50, 5)]), (700_000, vec![canary(60, 9)])],
            vec![Some((0, 0)), Some((0, 0))],
        ),
    ];
    for (name, scrapes, want) in cases {
        assert_eq!(run(&scrapes), want, "{name}");
    }
}

#[test]
fn what_falls_is_missing_unless_its_process_restarted() {
    let cases = [
        (
            "an error series that is missing counts nothing, nor once it is back",
            vec![(1, vec![canary(50, 5)]), (2, vec![canary(50, 0)]), (3, vec![canary(60, 6)])],
            vec![Some((0, 0)), Some((0, 0)), Some((10, 1))],
        ),
        (
            "a series that is missing, beside one that is not",
            vec![
                (1, vec![canary(50, 5), primary(900)]),
                (2, vec![canary(0, 0), primary(910)]),
                (3, vec![canary(20, 2), primary(920)]),
                (4, vec![canary(60, 6), primary(930)]),
            ],
            vec![Some((0, 0)), Some((0, 0)), Some((0, 0)), Some((10, 1))],
        ),
        (
            "all series of a process that does not tell its start fall: a restart",
            vec![
                (1, vec![canary(50, 5), primary(900)]),
                (2, vec![canary(0, 0), primary(10)]),
                (3, vec![canary(4, 1), primary(20)]),
            ],
            vec![Some((0, 0)), Some((0, 0)), Some((4, 1))],
        ),
        (
            "the start tells a restart, and tells that there was none",
            vec![
                (1, vec![since(100, canary(50, 5))]),
                (2, vec![since(101, canary(4, 1))]),
                (3, vec![since(160, canary(4, 1))]),
                (4, vec![since(160, canary(60, 7))]),
            ],
            vec![Some((0, 0)), Some((0, 0)), Some((4, 1)), Some((56, 6))],
        ),
    ];
    for (name, scrapes, want) in cases {
        assert_eq!(run(&scrapes), want, "{name}");
    }
}

#[test]
fn processes_are_differenced_before_they_are_summed() {
    let mut tracker = Tracker::new(0);
    let at = |a, b| [reading(Side::Primary, "a", a, 0), reading(Side::Primary, "b", b, 0)];
    tracker.observe(1000, at(100, 100)).unwrap();
    // The sum rises by 20 while one process restarted: 110 + 10 new requests.
    let increase = tracker.observe(3000, at(210, 10)).unwrap();
    assert_eq!((increase.errors().m, increase.secs), (120, 2.0));
}

#[test]
fn slow_requests_come_from_buckets_even_from_torn_ones() {
    let mut tracker = Tracker::new(2);
    let mut at = |at, warm, timed, within: [u64; 2]| {
        let started = if timed < 100 { 60 } else { 0 };
        let within = within.map(Some);
        let reading = Reading { warm, timed, within: &within, ..since(started, canary(0, 0)) };
        let increase = tracker.observe(at, [reading]).unwrap();
        let (fine, coarse) = (increase.slower(0), increase.slower(1));
        assert_eq!(fine.n, coarse.n);
        (fine.n, fine.x, coarse.x)
    };
    assert_eq!(at(1, true, 100, [50, 90]), (0, 0, 0));
    assert_eq!(at(2, true, 110, [55, 99]), (10, 5, 1));
    assert_eq!(at(3, true, 112, [59, 103]), (2, 0, 0), "buckets read after the count");
    assert_eq!(at(4, true, 122, [60, 110]), (10, 7, 1));
    assert_eq!(at(5, false, 222, [60, 110]), (0, 0, 0), "a cold pod's latencies are left out");
    assert_eq!(at(6, true, 223, [61, 111]), (1, 0, 0));
    assert_eq!(at(7, true, 5, [1, 5]), (5, 4, 0), "a restart");
}

#[test]
fn looks_are_in_order_whatever_the_clock_does() {
    let mut order = Monotonic::default();
    let at =
        [10_000, 11_000, 11_000, -79_000, -78_000, 500_000].map(|told| order.at(told, 1000, None));
    assert_eq!(at, [10_000, 11_000, 11_001, 12_001, 13_001, 591_001]);
    // Another leader, whose clock is behind what was kept.
    let mut order = Monotonic::default();
    assert_eq!(
        [order.at(5000, 1000, Some(95_000)), order.at(6000, 1000, Some(95_001))],
        [95_001, 96_001]
    );
}

#[test]
fn missing_buckets_make_nothing_slow() {
    let mut tracker = Tracker::new(1);
    let mut at = |at, timed, within: [u64; 1]| {
        let within = within.map(Some);
        let reading = Reading { timed, within: &within, ..canary(timed, 0) };
        let slow = tracker.observe(at, [reading]).unwrap().slower(0);
        (slow.n, slow.x)
    };
    assert_eq!(at(1, 100, [90]), (0, 0));
    assert_eq!(at(2, 110, [0]), (0, 0), "the bucket is missing");
    assert_eq!(at(3, 120, [108]), (20, 2), "one longer block");
}

#[test]
fn a_bound_that_is_not_measured_is_not_all_fast() {
    let at = |tracker: &mut Tracker, at, timed, within: [Option<u64>; 2]| {
        let reading = Reading { timed, within: &within, ..canary(timed, 0) };
        let increase = tracker.observe(at, [reading]).unwrap();
        [increase.slower(0), increase.slower(1)].map(|sample| (sample.n, sample.x))
    };
    for kept in [false, true] {
        let mut tracker = Tracker::new(2);
        assert_eq!(at(&mut tracker, 1, 100, [Some(90), None]), [(0, 0), (0, 0)]);
        assert_eq!(at(&mut tracker, 2, 110, [Some(95), None]), [(10, 5), (0, 0)]);
        assert_eq!(at(&mut tracker, 3, 120, [None, Some(118)]), [(0, 0), (0, 0)], "a base");
        if kept {
            assert!(!tracker.is_even());
            let (text, settings) = (saved(&tracker), CounterSettings::default());
            tracker = Tracker::read(2, settings, &mut Decoder::of(&text).unwrap()).unwrap();
        }
        let both = at(&mut tracker, 4, 130, [Some(100), Some(127)]);
        assert_eq!(both, [(20, 15), (10, 1)], "one longer block at the one that was missing");
        assert!(tracker.is_even());
    }
}

#[test]
fn counters_that_contradict_each_other_are_told() {
    let mut tracker = Tracker::new(0);
    tracker.observe(1000, [canary(50, 5), primary(900)]).unwrap();
    assert_eq!(tracker.inconsistency(), None);
    for (at, inconsistency) in [(2000, None), (5000, None), (6000, Some(Inconsistency::Fallen))] {
        tracker.observe(at, [canary(7, 1), primary(900 + at)]).unwrap();
        assert_eq!(tracker.inconsistency(), inconsistency, "{at}");
    }
    tracker.observe(7000, [canary(51, 5), primary(9000)]).unwrap();
    assert_eq!(tracker.inconsistency(), None);
    // Errors without their requests.
    for second in 8..200 {
        tracker.observe(1000 * second, [canary(51, 500), primary(9000 + second)]).unwrap();
        let owed = tracker.series.values().map(|last| last.errors_owed).max().unwrap();
        assert_eq!(owed > 0, second < 68, "{second}");
        let told = (68..128).contains(&second).then_some(Inconsistency::Ahead);
        assert_eq!(tracker.inconsistency(), told, "{second}");
    }
    let after = tracker.observe(300_000, [canary(60, 500)]).unwrap().errors();
    assert_eq!((after.n, after.x), (9, 0), "what was given up is owed no more");
}

/// A gateway drops the series of a version that was rolled back, seconds after the next release has begun.
#[test]
fn counters_of_a_version_that_has_left_do_not_blind_for_the_next() {
    let mut tracker = Tracker::new(0);
    tracker.observe(1000, [canary(120, 60), primary(900)]).unwrap();
    tracker.set_idle(true);
    for second in 2..8 {
        let none = tracker.observe(1000 * second, [canary(0, 0), primary(900)]).unwrap().errors();
        assert_eq!((none.n, none.x), (0, 0));
        assert_eq!(tracker.inconsistency(), None, "{second}");
    }
    tracker.set_idle(false);
    let first = tracker.observe(8000, [canary(3, 0), primary(910)]).unwrap().errors();
    assert_eq!((first.n, first.x), (3, 0), "counted from where it was");
    let more = tracker.observe(9000, [canary(10, 1), primary(990)]).unwrap().errors();
    assert_eq!((more.n, more.x), (7, 1));
    assert_eq!(tracker.inconsistency(), None);
}

/// Those that fall while the canary has its share may be back in a moment: nothing is counted twice.
#[test]
fn counters_of_a_canary_with_a_share_keep_their_marks() {
    let mut tracker = Tracker::new(0);
    tracker.observe(1000, [canary(120, 60), primary(900)]).unwrap();
    for second in 2..8 {
        tracker.observe(1000 * second, [canary(0, 0), primary(900)]).unwrap();
    }
    assert_eq!(tracker.inconsistency(), Some(Inconsistency::Fallen));
    let back = tracker.observe(8000, [canary(121, 60), primary(990)]).unwrap().errors();
    assert_eq!((back.n, back.x), (1, 0));
}

#[test]
fn series_are_bounded() {
    let mut tracker = Tracker::new(0);
    let names: Vec<String> = (0..SERIES_MAX + 10).map(|i| i.to_string()).collect();
    let all = |names: &[String]| -> Vec<(String, u64)> {
        names.iter().map(|name| (name.clone(), 1)).collect()
    };
    let first = all(&names);
    let readings = first.iter().map(|(name, value)| reading(Side::Canary, name, *value, 0));
    assert_eq!(tracker.observe(1, readings).unwrap().refused, 10);
    assert_eq!(tracker.series(), SERIES_MAX);
    let recent = [reading(Side::Canary, "recent", 1, 0)];
    assert_eq!(
        tracker
            .observe(CounterSettings::default().forgotten_after_millis + 2, recent)
            .unwrap()
            .refused,
        0
    );
    assert_eq!(tracker.series(), 1);
}

#[test]
fn what_is_kept_is_small() {
    let mut tracker = Tracker::new(1);
    let names = ["traefik-7d9c6b5f4-abcde", "traefik-7d9c6b5f4-fghij", "traefik-7d9c6b5f4-klmno"];
    let mut readings = Vec::new();
    for name in names {
        for side in [Side::Canary, Side::Primary] {
            let within = &[Some(123_456_789)];
            readings.push(Reading {
                timed: 123_456_999,
                within,
                ..reading(side, name, 123_456_999, 1234)
            });
        }
    }
    tracker.observe(1_750_000_000_000, readings).unwrap();
    let text = saved(&tracker);
    assert!(text.len() < 200, "{} bytes: {text}", text.len());
    assert_eq!(
        Tracker::read(1, CounterSettings::default(), &mut Decoder::of(&text).unwrap()).unwrap(),
        tracker
    );
    assert_eq!(
        Tracker::read(2, CounterSettings::default(), &mut Decoder::of(&text).unwrap())
            .unwrap()
            .series(),
        0
    );
}

/// What happens to one process between two scrapes.
#[derive(Debug, Clone, Copy)]
enum Event {
    Traffic {
        requests: u64,
        errors: u64,
    },
    /// The error counter is read a little later than the requests'.
    Torn {
        requests: u64,
        errors: u64,
    },
    Missed,
    Again,
    Restart {
        requests: u64,
        errors: u64,
    },
    Kept,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let counts = || (0..50_u64).prop_flat_map(|n| (Just(n), 0..=n));
    let event = prop_oneof![
        6 => counts().prop_map(|(requests, errors)| Event::Traffic { requests, errors }),
        1 => counts().prop_map(|(requests, errors)| Event::Torn { requests, errors }),
        1 => Just(Event::Missed),
        1 => Just(Event::Again),
        1 => counts().prop_map(|(requests, errors)| Event::Restart { requests, errors }),
        1 => Just(Event::Kept),
    ];
    proptest::collection::vec(event, 1..60)
}

/// One process: what it served, what its counters show.
#[derive(Debug, Default)]
struct Truth {
    served: (u64, u64),
    started: u64,
    shown: (u64, u64),
    torn: u64,
}

proptest! {
    #[test]
    fn nothing_is_invented_and_without_restarts_nothing_is_lost(script in events()) {
        let mut tracker = Tracker::new(0);
        let mut truth = Truth::default();
        let (mut seen, mut at, mut restarts) = ((0, 0), 1000, false);
        let born = |requests, errors| Reading { born: Born::After, ..since(0, canary(requests, errors)) };
        tracker.observe(at, [born(0, 0)]).unwrap();
        let last = [Event::Traffic { requests: 1, errors: 0 }];
        for event in script.into_iter().chain(last) {
            at += 1000;
            truth.torn = 0;
            match event {
                Event::Traffic { requests, errors } => {
                    truth.served = (truth.served.0 + requests, truth.served.1 + errors);
                    truth.shown = (truth.shown.0 + requests, truth.shown.1 + errors);
                }
                Event::Torn { requests, errors } => {
                    truth.served = (truth.served.0 + requests, truth.served.1 + errors);
                    truth.shown = (truth.shown.0 + requests, truth.shown.1 + errors);
                    // The requests are read before they were counted, the errors after.
                    truth.torn = requests;
                }
                Event::Restart { requests, errors } => {
                    restarts = true;
                    truth.started += 10;
                    truth.served = (truth.served.0 + requests, truth.served.1 + errors);
                    truth.shown = (requests, errors);
                }
                Event::Missed => continue,
                Event::Again => {
                    let repeated = tracker.at_millis().unwrap();
                    prop_assert!(tracker.observe(repeated, [canary(1 << 40, 1 << 30)]) == Err(Unjudged::Duplicate));
                    continue;
                }
                Event::Kept => {
                    tracker = Tracker::read(0, CounterSettings::default(), &mut Decoder::of(&saved(&tracker)).unwrap()).unwrap();
                    continue;
                }
            }
            let shown = (truth.shown.0 - truth.torn, truth.shown.1);
            let reading = since(truth.started, canary(shown.0, shown.1));
            let increase = tracker.observe(at, [reading]).unwrap();
            let Sample { n, x, m, y } = increase.errors();
            prop_assert!(x <= n && m == 0 && y == 0);
            seen = (seen.0 + n, seen.1 + x);
            prop_assert!(seen.0 <= truth.served.0 && seen.1 <= truth.served.1, "{seen:?} {truth:?}");
        }
        if !restarts {
            prop_assert_eq!(seen.0, truth.served.0);
            prop_assert!(truth.served.1 - seen.1 <= 50, "{:?} {:?}", seen, truth);
        }
    }
}
