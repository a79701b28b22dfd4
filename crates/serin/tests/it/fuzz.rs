//! A short, repeatable search with the fuzzer's own targets: their seeds, mutated by dice.

#[allow(unreachable_pub, dead_code, reason = "a library of its own to the fuzzer")]
#[path = "../../../../fuzz/src/lib.rs"]
mod targets;

use std::panic::AssertUnwindSafe;

use targets::{Dice, TARGETS, Target, mutated};

/// `SERIN_FUZZ=20` searches twenty times as long. An input that breaks a target is shown as a test that can be written down.
fn search(target: &Target) {
    let times = std::env::var("SERIN_FUZZ").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let mut dice = Dice::new(0x5e51);
    let seeds = target.seeds.iter().map(|seed| seed.to_vec());
    let inputs = (0..target.inputs * times).map(|_| mutated(target.seeds, target.words, &mut dice));
    for input in seeds.chain(inputs) {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        assert!(outcome.is_ok(), "{} breaks on b\"{}\"", target.name, input.escape_ascii());
    }
}

macro_rules! searches {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            let target = TARGETS.iter().find(|target| target.name == stringify!($name));
            search(target.expect("every test names a target"));
        })*

        #[test]
        fn every_target_is_searched() {
            let tests = [$(stringify!($name)),*];
            let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(targets, tests);
        }
    };
}

searches!(
    canary, duration, metric, page, recorded, template, hook, patch, apply, selector, schema,
    protobuf, promql, exposition, rule, gateway,
);
