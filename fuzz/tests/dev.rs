use serin_fuzz::{Dice, TARGETS, mutated};
#[test]
fn all() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let n: u64 = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    let seed: u64 = std::env::var("SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0x5e51);
    let mut bad = 0;
    for t in TARGETS.iter().filter(|t| only.is_empty() || t.name == only) {
        let start = std::time::Instant::now();
        let mut dice = Dice::new(seed);
        let mut failures = 0;
        let mut slow = (std::time::Duration::ZERO, Vec::new());
        let seeds = t.seeds.iter().map(|s| s.to_vec());
        for input in seeds.chain((0..n).map(|_| mutated(t.seeds, t.words, &mut dice))) {
            let one = std::time::Instant::now();
            if std::panic::catch_unwind(|| (t.run)(&input)).is_err() {
                failures += 1;
                if failures <= 3 {
                    eprintln!("## {} b\"{}\"", t.name, input.escape_ascii());
                }
            }
            if one.elapsed() > slow.0 {
                slow = (one.elapsed(), input);
            }
        }
        bad += failures;
        eprintln!(
            "== {} {} failures in {:?}, slowest {:?} b\"{}\"",
            t.name,
            failures,
            start.elapsed(),
            slow.0,
            slow.1[..slow.1.len().min(160)].escape_ascii()
        );
    }
    assert_eq!(bad, 0);
}
