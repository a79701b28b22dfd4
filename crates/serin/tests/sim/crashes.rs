//! Small worlds in which every single write of a whole release meets a fault, one life for each: above all, the operator is
//! killed before and after each of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serin_core::model::HookKind;

use crate::plan::{Act, Call, Checks, Fault, Move, Plan, Quality, Shape, Trouble, What};
use crate::run::{Options, Outcome, report, run, user};
use crate::switches::Kinds;

/// One of so many points is tried when the code is not optimised; `make test` tries more in the profile for it.
const STRIDE: usize = 61;
/// How long the operator stays away.
const DOWN: u64 = 5;

/// By then the canary is at rest, and by then again after a deletion, whatever one call may take.
const BEGIN: u64 = 160;
/// After the last move everything has happened.
const END: u64 = 600;

/// A life that ends well whatever happens to one write of it.
struct Story {
    name: &'static str,
    plan: Plan,
    /// What the phase may be in the end; empty when the Canary is gone.
    ends: &'static [&'static str],
}

/// Everything that a canary can have.
fn full() -> Shape {
    Shape {
        checks: Checks::Template,
        hooks: HookKind::ALL.to_vec(),
        autoscaler: true,
        configs: true,
        guard: true,
        ..Shape::small()
    }
}

fn stories() -> Vec<Story> {
    let story = |name, shape: Shape, replicas, ends, mut moves: Vec<Move>| {
        // Nothing changes by it: faults that are still to come end with the last move.
        moves.push(user(END, 0, Act::Gates(true)));
        Story { name, plan: Plan { seed: 1, replicas, canaries: vec![shape], moves }, ends }
    };
    let release = |quality| user(BEGIN, 0, Act::Release(quality));
    let small = Shape::small;
    vec![
        story("a promotion", small(), 1, &["Succeeded"], vec![release(Quality::Healthy)]),
        story("a rollback", small(), 1, &["Failed"], vec![release(Quality::Bad)]),
        story("pods that crash", small(), 1, &["Failed"], vec![release(Quality::Crash)]),
        story(
            "a way back",
            small(),
            1,
            // A write that takes its time may see only the way back.
            &["Succeeded", "Initialized"],
            vec![release(Quality::Healthy), user(18, 0, Act::Revert)],
        ),
        story("a deletion", small(), 1, &[""], vec![user(BEGIN, 0, Act::Delete)]),
        story(
            "a deletion in the middle of a release",
            small(),
            1,
            &[""],
            vec![release(Quality::Healthy), user(18, 0, Act::Delete)],
        ),
        story(
            "a Canary that comes again",
            small(),
            1,
            &["Initialized"],
            vec![user(BEGIN, 0, Act::Delete), user(BEGIN, 0, Act::Recreate)],
        ),
        story("everything, promoted", full(), 2, &["Succeeded"], vec![release(Quality::Healthy)]),
        story("everything, rolled back", full(), 2, &["Failed"], vec![release(Quality::Late)]),
        story("a new config", full(), 2, &["Succeeded"], vec![user(BEGIN, 0, Act::RotateConfig)]),
        story("everything, deleted", full(), 2, &[""], vec![user(BEGIN, 0, Act::Delete)]),
    ]
}

/// All faults are on, whatever `SERIN_FAULTS` says: this is about them.
fn options() -> Options {
    Options { faults: Kinds::all(), ..Options::default() }
}

/// The story, in which the write after `skip` others meets `fault`.
fn disturbed(story: &Story, skip: u64, fault: Fault) -> Plan {
    let trouble = What::Trouble(Trouble::Next { call: Call::Write, skip, fault });
    let mut plan = story.plan.clone();
    plan.moves.insert(0, Move { after: Duration::ZERO, what: trouble });
    plan
}

fn wrong(story: &Story, plan: &Plan, outcome: &Outcome, met: u64) -> Option<String> {
    let ends = outcome.ends.first().map_or("", String::as_str);
    let what = match &outcome.broken {
        Some(broken) => broken.law.to_owned(),
        None if !story.ends.contains(&ends) => format!("ends as {ends:?}, not {:?}", story.ends),
        None if outcome.faults.values().sum::<u64>() != met => "met no fault".to_owned(),
        None => return None,
    };
    Some(format!("{}: {what}\n{}", story.name, report(plan, outcome)))
}

/// Lives each story once for each of its writes and each of the faults; says how often that was.
fn sweep(faults: &[Fault], met: u64, stride: usize) -> usize {
    let mut points = Vec::new();
    let stories = stories();
    for (number, story) in stories.iter().enumerate() {
        let outcome = run(&story.plan, &options());
        if let Some(wrong) = wrong(story, &story.plan, &outcome, 0) {
            panic!("without a fault: {wrong}");
        }
        let each = |skip| faults.iter().map(move |fault| (number, skip, *fault));
        points.extend((0..outcome.writes).flat_map(each));
        println!("| {} | {} writes |", story.name, outcome.writes);
    }
    let points: Vec<_> = points.into_iter().step_by(stride).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(16);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, skip, fault)) =
                    points.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let story = &stories[*number];
                    let plan = disturbed(story, *skip, *fault);
                    let outcome = run(&plan, &options());
                    if let Some(wrong) = wrong(story, &plan, &outcome, met) {
                        let at = (outcome.broken.is_none(), *number, *skip);
                        failures.lock().unwrap().push((at, *fault, wrong));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    // Broken laws first.
    failures.sort_by_key(|(at, ..)| *at);
    if let Some((.., first)) = failures.first() {
        for ((.., skip), fault, what) in &failures {
            println!("write {skip}, {fault:?}: {}", what.lines().next().unwrap_or_default());
        }
        panic!("{} of {} lives, the first:\n{first}", failures.len(), points.len());
    }
    points.len()
}

/// `SERIN_POINTS=most` tries one of so many points, `SERIN_POINTS=all` each.
fn stride(most: usize) -> usize {
    match std::env::var("SERIN_POINTS").as_deref() {
        Ok("all") => 1,
        Ok("most") => most,
        Ok(other) => panic!("SERIN_POINTS is most or all, not {other}"),
        Err(_) => STRIDE,
    }
}

#[test]
fn a_crash_before_and_after_every_write_does_no_harm() {
    let crash = |carried_out| Fault::Crash { carried_out, down: DOWN };
    // The crash and what it does to the operator are counted.
    let lives = sweep(&[crash(false), crash(true)], 2, stride(1));
    println!("{lives} crashes, one life each, and no law broken");
}

/// The seconds that a write takes are seconds in which a check may say no.
#[test]
fn a_write_that_takes_its_time_raises_nothing_on_evidence_of_before() {
    let stories = stories();
    let story = stories.iter().find(|story| story.name == "everything, rolled back").unwrap();
    let writes = run(&story.plan, &options()).writes;
    for skip in 0..writes {
        let plan = disturbed(story, skip, Fault::Slow { millis: 20_000 });
        let outcome = run(&plan, &options());
        if let Some(wrong) = wrong(story, &plan, &outcome, 1) {
            panic!("write {skip}: {wrong}");
        }
    }
}

#[test]
fn a_fault_at_every_write_does_no_harm() {
    let faults = [
        Fault::Refused(409),
        Fault::Refused(500),
        Fault::Torn { carried_out: false },
        Fault::Torn { carried_out: true },
        Fault::Late { secs: 10 },
        Fault::Slow { millis: 20_000 },
        Fault::Hang,
    ];
    // Not a divisor of their number: each of them gets its turn.
    let lives = sweep(&faults, 1, stride(5));
    println!("{lives} faults, one life each, and no law broken");
}
