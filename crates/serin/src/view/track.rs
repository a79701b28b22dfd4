//! What was seen of one Canary while somebody watched: its document, and of the release under way the weights, looks and decisions.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serin_core::model::{Canary, Phase, Spec, Status};
use serin_core::parse::{self, Limits};
use serin_core::words::{SENTENCE_MAX, line};

use super::advice::{Mark, mark};
use super::headline::is_moment;
use super::objects::Images;
use super::series::{Look, Series};
use crate::document::{self, legible};
use crate::guard::evidence::{self, Evidence};

/// Decisions of one release that are remembered.
pub const DECISIONS_MAX: usize = 200;
/// Changes of the weight that are.
const WEIGHTS_MAX: usize = 200;
/// An Event is written a moment after the decision, and has whole seconds.
const SAME: SignedDuration = SignedDuration::from_secs(3);

/// A decision as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) time: Timestamp,
    pub(super) code: String,
    pub(super) text: String,
}

/// One Canary over time.
#[derive(Debug)]
pub struct Track {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) status: Status,
    /// None where it is invalid.
    pub(super) spec: Option<Spec>,
    pub(super) findings: Vec<String>,
    pub(super) created: Option<Timestamp>,
    /// When the release began.
    pub(super) begun: Timestamp,
    pub(super) weights: Vec<(Timestamp, u8)>,
    pub(super) looks: Series,
    pub(super) decisions: Vec<Seen>,
    pub(super) evidence: Option<Evidence>,
    /// Why what the status has kept of the guard cannot be read.
    pub(super) unreadable: Option<String>,
    pub(super) images: Images,
}

/// Whether nothing is being released, made or taken away.
pub(super) fn at_rest(phase: Option<Phase>) -> bool {
    match phase {
        Some(Phase::Initialized | Phase::Succeeded | Phase::Failed | Phase::Terminated) => true,
        Some(
            Phase::Initializing
            | Phase::Waiting
            | Phase::Progressing
            | Phase::WaitingPromotion
            | Phase::Promoting
            | Phase::Finalising
            | Phase::Terminating,
        )
        | None => false,
    }
}

/// Whether this is another release than the one before.
fn begins(before: &Status, now: &Status) -> bool {
    let taken_up = before.last_applied_spec != now.last_applied_spec;
    let from_gate = before.phase == Some(Phase::Waiting);
    (at_rest(before.phase) && !at_rest(now.phase)) || (taken_up && !from_gate)
}

impl Track {
    /// As it is first seen, at `now`. None for what is no Canary at all.
    pub fn new(mut object: Value, now: Timestamp) -> Option<Self> {
        let text = |pointer: &str| Some(object.pointer(pointer)?.as_str()?.to_owned());
        let (namespace, name) = (text("/metadata/namespace")?, text("/metadata/name")?);
        let created = text("/metadata/creationTimestamp").and_then(|time| time.parse().ok());
        let (status, spec, findings) = read(&mut object);
        let mut track = Self {
            namespace,
            name,
            begun: begun(&status, created, now),
            status: Status::default(),
            spec: None,
            findings: Vec::new(),
            created,
            weights: Vec::new(),
            looks: Series::default(),
            decisions: Vec::new(),
            evidence: None,
            unreadable: None,
            images: Images::default(),
        };
        track.take(status, spec, findings, now);
        Some(track)
    }

    /// As it is now.
    pub fn note(&mut self, mut object: Value, now: Timestamp) {
        let (status, spec, findings) = read(&mut object);
        if begins(&self.status, &status) {
            self.begun = begun(&status, self.created, now);
            self.weights.clear();
            self.looks = Series::default();
            self.decisions.clear();
            self.evidence = None;
        }
        self.take(status, spec, findings, now);
    }

    fn take(&mut self, status: Status, spec: Option<Spec>, findings: Vec<String>, now: Timestamp) {
        let weight = status.canary_weight;
        if self.weights.last().is_none_or(|(_, last)| *last != weight) {
            let told = status.weight_time.filter(|time| *time >= self.begun && weight > 0);
            let from = self.weights.last().map_or(self.begun, |(time, _)| *time);
            let ended = status.drain_time.filter(|time| weight == 0 && *time >= from);
            let first = self.weights.is_empty() && weight == 0;
            let time = if first { self.begun } else { told.or(ended).unwrap_or(now).max(from) };
            self.weights.push((time, weight));
            let surplus = self.weights.len().saturating_sub(WEIGHTS_MAX);
            self.weights.drain(..surplus);
        }
        if let Some(last) = &status.last_reason {
            self.decide(last.time.unwrap_or(now), &last.code, &last.message);
        }
        (self.status, self.findings) = (status, findings);
        // A spec that is no longer valid is no reason to forget what the guard watches.
        self.spec = spec;
        let guard = self.spec.as_ref().and_then(|spec| spec.analysis.guard.clone());
        if let (Some(guard), Some(kept)) = (guard, self.status.guard.clone()) {
            let of_soak = self.status.soak.is_some();
            let guard = if of_soak { guard.of_soak() } else { guard };
            match evidence::evidence(&guard, &kept) {
                Ok(evidence) => {
                    self.unreadable = None;
                    self.look(evidence);
                }
                Err(why) => self.unreadable = Some(why),
            }
        }
    }

    /// What the guard knows at a moment; whether it is news.
    pub fn look(&mut self, evidence: Evidence) -> bool {
        let Some(guard) = self.spec.as_ref().and_then(|spec| spec.analysis.guard.as_ref()) else {
            return false;
        };
        let look = Look::new(guard, &evidence, self.status.canary_weight);
        let news = self.looks.push(look);
        if news {
            self.evidence = Some(evidence);
        }
        news
    }

    fn decide(&mut self, time: Timestamp, code: &str, text: &str) {
        let known = self.decisions.iter().any(|seen| seen.time == time && seen.code == code);
        if known || time < self.begun || !is_moment(code) {
            return;
        }
        let place = self.decisions.partition_point(|seen| seen.time <= time);
        let text = line(text, SENTENCE_MAX);
        // The numbers of a wait change, the wait is the same.
        let before = place.checked_sub(1).and_then(|before| self.decisions.get_mut(before));
        if let Some(before) = before.filter(|before| before.code == code && is_wait(code)) {
            before.text = text;
            return;
        }
        self.decisions.insert(place, Seen { time, code: code.to_owned(), text });
        let surplus = self.decisions.len().saturating_sub(DECISIONS_MAX);
        self.decisions.drain(..surplus);
    }

    /// What was decided before anybody watched, as Events tell it.
    pub fn recall(&mut self, events: &[(Timestamp, String, String)]) {
        // Events have whole seconds.
        let begun = Timestamp::from_second(self.begun.as_second()).unwrap_or(self.begun);
        for (time, code, text) in events {
            let near =
                |seen: &Seen| seen.code == *code && seen.time.duration_since(*time).abs() <= SAME;
            if *time >= begun && !self.decisions.iter().any(near) {
                self.decide((*time).max(self.begun), code, text);
            }
        }
    }

    /// What the workloads run. What the primary ran before is kept when it is promoted over.
    pub fn run(&mut self, images: Images) {
        let known = &self.images;
        let promoted = images.old == images.new && images.new == known.new;
        let old = if promoted && !known.old.is_empty() { &known.old } else { &images.old };
        self.images = Images { old: old.clone(), ..images };
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Names of the target and of its primary.
    pub fn workloads(&self) -> Option<[String; 2]> {
        let target = &self.spec.as_ref()?.target;
        Some([target.name.clone(), target.primary_name()])
    }

    /// Whether a guard may be looking at it now.
    pub fn is_releasing(&self) -> bool {
        !at_rest(self.status.phase) || self.status.soak.is_some()
    }

    /// A release that is over needs no more room than its row.
    pub fn fold(&mut self) {
        self.looks = Series::default();
        self.weights = self.weights.split_off(self.weights.len().saturating_sub(1));
        self.decisions = self.decisions.split_off(self.decisions.len().saturating_sub(1));
    }
}

/// Whether a reason is one of waiting, which goes on with other numbers.
fn is_wait(code: &str) -> bool {
    match mark(code) {
        Mark::Hold | Mark::Gate | Mark::Start | Mark::Trouble => true,
        Mark::Up | Mark::Down | Mark::Good | Mark::End | Mark::Info => false,
    }
}

fn begun(status: &Status, created: Option<Timestamp>, now: Timestamp) -> Timestamp {
    status.analysis_start_time.or(status.phase_time).or(created).unwrap_or(now).min(now)
}

/// What the document says, fit for a screen.
fn read(object: &mut Value) -> (Status, Option<Spec>, Vec<String>) {
    if let Some(status) = object.get_mut("status") {
        legible(status);
    }
    let limits: Limits = document::limits(object, None);
    match parse::canary(object, &limits) {
        Ok(Canary { status, spec, .. }) => {
            let findings = spec.findings.iter().map(ToString::to_string).collect();
            (status, Some(spec), findings)
        }
        Err(failure) => {
            (*failure.status, None, failure.findings.iter().map(ToString::to_string).collect())
        }
    }
}
