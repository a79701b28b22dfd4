//! First what happened, then what to do: the sentence of the operator, and the advice for its reason.

use serin_core::model::{Phase, Status};
use serin_core::reason::Reason;

use super::advice::{self, Advice, Help, Mark, Page};
use super::{Decision, Docs, Headline, State};
use crate::guard::evidence::Evidence;

/// Where the documentation is read.
const DOCS: &str = "https://serin-rs.github.io/serin";

/// Where a canary stands.
pub fn state(status: &Status, suspended: bool) -> State {
    let mark = status.last_reason.as_ref().map_or(Mark::Info, |last| advice::mark(&last.code));
    let Some(phase) = status.phase else {
        return if mark == Mark::Trouble { State::Trouble } else { State::Starting };
    };
    if suspended {
        return State::Suspended;
    }
    if mark == Mark::Trouble {
        return State::Trouble;
    }
    match phase {
        Phase::Failed => State::Failed,
        Phase::Succeeded | Phase::Initialized | Phase::Terminated => State::Rest,
        Phase::Initializing => State::Starting,
        Phase::Waiting | Phase::WaitingPromotion => State::Gate,
        Phase::Progressing | Phase::Promoting | Phase::Finalising | Phase::Terminating => {
            match mark {
                Mark::Hold => State::Held,
                Mark::Gate => State::Gate,
                Mark::Start => State::Starting,
                Mark::Up | Mark::Down | Mark::Trouble | Mark::Good | Mark::End | Mark::Info => {
                    State::Running
                }
            }
        }
    }
}

/// The code and the sentence that answer what happened: of a release that was rolled back, why it was.
fn cause<'a>(
    status: &'a Status,
    state: State,
    decisions: &'a [Decision],
) -> Option<(&'a str, &'a str)> {
    let last = status.last_reason.as_ref().map(|last| (last.code.as_str(), last.message.as_str()));
    if state != State::Failed {
        return last;
    }
    let down = decisions.iter().rev().find(|decision| decision.mark == Mark::Down);
    down.map(|decision| (decision.code.as_str(), decision.text.as_str())).or(last)
}

pub(super) fn headline(
    (namespace, name): (&str, &str),
    status: &Status,
    state: State,
    decisions: &[Decision],
    evidence: Option<&Evidence>,
) -> Headline {
    let cause = cause(status, state, decisions);
    let known = cause.and_then(|(code, _)| advice::of(code));
    let what = match (cause, status.phase) {
        (Some((_, sentence)), _) if !sentence.is_empty() => sentence.to_owned(),
        (_, Some(phase)) => format!("The phase is {}.", phase.name()),
        (_, None) => "The operator has not taken this Canary up yet.".to_owned(),
    };
    let (help, page) =
        known.map_or((Help::Describe, Page::Reasons), |Advice { help, page, .. }| (help, page));
    let todo = match known {
        Some(Advice { todo, .. }) => (*todo).to_owned(),
        None if cause.is_none() => "See whether the operator runs.".to_owned(),
        None => "This program does not know the reason; a later one may.".to_owned(),
    };
    let code = cause.map(|(code, _)| code).filter(|_| known.is_some());
    Headline {
        state,
        mark: cause.map_or(Mark::Info, |(code, _)| advice::mark(code)),
        what,
        more: more(status, state, evidence),
        todo,
        command: command(help, namespace, name),
        docs: docs(code, page),
    }
}

/// The numbers of the guard, in the words that `explain` has for them.
fn more(status: &Status, state: State, evidence: Option<&Evidence>) -> String {
    let mut parts = Vec::new();
    match state {
        State::Failed => parts.push("The primary has all traffic.".to_owned()),
        State::Held | State::Gate | State::Running if status.canary_weight > 0 => {
            parts.push(format!("The canary keeps its {} %.", status.canary_weight));
        }
        State::Held
        | State::Gate
        | State::Running
        | State::Trouble
        | State::Starting
        | State::Suspended
        | State::Rest => {}
    }
    match evidence {
        Some(Evidence { odds, log_limit, log_evidence, .. }) => {
            let limit = log_limit.exp().round();
            match *log_evidence > 0.0 {
                true => parts.push(format!("Evidence: {odds}; the guard acts at 1 in {limit}.")),
                false => parts.push(format!("Evidence: {odds}.")),
            }
        }
        None if state == State::Running && status.canary_weight > 0 => {
            parts.push("The guard has seen no request of the canary yet.".to_owned());
        }
        None => {}
    }
    parts.join(" ")
}

fn command(help: Help, namespace: &str, name: &str) -> String {
    match help {
        Help::Explain => format!("serin explain {namespace}/{name}"),
        Help::Watch => format!("serin watch {name} -n {namespace}"),
        Help::Describe => format!("kubectl describe canary {name} -n {namespace}"),
        Help::Pods => format!("kubectl get pods -n {namespace}"),
        Help::Ask(action) => format!("serin {action} {name} -n {namespace}"),
        Help::Unsuspend => format!(
            "kubectl patch canary {name} -n {namespace} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'"
        ),
    }
}

fn docs(code: Option<&str>, page: Page) -> Docs {
    let (path, anchor) = match (page, code) {
        (Page::Trouble, Some(code)) => {
            ("guides/troubleshooting/", format!("#{}", code.to_ascii_lowercase()))
        }
        (Page::Trouble | Page::Reasons, _) => ("reference/reasons/", String::new()),
    };
    let title = code.map_or("Reasons".to_owned(), |code| format!("About {code}"));
    Docs { title, url: format!("{DOCS}/{path}{anchor}") }
}

/// Whether a reason is a moment of a release that people want to see.
pub(super) fn is_moment(code: &str) -> bool {
    !matches!(Reason::of_code(code), Some(Reason::NotDue | Reason::AtRest))
}
