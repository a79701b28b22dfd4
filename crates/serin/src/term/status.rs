//! `serin status`: waits for the end of a release and says it with its exit code; made for CI.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kube::Client;
use kube::api::{Api, DynamicObject};
use serin_core::model::{Key, Phase};
use serin_providers::change::DEPLOYMENT;
use tokio::time::Instant;

use super::{OneArgs, Terminal, say};
use crate::cache;
use crate::clock::SystemClock;
use crate::console::Board;
use crate::view::{ReleaseView, State};

/// A change of the target is taken up within a moment; after this it is not going to be.
const TAKEN_UP: Duration = Duration::from_secs(20);
/// What somebody must put right does not end by itself; a moment of it may.
const TROUBLE_LASTS: Duration = Duration::from_secs(15);
/// Time passes without news.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Flags of `serin status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Longest time to wait for the end of a release.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    timeout: Duration,
    /// Say how it stands, and do not wait.
    #[arg(long)]
    no_wait: bool,
    /// For people or for machines.
    #[arg(short, long, default_value = "human")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
    Yaml,
}

/// `90s`, `15m` or `2h`, or seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 =
        digits.parse().map_err(|_| format!("{text} is not a time such as 90s, 15m or 2h"))?;
    let secs = match unit {
        "" | "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        _ => return Err(format!("{unit} is not a unit: s, m or h")),
    };
    // A year is longer than any release.
    secs.filter(|secs| *secs <= 365 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text} is too long"))
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Promoted,
    RolledBack,
    /// It is held, suspended or in trouble, or the time is over.
    Held,
}

impl End {
    fn code(self) -> u8 {
        match self {
            End::Promoted => 0,
            End::RolledBack => 1,
            End::Held => 2,
        }
    }
}

/// What a canary at rest has come to; none while something is under way.
pub(super) fn end(view: &ReleaseView) -> Option<End> {
    if view.state == State::Suspended {
        return Some(End::Held);
    }
    match view.phase? {
        Phase::Succeeded | Phase::Initialized => Some(End::Promoted),
        Phase::Failed => Some(End::RolledBack),
        Phase::Terminated => Some(End::Held),
        Phase::Initializing
        | Phase::Waiting
        | Phase::Progressing
        | Phase::WaitingPromotion
        | Phase::Promoting
        | Phase::Finalising
        | Phase::Terminating => None,
    }
}

/// Waits for the end. Errors are answered by the caller, with another code.
pub async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let (client, key) = args.one.reach().await?;
    let board = Board::new(
        client.clone(),
        Some(key.namespace.clone()),
        None,
        Arc::new(SystemClock::default()),
    );
    let human = args.output == Output::Human;
    let (view, ended) = tokio::select! {
        () = board.run() => anyhow::bail!("the watch on Canaries has ended"),
        waited = wait(&client, &board, &key, args, human) => waited?,
    };
    match args.output {
        Output::Human => say(&summary(&view, ended))?,
        Output::Json => say(&format!("{}\n", serde_json::to_string_pretty(&view)?))?,
        Output::Yaml => say(&serde_saphyr::to_string(&view)?)?,
    }
    Ok(ExitCode::from(ended.code()))
}

async fn wait(
    client: &Client,
    board: &Board,
    key: &Key,
    args: &StatusArgs,
    human: bool,
) -> anyhow::Result<(ReleaseView, End)> {
    let begun = Instant::now();
    let mut lines = Lines::default();
    let mut trouble: Option<Instant> = None;
    let mut news = board.changed();
    loop {
        if let Some(view) = found(board, key).await? {
            if human && !args.no_wait {
                lines.tell(&view, Terminal::here())?;
            }
            let settled = begun.elapsed() >= TAKEN_UP || is_taken_up(client, board, key).await;
            match view.state {
                State::Trouble => drop(trouble.get_or_insert_with(Instant::now)),
                State::Failed
                | State::Held
                | State::Gate
                | State::Running
                | State::Starting
                | State::Suspended
                | State::Rest => trouble = None,
            }
            let lasting = trouble.is_some_and(|since| since.elapsed() >= TROUBLE_LASTS);
            let over = end(&view).filter(|_| settled);
            let late = begun.elapsed() >= args.timeout || args.no_wait || lasting;
            if let Some(ended) = over.or_else(|| late.then_some(End::Held)) {
                return Ok((view, ended));
            }
        }
        let pause = tokio::time::timeout(LOOK_EVERY, news.changed());
        if let Ok(Err(_)) = pause.await {
            anyhow::bail!("the watch on Canaries has ended");
        }
    }
}

/// The picture as it is; none before the list has come.
pub(super) async fn found(board: &Board, key: &Key) -> anyhow::Result<Option<ReleaseView>> {
    let view = board.release(key).await;
    let (trouble, listed) = board.standing();
    match (view, trouble) {
        (Some(view), _) => Ok(Some(view)),
        (None, Some(why)) => anyhow::bail!("cannot read Canaries of {}: {why}", key.namespace),
        (None, None) if listed => {
            anyhow::bail!("there is no Canary {} in the namespace {}", key.name, key.namespace)
        }
        (None, None) => Ok(None),
    }
}

/// Whether the operator has seen the target as it is now: a change that was just made has no release yet.
async fn is_taken_up(client: &Client, board: &Board, key: &Key) -> bool {
    let Some((target, seen)) = board.target(key) else { return true };
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &key.namespace, &cache::resource(&DEPLOYMENT));
    match api.get_opt(&target).await {
        Ok(Some(target)) => {
            let now = target.metadata.generation;
            now.is_none() || seen >= now
        }
        // What may not be read is not waited for.
        Ok(None) | Err(_) => true,
    }
}

/// Decisions as lines, each once.
#[derive(Default)]
pub(super) struct Lines {
    told: Option<(String, f64)>,
}

impl Lines {
    pub(super) fn tell(&mut self, view: &ReleaseView, terminal: Terminal) -> std::io::Result<()> {
        let release = format!("{} {}", view.t0, view.release.revision);
        let from = match &self.told {
            Some((known, t)) if *known == release => *t,
            // Of what was before somebody looked, only the last.
            Some(_) | None => {
                let newest = view.decisions.last().map_or(0.0, |decision| decision.t);
                newest - if self.told.is_some() { view.now + 1.0 } else { 0.001 }
            }
        };
        let mut text = String::new();
        for decision in view.decisions.iter().filter(|decision| decision.t > from) {
            let clock = clock(view, decision.t);
            let code = terminal.paint(decision.mark, &decision.code);
            text +=
                &format!("{clock}  {:>3} %  {code}: {}\n", weight(view, decision.t), decision.text);
        }
        let last = view.decisions.last().map_or(from, |decision| decision.t.max(from));
        self.told = Some((release, last));
        say(&text)
    }
}

fn weight(view: &ReleaseView, t: f64) -> u8 {
    let step = view.staircase.iter().rev().find(|step| step.t <= t + 0.05);
    step.map_or(0, |step| step.weight)
}

fn clock(view: &ReleaseView, t: f64) -> String {
    let time = jiff::Timestamp::from_millisecond(view.t0.saturating_add((t * 1000.0) as i64));
    time.map_or(String::new(), |time| format!("{time:.0}"))
}

/// First what happened, then what to do.
pub(super) fn summary(view: &ReleaseView, ended: End) -> String {
    let word = match ended {
        End::Promoted if view.phase == Some(Phase::Initialized) => "at rest",
        End::Promoted => "promoted",
        End::RolledBack => "rolled back",
        End::Held => view.state.words(),
    };
    let head = &view.headline;
    let mut text = format!("{} {word}: {}\n", view.canary, head.what);
    if !head.more.is_empty() {
        text += &format!("  {}\n", head.more);
    }
    text + &format!("  Now: {}\n  {}\n  {}\n", head.todo, head.command, head.docs.url)
}
