//! Prints how many requests a bad canary hurts under the guard and under Flagger's rule, and how often a good one is undone.
//!
//! `cargo run --release -p serin-core --example bench_guard [-- FAULT_RUNS NULL_RUNS]`; 400 and 2000 unless told otherwise.
//! `-- cost` prints only what a scrape costs, `-- groups` only what the operator's own measuring of error groups is worth,
//! `-- real` only what really happens beside the version before.
//! Seeds are fixed. The exit code is 1 when a cell is more than 1.1 times the reference or a null breaks alpha.
#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

use std::process::ExitCode;

use serin_judge::{Bets, Guard, Sample};

mod latency;
mod operator;
mod policy;
mod real;
mod reference;
mod stream;

use policy::{ACTUATION_SECS, ALPHA, Action, DELTA, P0, Player, Policy, Told};
use reference::{FAULTS, LATE, NULLS};
use stream::{Counters, Pattern, QUARTERS, World};

const HORIZON_SECS: u64 = 1800;
const SEED: u64 = 20_240_601;
const THREADS: u64 = 2;
/// Errors hold half of the evidence, as in the reference.
const HALF: f64 = 0.5;

const fn fixed(scrape: u64) -> Policy {
    Policy::Fixed { scrape, second_look: false, bets: Bets::Auto }
}

const POLICIES: [(&str, Policy); 7] = [
    ("Flagger 60s/5", Policy::Flagger { interval_secs: 60, threshold: 5 }),
    ("Flagger 10s/1", Policy::Flagger { interval_secs: 10, threshold: 1 }),
    ("guard 5s", fixed(5 * QUARTERS)),
    ("guard 1s", fixed(QUARTERS)),
    ("guard paced 1s", Policy::Paced { scrape: QUARTERS, second_look: false }),
    (
        "guard 1s, second look",
        Policy::Fixed { scrape: QUARTERS, second_look: true, bets: Bets::Auto },
    ),
    ("guard paced 1s, second look", Policy::Paced { scrape: QUARTERS, second_look: true }),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    RolledBack,
    Promoted,
    Undecided,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    end: End,
    secs: f64,
    bad: f64,
}

/// Plays one rollout. Bad requests count until the rollback takes effect, or until the promotion.
fn play(world: &World, policy: Policy, told: Told, mass: f64, seed: u64) -> Run {
    let mut player = Player::new(policy, world, seed, told, mass);
    let mut weight = player.first_weight();
    let mut counters = Counters::default();
    for tick in 0..HORIZON_SECS * QUARTERS {
        world.play(seed, tick, weight, &mut counters);
        let done = |end, counters: &Counters| Run {
            end,
            secs: (tick + 1) as f64 / QUARTERS as f64,
            bad: counters.x as f64,
        };
        match player.tick(tick + 1, &counters) {
            Action::Stay => {}
            Action::Weight(next) => weight = next,
            Action::Promote => return done(End::Promoted, &counters),
            Action::RollBack => {
                for late in 1..=ACTUATION_SECS * QUARTERS {
                    world.play(seed, tick + late, weight, &mut counters);
                }
                return done(End::RolledBack, &counters);
            }
        }
    }
    Run { end: End::Undecided, secs: HORIZON_SECS as f64, bad: counters.x as f64 }
}

fn runs(world: &World, policy: Policy, told: Told, mass: f64, count: u64) -> Summary {
    let part = |first: u64| -> Vec<Run> {
        let mine = (first..count).step_by(THREADS as usize);
        mine.map(|run| play(world, policy, told, mass, SEED + run)).collect()
    };
    let all: Vec<Run> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || part(i))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a run does not panic")).collect()
    });
    Summary::new(&all)
}

struct Summary {
    runs: f64,
    mean: f64,
    /// Standard error of the mean.
    error: f64,
    p95: f64,
    rolled_back: f64,
    promoted: f64,
    rollback_secs: Option<f64>,
    promotion_secs: Option<f64>,
}

fn quantile(mut values: Vec<f64>, q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((q * last as f64).round() as usize).copied()
}

impl Summary {
    fn new(all: &[Run]) -> Self {
        let runs = all.len() as f64;
        let mean = all.iter().map(|run| run.bad).sum::<f64>() / runs;
        let spread =
            all.iter().map(|run| (run.bad - mean).powi(2)).sum::<f64>() / (runs - 1.0).max(1.0);
        let share = |end| all.iter().filter(|run| run.end == end).count() as f64 / runs;
        let secs = |end| {
            let times = all.iter().filter(|run| run.end == end).map(|run| run.secs).collect();
            quantile(times, 0.5)
        };
        Self {
            runs,
            mean,
            error: (spread / runs).sqrt(),
            p95: quantile(all.iter().map(|run| run.bad).collect(), 0.95).unwrap_or(0.0),
            rolled_back: share(End::RolledBack),
            promoted: share(End::Promoted),
            rollback_secs: secs(End::RolledBack),
            promotion_secs: secs(End::Promoted),
        }
    }

    fn fault(&self) -> String {
        let secs = self.rollback_secs.map_or("-".into(), |s| format!("{s:.1} s"));
        let mut text = format!("{} ({:.0}) · {secs}", short(self.mean), self.p95);
        if self.rolled_back < 1.0 {
            text += &format!(" · {:.0}%", self.rolled_back * 100.0);
        }
        if self.promoted > 0.0 {
            text += &format!(" · **{:.1}% promoted**", self.promoted * 100.0);
        }
        text
    }

    /// False rollbacks; none with the upper end of its 95 % interval (rule of three).
    fn false_share(&self) -> String {
        if self.rolled_back == 0.0 {
            return format!("0 (<{:.2}%)", 300.0 / self.runs);
        }
        format!("{:.2}%", self.rolled_back * 100.0)
    }

    fn null(&self) -> String {
        let secs = self.promotion_secs.map_or("-".into(), |s| format!("{s:.0} s"));
        format!("{} · {:.0}% · {secs}", self.false_share(), self.promoted * 100.0)
    }

    /// Whether the false rollbacks are more than alpha allows, given how few runs there are.
    fn breaks_alpha(&self) -> bool {
        self.rolled_back > ALPHA + 2.0 * (ALPHA * (1.0 - ALPHA) / self.runs).sqrt()
    }
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn percent(value: f64) -> String {
    format!("{}%", (value * 1e4).round() / 1e2)
}

fn head(first: &str, columns: &[&str]) {
    println!("\n| {first} | {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(first.matches('|').count() + 1 + columns.len()));
}

fn faults(count: u64) -> bool {
    let names = POLICIES.map(|(name, _)| name);
    println!("## Faults from the first request, baseline 0.1 % ({count} runs per cell)");
    println!(
        "\nBad requests served, mean (p95) · median seconds to rollback · rolled back if not 100% · bad canaries promoted."
    );
    head("rps | fault | bound: SLO / best", &names);
    let mut rows = Vec::new();
    for cell in &FAULTS {
        let world = World::new(cell.rps, Pattern::Fixed(cell.fault, 0.001));
        let row = POLICIES.map(|(_, policy)| runs(&world, policy, Told::One, HALF, count));
        let cells = row.each_ref().map(Summary::fault).join(" | ");
        let (rps, fault) = (cell.rps, percent(cell.fault));
        println!("| {rps} | {fault} | {:.1} / {:.1} | {cells} |", cell.wald, cell.best);
        rows.push((cell, row));
    }
    println!(
        "\nMean bad requests over the reference's (± two standard errors of ours), and over the best information bound."
    );
    head("rps | fault", &names);
    let (mut good, mut worst) = (true, 0.0_f64);
    for (cell, row) in &rows {
        let ratio = |(i, s): (usize, &Summary)| {
            let bound = s.mean / cell.best;
            // A second look is ours alone; it is held against the reference's same column without it.
            let of = cell.bad[[0, 1, 2, 3, 4, 3, 4][i]];
            format!("{:.2} ± {:.2} / {bound:.1}", s.mean / of, 2.0 * s.error / of)
        };
        let cells: Vec<String> = row.iter().enumerate().map(ratio).collect();
        println!("| {} | {} | {} |", cell.rps, percent(cell.fault), cells.join(" | "));
        for (i, summary) in row.iter().enumerate().skip(2) {
            let of = cell.bad[[0, 1, 2, 3, 4, 3, 4][i]];
            worst = worst.max(summary.mean / of);
            good &= (summary.mean - 2.0 * summary.error) / of <= 1.1;
        }
    }
    println!(
        "\nLargest ratio of a guard to the reference: {worst:.2} (at most 1.1 within two standard errors: {})",
        yes(good)
    );
    good
}

fn yes(good: bool) -> &'static str {
    if good { "yes" } else { "NO" }
}

fn nulls(count: u64) -> bool {
    println!("\n## No fault: the same rate on both sides ({count} runs per cell)");
    println!("\nFalse rollbacks · promoted within 1800 s · median seconds to promotion.");
    head("rps | error rate", &POLICIES.map(|(name, _)| name));
    let mut good = true;
    for (rps, rate) in NULLS {
        let world = World::new(rps, Pattern::Fixed(rate, rate));
        let count = if rps >= 1000.0 { count / 2 } else { count };
        let row = POLICIES.map(|(_, policy)| runs(&world, policy, Told::One, HALF, count));
        good &= row.iter().skip(2).all(|summary| !summary.breaks_alpha());
        let cells = row.each_ref().map(Summary::null).join(" | ");
        println!("| {rps} | {} | {cells} |", percent(rate));
    }
    println!("\nEvery guard within alpha = {}: {}", percent(ALPHA), yes(good));
    good
}

/// Faults that begin in the fourth step.
fn late(count: u64) -> bool {
    const AT: f64 = 200.0;
    println!("\n## Canary turns bad at {AT} s, 100 rps, baseline 0.1 % ({count} runs per cell)");
    println!(
        "\nMean bad requests served · median seconds after the fault · found, and over the reference's mean."
    );
    let columns = [POLICIES[0], POLICIES[3], POLICIES[5]];
    head("fault", &columns.map(|(name, _)| name));
    let mut good = true;
    for (fault, reference) in LATE {
        let world = World::new(100.0, Pattern::Late { at: AT, fault, base: 0.001 });
        let row = columns.map(|(_, policy)| runs(&world, policy, Told::One, HALF, count));
        let cell = |(i, s): (usize, &Summary)| {
            let secs = s.rollback_secs.map_or("-".into(), |secs| format!("{:.1} s", secs - AT));
            let ratio = s.mean / reference[i.min(1)];
            format!("{} · {secs} · {:.0}% ({ratio:.2})", short(s.mean), s.rolled_back * 100.0)
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        println!("| {} | {} |", percent(fault), cells.join(" | "));
        good &= row.iter().skip(1).all(|s| (s.mean - 2.0 * s.error) / reference[1] <= 1.1);
    }
    println!("\nNo guard above 1.1 times the reference: {}", yes(good));
    good
}

fn both(p: f64) -> (f64, f64) {
    (p, p)
}

fn within(t: f64, from: f64, secs: f64) -> bool {
    t >= from && t < from + secs
}

fn square(t: f64, half: f64) -> f64 {
    if ((t / half) as u64).is_multiple_of(2) { 0.001 } else { 0.2 }
}

/// Nulls that lie on the boundary, drift, or break independence: name, world, whether the guarantee needs `D` measured.
fn hard_nulls() -> Vec<(&'static str, World, bool)> {
    let at = |rates: stream::Rates| World::new(100.0, Pattern::Varying(rates));
    let slow = |rps, rates: stream::Rates| World::new(rps, Pattern::Varying(rates));
    let still = |pc, pp| World::new(100.0, Pattern::Fixed(pc, pp));
    let batches = |rate, size| World::batches(100.0, Pattern::Fixed(rate, rate), size);
    vec![
        ("canary = primary = 1.0% = SLO", still(P0, P0), false),
        ("primary 0.1%, canary 0.6% = primary + delta", still(0.001 + DELTA, 0.001), false),
        ("canary 1.0% = SLO, primary 0.5%", still(P0, 0.005), false),
        ("canary = primary = 5%", still(0.05, 0.05), false),
        (
            "incident 30%, 60 s",
            at(|t| both(if within(t, 100.0, 60.0) { 0.3 } else { 0.001 })),
            false,
        ),
        (
            "incident 10%, 300 s",
            at(|t| both(if within(t, 100.0, 300.0) { 0.1 } else { 0.001 })),
            false,
        ),
        ("20% on and off every 5 s", at(|t| both(square(t, 5.0))), false),
        ("same at 10 rps", slow(10.0, |t| both(square(t, 5.0))), false),
        ("same at 1 rps", slow(1.0, |t| both(square(t, 5.0))), false),
        ("20% on and off every 40 s, 1 rps", slow(1.0, |t| both(square(t, 40.0))), false),
        (
            "rates swing 0.05-0.95% in 10 min",
            at(|t| both(0.005 + 0.0045 * (t / 95.5).sin())),
            false,
        ),
        ("rates swing 0.1-5% in 10 min", at(|t| both(0.0255 + 0.0245 * (t / 95.5).sin())), false),
        ("40 failures in one scrape, t=100", still(0.001, 0.001).burst(100.0, 40), false),
        ("40 failures in one scrape, t=3", still(0.001, 0.001).burst(3.0, 40), false),
        ("batches of 10 with one fate, 0.5%", batches(0.005, 10), true),
        ("batches of 10 with one fate, 0.1%", batches(0.001, 10), true),
        ("batches of 50 with one fate, 0.5%", batches(0.005, 50), true),
        ("runs of 10 on a side, 0.5%", still(0.005, 0.005).sticky(10), true),
        ("runs of 10 on a side, 0.1%", still(0.001, 0.001).sticky(10), true),
        ("runs of 50 on a side, 0.5%", still(0.005, 0.005).sticky(50), true),
        (
            "runs of 10 on a side, 10 rps, 0.5%",
            World::new(10.0, Pattern::Fixed(0.005, 0.005)).sticky(10),
            true,
        ),
    ]
}

fn dependence(count: u64) -> bool {
    println!(
        "\n## Nulls on the boundary and nulls that break independence, 100 rps unless told ({count} runs per cell)"
    );
    println!(
        "\nFalse rollbacks. The guard promises alpha with D measured; with D = 1 only where requests are independent."
    );
    let live = Policy::Fixed { scrape: QUARTERS, second_look: false, bets: Bets::Live };
    let second = Policy::Fixed { scrape: QUARTERS, second_look: true, bets: Bets::Auto };
    let columns = [
        ("Flagger 60s/5", POLICIES[0].1, Told::One, HALF),
        ("Flagger 10s/1", POLICIES[1].1, Told::One, HALF),
        ("guard 1s, D = 1", fixed(QUARTERS), Told::One, HALF),
        ("guard 1s, D measured", fixed(QUARTERS), Told::Measured, HALF),
        ("second look, D measured, all mass", second, Told::Measured, 1.0),
        ("live bets alone, D measured", live, Told::Measured, HALF),
    ];
    head("null", &columns.map(|(name, ..)| name));
    let mut good = true;
    for (name, world, dependent) in hard_nulls() {
        let row = columns.map(|(_, policy, told, mass)| runs(&world, policy, told, mass, count));
        good &= row.iter().skip(if dependent { 3 } else { 2 }).all(|s| !s.breaks_alpha());
        println!("| {name} | {} |", row.each_ref().map(Summary::false_share).join(" | "));
    }
    println!("\nEvery guard that promises it within alpha = {}: {}", percent(ALPHA), yes(good));
    good
}

/// Nanoseconds that this thread has had a core for: others are at work on this machine too.
fn busy_nanos(since: std::time::Instant) -> f64 {
    let scheduled = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let busy = scheduled.and_then(|text| text.split(' ').next()?.parse().ok());
    busy.unwrap_or_else(|| since.elapsed().as_nanos() as f64)
}

/// Nanoseconds of one scrape: the best of some tries, each long enough for the coarse clock of the scheduler.
#[expect(clippy::disallowed_methods, reason = "a stopwatch has to look at the clock")]
fn nanos(guard: &mut Guard, scrapes: &[Vec<Sample>]) -> f64 {
    const TRIES: usize = 10;
    const ROUNDS: usize = 10;
    let since = std::time::Instant::now();
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let start = busy_nanos(since);
        let mut sum = 0.0;
        for _ in 0..ROUNDS {
            for scrape in scrapes {
                sum += guard.observe(1.0, scrape).log_e;
            }
        }
        std::hint::black_box(sum);
        best = best.min((busy_nanos(since) - start) / (ROUNDS * scrapes.len()) as f64);
        guard.weight_changed();
    }
    best
}

/// The cost of one scrape on one core, with what a canary may have under guard.
fn stopwatch() -> bool {
    println!("\n## Cost");
    println!(
        "\nOne scrape of one canary, and 10 000 canaries at 1 s; the target is 10 000 ns, and half a core.\n"
    );
    println!("| under guard | ns per scrape | 10 000 canaries |");
    println!("|---|---|---|");
    let mut worst = 0.0_f64;
    for (name, mut guard, scrapes) in latency::busy() {
        let nanos = nanos(&mut guard, &scrapes);
        println!("| {name} | {nanos:.0} | {:.1}% of a core |", nanos * 1e-3);
        worst = worst.max(nanos);
    }
    let good = worst <= 10_000.0;
    println!("\nEach within 10 000 ns: {}", yes(good));
    good
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("cost") {
        return if stopwatch() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if std::env::args().nth(1).as_deref() == Some("groups") {
        return if operator::table(500) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if std::env::args().nth(1).as_deref() == Some("real") {
        return if real::table(200) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut counts = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (faulty, healthy) = match (counts.next(), counts.next()) {
        (None, _) => (400, 2000),
        (Some(Ok(f)), None) if f > 0 => (f, 5 * f),
        (Some(Ok(f)), Some(Ok(n))) if f > 0 && n > 1 => (f, n),
        (Some(_), _) => {
            println!(
                "usage: bench_guard [FAULT_RUNS [NULL_RUNS]], or bench_guard cost, groups or real"
            );
            return ExitCode::from(2);
        }
    };
    println!(
        "# The guard against Flagger's rule: SLO 1 %, tolerance 0.5 points, alpha 1 %, seeds from {SEED}\n"
    );
    let results = [
        stopwatch(),
        faults(faulty),
        nulls(healthy),
        late(faulty),
        dependence(healthy),
        latency::table(faulty),
        operator::table(healthy.div_ceil(4)),
        real::table(faulty.div_ceil(2)),
    ];
    if results.into_iter().all(|good| good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
