//! The guard against the reference's numbers, and its memory.

use super::*;
use crate::block::{self, Tolerance};
use crate::codec::{Damaged, Decoder, Encoder};
use crate::words::Percent;
use crate::{CheckKind, Settings};

const NAME: &str = "error-rate";

fn share(slo: f64, attribution: Attribution, rho: f64, delta: f64) -> Question {
    Question::Share { slo, attribution, tolerance: Tolerance { rho, delta } }
}

/// The reference's setting: errors hold half of the mass, the other half belongs to nobody.
pub(super) fn reference(question: Question) -> GuardConfig {
    let metrics = vec![Metric { name: NAME.into(), question, weight: 0.5, dispersion: 1.0 }];
    GuardConfig { metrics, ..GuardConfig::new(vec![], 6) }
}

pub(super) fn errors() -> Question {
    share(0.01, Attribution::Primary, 1.0, 0.005)
}

pub(super) fn kept(guard: &Guard) -> String {
    let mut encoder = Encoder::default();
    guard.write(true, &mut encoder);
    encoder.text()
}

pub(super) fn read(config: GuardConfig, guard: &Guard) -> Result<Guard, RestoreError> {
    Guard::read(config, &mut Decoder::of(&kept(guard)).unwrap())
}

fn sample(n: u64, x: u64, m: u64, y: u64) -> Sample {
    Sample { n, x, m, y }
}

/// Feeds the blocks of the golden table; the weight changes before the fifth.
fn golden(config: GuardConfig) -> [f64; 8] {
    let mut guard = Guard::new(config).unwrap();
    let blocks = [
        (5, 0, 95, 0),
        (4, 1, 97, 0),
        (0, 0, 20, 1),
        (6, 2, 88, 0),
        (50, 1, 50, 0),
        (40, 9, 60, 1),
    ];
    let mut row = [0.0; 8];
    for (i, (n, x, m, y)) in blocks.into_iter().enumerate() {
        if i == 4 {
            guard.weight_changed();
        }
        row[i] = guard.observe(1.0, &[sample(n, x, m, y)]).log_e;
    }
    row[6] = guard.streams[0].log_slo;
    row[7] = guard.streams[0].log_relative;
    row
}

#[test]
#[rustfmt::skip]
fn evidence_agrees_with_the_reference() {
    let plain = || reference(errors());
    let cases = [
        ("default", plain(),
         [-0.954240822, -0.047585994, -0.047585994, 2.914959806, 2.750857587, 7.221807162, 6.303673141, 8.502945608]),
        ("attribution off", reference(share(0.01, Attribution::None, 1.0, 0.005)),
         [-0.954240822, -0.047585994, -0.047585994, 3.154698480, 2.758915477, 7.230049782, 6.383333809, 8.502945608]),
        ("D = 3, half live", GuardConfig { dispersion: 3.0, ..plain() },
         [-0.888475023, -0.581950357, -0.581950357, 0.176620844, -0.080127150, 0.983172517, 1.522098834, 1.809903724]),
        ("rho 1.25", reference(share(0.01, Attribution::Primary, 1.25, 0.005)),
         [-0.952089116, -0.065843396, -0.065843396, 2.694931883, 2.426879034, 6.624288438, 6.303673141, 7.810391817]),
        ("live only", GuardConfig { bets: Bets::Live, ..plain() },
         [-0.897101037, -0.074512111, -0.074512111, 1.600509022, 1.571866331, 2.947262502, 3.980808883, 3.120360726]),
    ];
    for (name, config, want) in cases {
        let got = golden(config);
        for column in 0..8 {
            let off = (got[column] - want[column]).abs();
            assert!(off < 1e-9, "{name}, column {column}: {} is not {}", got[column], want[column]);
        }
    }
}

#[test]
fn the_projection_agrees_with_the_reference() {
    let tolerance = Tolerance { rho: 1.0, delta: 0.005 };
    let pp = block::project(5.0, 95.0, 0.2, 0.001, tolerance);
    assert!((pp - 0.006_705_956_572).abs() < 1e-12, "{pp}");
}

#[test]
fn one_scrape_never_decides_and_two_may() {
    let mut guard = Guard::new(reference(errors())).unwrap();
    let first = guard.observe(1.0, &[sample(50, 50, 950, 0)]);
    assert!(
        first.log_e < 23.0_f64.ln() && first.decision == Decision::Hold(Hold::ObjectiveBurning)
    );
    assert!(first.look_again);
    let second = guard.observe(1.0, &[sample(50, 50, 950, 0)]);
    assert_eq!(second.decision, Decision::RollBack);
    for _ in 0..2000 {
        guard.observe(1.0, &[sample(50, 0, 950, 0)]);
    }
    assert_eq!(guard.decision(), Decision::RollBack, "a rollback is not taken back");
}

#[test]
fn silence_is_no_evidence() {
    let mut guard = Guard::new(reference(errors())).unwrap();
    for _ in 0..100 {
        let verdict = guard.observe(1.0, &[sample(0, 0, 100, 1)]);
        assert_eq!((verdict.decision, verdict.requests), (Decision::Continue, 0));
    }
    assert_eq!(guard.requests_to_go(), 173);
    assert_eq!(guard.excess(), 1.0);
    // Old primary counts have left the block, and the new one holds only the last seconds'.
    assert!(guard.streams[0].waiting.m <= 3000.0);
    assert_eq!(guard.observe(1.0, &[]).requests, 0);
}

#[test]
fn attribution_ends_when_the_primary_is_silent_for_30_seconds() {
    let run = |silent: u64| {
        let mut guard = Guard::new(reference(errors())).unwrap();
        guard.observe(1.0, &[sample(10, 0, 100, 0)]);
        for _ in 0..silent {
            guard.observe(1.0, &[]);
        }
        for _ in 0..2 {
            guard.observe(1.0, &[sample(20, 20, 0, 0)]);
        }
        guard.streams[0].log_slo
    };
    assert!(run(5) < 0.0, "without the primary's word nobody is blamed");
    assert!(run(29) > 6.0, "a primary without traffic excuses nobody");
}

#[test]
fn silence_ends_attribution_only_where_it_is_surprising() {
    // A canary that fails everything beside a primary that is seldom asked, one request of each side in so many seconds.
    let run = |share: Option<f64>, every: u64, ones: u64| {
        let mut guard = Guard::new(reference(errors())).unwrap();
        if let Some(share) = share {
            guard.at_share(share);
        }
        for _ in 0..60 {
            guard.observe(every as f64, &[sample(1, 0, 1, 0)]);
        }
        for _ in 0..ones {
            guard.observe(every as f64, &[sample(1, 1, 0, 0)]);
        }
        guard.decision() == Decision::RollBack
    };
    for share in [None, Some(0.5)] {
        assert!(!run(share, 20, 12), "{share:?}: a silence that is usual at this rate");
        assert!(run(share, 20, 40), "{share:?}: forty in a row are no chance at one half");
    }
    assert!(run(Some(1.0), 20, 8), "a primary that is to get nothing is not missed");
    assert!(!run(Some(0.99), 1, 200), "one request in a hundred may well take 200");
}

#[test]
fn one_scrape_never_decides_however_many_checks_it_speaks_to() {
    let ask = |slo| Question::Share {
        slo,
        attribution: Attribution::Primary,
        tolerance: Tolerance { rho: 1.0, delta: 0.005 },
    };
    for alpha in [0.5, 0.1, 0.05, 0.02, 0.01, 1e-4] {
        for questions in 1..=16 {
            let named = (0..questions).map(|i| (i.to_string(), ask(0.01))).collect();
            let config = GuardConfig { alpha, ..GuardConfig::new(named, 6) };
            let mut guard = Guard::new(config).unwrap();
            let burst = vec![sample(40, 40, 760, 0); questions];
            let first = guard.observe(1.0, &burst);
            assert_ne!(first.decision, Decision::RollBack, "{alpha} {questions}");
            assert!(first.log_e <= guard.threshold() - 0.3, "{alpha} {questions}: {}", first.log_e);
            let second = guard.observe(1.0, &burst);
            assert_eq!(second.decision, Decision::RollBack, "{alpha} {questions}: two always can");
        }
    }
}

#[test]
fn the_prior_is_never_overspent() {
    let mut guard = Guard::new(reference(errors())).unwrap();
    for _ in 0..50_000 {
        guard.weight_changed();
        guard.observe(1.0, &[sample(10, 0, 100, 0)]);
    }
    assert!(guard.streams[0].spent < 1.0 && guard.streams[0].spent > 0.99);
    assert_eq!(guard.streams[0].steps_spent, 6);
}

#[test]
fn the_brake_reacts_to_a_shared_incident_and_lets_go() {
    let mut guard = Guard::new(reference(errors())).unwrap();
    guard.observe(1.0, &[sample(50, 0, 950, 1)]);
    for _ in 0..20 {
        let verdict = guard.observe(1.0, &[sample(50, 15, 950, 285)]);
        assert_ne!(verdict.decision, Decision::RollBack);
    }
    assert_eq!(guard.decision(), Decision::Hold(Hold::ObjectiveBurning));
    let mut clean = 0;
    while guard.decision() == Decision::Hold(Hold::ObjectiveBurning) {
        guard.observe(1.0, &[sample(10, 0, 190, 0)]);
        clean += 10;
    }
    assert!((150..220).contains(&clean), "{clean}");
}

fn errors_and_latency() -> GuardConfig {
    GuardConfig::new(
        vec![("error-rate".into(), errors()), ("latency over 500ms".into(), errors())],
        6,
    )
}

#[test]
fn memory_is_small_and_spends_nothing_twice() {
    for dispersion in [1.0, 7.5] {
        let config = GuardConfig { dispersion, ..errors_and_latency() };
        let mut guard = Guard::new(config.clone()).unwrap();
        for i in 0..40_000_u64 {
            let bad = u64::from(i % 37 == 0);
            let waits = sample(0, 0, 40, 1);
            let scrape = if i % 10 == 9 { waits } else { sample(7, bad, 12_345, 17 * bad) };
            guard.observe(1.0, &[scrape, scrape]);
            if i % 8000 == 0 {
                guard.weight_changed();
            }
        }
        let text = kept(&guard);
        assert!(text.len() < 400, "{} bytes: {text}", text.len());
        let back = Guard::read(config, &mut Decoder::of(&text).unwrap()).unwrap();
        let (was, is) = (guard.log_evidence(), back.log_evidence());
        assert!(is <= was + 1e-12 && is > was - 0.002, "{was} became {is}");
        assert_eq!(back.decision(), guard.decision());
        let more = back.streams[0].spent - guard.streams[0].spent;
        assert!((-1e-15..1.1e-12).contains(&more), "{more}");
        assert_eq!(back.streams.len(), 2);
        assert_eq!(kept(&back), text, "keeping is idempotent");
        let mut encoder = Encoder::default();
        guard.write(false, &mut encoder);
        assert!(encoder.text().len() < 264, "{} bytes", encoder.text().len());
        let coarse =
            Guard::read(guard.config.clone(), &mut Decoder::of(&encoder.text()).unwrap()).unwrap();
        let (was, is) = (guard.log_evidence(), coarse.log_evidence());
        assert!(is <= was + 1e-12 && is > was - 0.1, "{was} became {is}");
    }
}

#[test]
fn a_restored_guard_goes_on_like_the_old_one() {
    let mut guard = Guard::new(reference(errors())).unwrap();
    for _ in 0..50 {
        guard.observe(1.0, &[sample(5, 0, 95, 0)]);
    }
    let mut back = read(reference(errors()), &guard).unwrap();
    for _ in 0..20 {
        let a = guard.observe(1.0, &[sample(5, 1, 95, 0)]);
        let b = back.observe(1.0, &[sample(5, 1, 95, 0)]);
        assert!((a.log_e - b.log_e).abs() < 0.01 && a.decision == b.decision);
    }
    assert_eq!(back.decision(), Decision::RollBack);
    let again = read(reference(errors()), &back).unwrap();
    assert_eq!(again.decision(), Decision::RollBack);
}

#[test]
fn other_questions_are_refused() {
    let guard = Guard::new(reference(errors())).unwrap();
    let other = reference(share(0.02, Attribution::Primary, 1.0, 0.005));
    assert_eq!(read(other, &guard), Err(RestoreError::OtherQuestions));
    let mut text = kept(&guard);
    text.truncate(text.len() - 4);
    let damaged = Guard::read(reference(errors()), &mut Decoder::of(&text).unwrap());
    assert_eq!(damaged, Err(RestoreError::Damaged(Damaged("too short"))));
}

#[test]
fn bad_configurations_are_refused_by_name() {
    let with = |change: fn(&mut GuardConfig)| {
        let mut config = reference(errors());
        change(&mut config);
        Guard::new(config).unwrap_err().to_string()
    };
    let cases = [
        (with(|c| c.alpha = 0.0), "alpha is 0, but must lie between 0 and 1, both excluded"),
        (with(|c| c.beta = f64::NAN), "beta is NaN, but must lie between 0 and 1, both excluded"),
        (with(|c| c.dispersion = 0.5), "the dispersion is 0.5, but must be finite and at least 1"),
        (with(|c| c.weight_steps = 0), "the weight steps are 0, but must be between 1 and 10000"),
        (with(|c| c.metrics.clear()), "the metrics are 0, but must be between 1 and 16"),
        (
            with(|c| c.metrics[0].weight = 1.5),
            "the metrics' weights sum to 1.5, which is more than 1",
        ),
        (
            with(|c| c.metrics[0].question = share(1.0, Attribution::None, 1.0, 0.0)),
            "the objective of error-rate is 1, but must lie between 0 and 1, both excluded",
        ),
    ];
    for (got, want) in cases {
        assert_eq!(got, want);
    }
}

#[test]
fn dominance_names_the_bound() {
    let bounds = ["100ms", "250ms", "500ms", "1s"].map(String::from).to_vec();
    let tolerance = Tolerance { rho: 1.25, delta: 0.005 };
    let slower = Question::Dominance { bounds, tolerance, scale: 0.01 };
    let config = GuardConfig::new(vec![("latency".into(), slower), (NAME.into(), errors())], 6);
    let mut guard = Guard::new(config).unwrap();
    assert_eq!(guard.samples(), 5);
    let at = |x, y| sample(50, x, 950, y);
    let mut scrapes = 0;
    while guard.decision() != Decision::RollBack {
        guard.observe(1.0, &[at(20, 380), at(15, 95), at(1, 2), at(0, 1), at(0, 1)]);
        scrapes += 1;
        assert!(scrapes < 100);
    }
    let why = guard.explain();
    assert_eq!(why.checks[0].kind, CheckKind::Bound("250ms".into()));
    assert!(why.checks[0].share > 0.9);
    let total: f64 = why.checks.iter().map(|check| check.share).sum();
    assert!((total - 1.0).abs() < 1e-9, "{total}");
    assert_eq!(guard.streams.len(), 5);
}

#[test]
fn verdicts_are_told_in_words() {
    let mut guard = Guard::new(reference(errors())).unwrap();
    for _ in 0..10 {
        guard.observe(1.0, &[sample(24, 0, 456, 1)]);
    }
    expect_test::expect![[r#"
        continue (nothing against it; rolls back at 1 in 100)
          error-rate against the primary, limit 0.72 %: canary 0 of 240 (0 %, between 0 % and 1.74 %), primary 10 of 4560 (0.22 %, between 0.066 % and 0.52 %); nothing against it, 51 % of all evidence"#]]
    .assert_eq(guard.explain().to_string().lines().take(2).collect::<Vec<_>>().join("\n").as_str());
    for _ in 0..4 {
        guard.observe(1.0, &[sample(24, 6, 456, 1)]);
    }
    expect_test::expect![[r#"
        roll back (1 in 259089 if healthy; rolls back at 1 in 100)
          error-rate against the primary, limit 0.72 %: canary 24 of 336 (7.14 %, between 2.77 % and 14.3 %), primary 14 of 6384 (0.22 %, between 0.081 % and 0.46 %); 1 in 744786 if healthy, 72 % of all evidence
          error-rate against its objective of 1 %: canary 24 of 336 (7.14 %, between 2.77 % and 14.3 %), primary 14 of 6384 (0.22 %, between 0.081 % and 0.46 %); 1 in 291572 if healthy, 28 % of all evidence"#]].assert_eq(&guard.explain().to_string());
    for (share, text) in [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5, "50 %"),
        (0.0123, "1.23 %"),
        (0.214, "21.4 %"),
        (0.01, "1 %"),
        (0.000_57, "0.057 %"),
        (0.000_001, "0.0001 %"),
    ] {
        assert_eq!(Percent(share).to_string(), text);
    }
    for (log, text) in [
        (-1.0, "nothing against it"),
        (2.0_f64.ln(), "1 in 2.0 if healthy"),
        (340.0_f64.ln(), "1 in 340 if healthy"),
        (50.0, "less than 1 in a million if healthy"),
    ] {
        assert_eq!(Odds(log).to_string(), text);
    }
}

#[test]
fn a_scrape_that_is_not_judged_says_which_it_is() {
    let bad = [Some(sample(50, 50, 950, 0))];
    let mut guard = Guard::new(reference(errors())).unwrap();
    guard.observe_at(10_000, &bad).unwrap();
    let before = guard.log_evidence();
    assert_eq!(guard.observe_at(10_000, &bad), Err(Unjudged::Duplicate));
    assert_eq!(guard.observe_at(7_500, &bad), Err(Unjudged::ClockWentBack { millis: 2500 }));
    for nothing in [&[][..], &[None]] {
        assert_eq!(guard.observe_at(11_000, nothing), Err(Unjudged::NotMeasured));
    }
    assert_eq!(
        (guard.log_evidence(), guard.decision()),
        (before, Decision::Hold(Hold::ObjectiveBurning))
    );
    assert_eq!(guard.observe_at(11_000, &bad).unwrap().decision, Decision::RollBack);
}

#[test]
fn a_question_that_is_not_measured_is_neither_good_nor_bad() {
    let both = |second: [u64; 4]| {
        let [n, x, m, y] = second;
        let mut guard = Guard::new(errors_and_latency()).unwrap();
        for at in 1..200 {
            guard
                .observe_at(1000 * at, &[Some(sample(10, 0, 190, 0)), Some(sample(n, x, m, y))])
                .unwrap();
        }
        guard
    };
    let mut guard = Guard::new(errors_and_latency()).unwrap();
    for at in 1..200 {
        guard.observe_at(1000 * at, &[Some(sample(10, 0, 190, 0)), None]).unwrap();
    }
    assert!(both([10, 0, 190, 0]).requests_to_go() == 0 && guard.requests_to_go() == 173);
    assert_eq!(guard.decision(), Decision::Continue);
}

#[test]
fn a_guard_alone_is_saved_and_restored() {
    let config = GuardConfig::share("errors", 0.01);
    let mut guard = Guard::new(config.clone()).unwrap();
    for at in 1..50 {
        guard.observe_at(1000 * at, &[Some(sample(5, 0, 95, 0))]).unwrap();
    }
    let saved = guard.save();
    assert!(saved.len() < 300, "{saved}");
    let mut back = Guard::restore(config.clone(), &saved).unwrap();
    assert_eq!(back.observe_at(49_000, &[Some(sample(5, 5, 95, 0))]), Err(Unjudged::Duplicate));
    for at in 51..70 {
        let bad = [Some(sample(5, 1, 95, 0))];
        let (a, b) = (guard.observe_at(1000 * at, &bad), back.observe_at(1000 * at, &bad));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!((a.log_e - b.log_e).abs() < 0.01 && a.decision == b.decision);
    }
    // Damaged memory holds: there is nothing to go on from.
    for place in 0..saved.len() {
        let mut damaged = saved.clone().into_bytes();
        damaged[place] = if damaged[place] == b'4' { b'7' } else { b'4' };
        let damaged = String::from_utf8(damaged).unwrap();
        let read = Guard::restore(config.clone(), &damaged);
        assert!(damaged == saved || read.is_err(), "{place}");
    }
    let other = GuardConfig::share("errors", 0.02);
    assert_eq!(Guard::restore(other, &saved), Err(RestoreError::OtherQuestions));
    let settings = Settings { patience_secs: 60.0, ..Settings::default() };
    let other = GuardConfig { settings, ..config };
    assert_eq!(Guard::restore(other, &saved), Err(RestoreError::OtherQuestions));
}

#[test]
fn settings_are_gone_by() {
    let run = |settings: Settings| {
        let config = GuardConfig { settings, ..reference(errors()) };
        let mut guard = Guard::new(config).unwrap();
        guard.observe(1.0, &[sample(10, 0, 100, 0)]);
        for _ in 0..12 {
            guard.observe(1.0, &[]);
        }
        for _ in 0..2 {
            guard.observe(1.0, &[sample(20, 20, 0, 0)]);
        }
        (guard.requests_to_go(), guard.decision() == Decision::RollBack)
    };
    let default = Settings::default();
    let (needed, rolled_back) = run(default);
    assert!(!rolled_back, "a silence of twelve seconds excuses");
    assert!(run(Settings { patience_secs: 10.0, ..default }).1);
    assert!(run(Settings { go_limit: 4.0, ..default }).0 < needed);
}
