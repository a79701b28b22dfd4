//! What is known of one canary, and which laws its changes may break.

mod present;
mod road;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::answers::{self, Answers};
use crate::external::{Asked, Question};
use crate::faults::By;
use crate::invariants::{Broken, Moment};
use crate::manifests;
use crate::other_owners::selected;
use crate::plan::{Quality, Shape};
use crate::random;
use crate::wide::Later;
use crate::world::{AUTOSCALERS, image_of};

type Ready = BTreeMap<String, (usize, Instant)>;
type Judged = (Option<String>, Vec<Broken>);

/// Others' interference is over after this long: the operator has had time to see it.
const AFTERMATH: Duration = Duration::from_secs(120);
/// What changed less than this ago need not be known.
const NEWS: Duration = Duration::from_secs(5);

/// What was taken up: an image, and the checksums of the configs with it.
type Version = (String, String);

/// One canary.
pub(crate) struct Oracle {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    exists: bool,
    suspended: bool,
    /// Since when a version that fails has traffic, and could be seen to.
    bad_since: Option<Instant>,
    /// Since when a version has more than its first share, and nobody can see what it does with it.
    unseen_since: Option<Instant>,
    valid: bool,
    /// The analysis was or is skipped since the last rest.
    skips: bool,
    phase: String,
    stated: i64,
    stated_since: Instant,
    iterations: i64,
    routed: i64,
    routed_since: Instant,
    /// The target's image by its generation.
    images: BTreeMap<i64, String>,
    image: String,
    image_since: Instant,
    replicas: i64,
    primary_image: String,
    later: Later,
    /// Selector of the apex.
    apex: String,
    applied: Option<Version>,
    rested: Option<Version>,
    rejected: BTreeSet<Version>,
    /// Last answer of each query.
    evidence: BTreeMap<String, (Instant, bool)>,
    hooks: BTreeMap<String, Instant>,
    answers: Answers,
    post_rollouts: u64,
    pub(crate) outcomes: u64,
    pub(crate) releases: u64,
    /// When another client last changed something of this canary.
    meddled: Option<Instant>,
    foe: Option<Instant>,
    /// Somebody took from the primary what only a release gives back.
    pub(crate) hurt: bool,
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn broken(law: &'static str, what: String) -> Broken {
    Broken { law, what }
}

fn is_rest(phase: &str) -> bool {
    matches!(phase, "Initialized" | "Succeeded" | "Failed")
}

impl Oracle {
    pub(crate) fn new(number: usize, shape: &Shape) -> Self {
        let now = Instant::now();
        Self {
            name: manifests::name(number),
            shape: shape.clone(),
            exists: false,
            suspended: false,
            bad_since: None,
            unseen_since: None,
            valid: true,
            skips: shape.skip_analysis,
            phase: String::new(),
            stated: 0,
            stated_since: now,
            iterations: 0,
            routed: 0,
            routed_since: now,
            images: BTreeMap::new(),
            image: String::new(),
            image_since: now,
            replicas: 0,
            primary_image: String::new(),
            later: Later::default(),
            apex: String::new(),
            applied: None,
            rested: None,
            rejected: BTreeSet::new(),
            evidence: BTreeMap::new(),
            hooks: BTreeMap::new(),
            answers: Answers::default(),
            post_rollouts: 0,
            outcomes: 0,
            releases: 0,
            meddled: None,
            foe: None,
            hurt: false,
        }
    }

    pub(crate) fn owns(&self, name: &str) -> bool {
        name == self.name || name.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-'))
    }

    /// What there is to tell one state of a canary from another.
    pub(crate) fn state(&self) -> u64 {
        let facts = format!(
            "{:?}{}{}{}{}{}{}{}{}{}",
            self.shape.provider,
            self.shape.strategy,
            self.phase,
            self.stated,
            self.iterations,
            self.routed,
            self.replicas,
            self.apex,
            self.image == self.primary_image,
            self.exists,
        );
        random::digest(0, facts.as_bytes())
    }

    fn touched(&mut self, moment: Moment) {
        match moment.by {
            By::Operator | By::Controllers => {}
            By::User => self.meddled = Some(moment.now),
            By::Foe => (self.meddled, self.foe) = (Some(moment.now), Some(moment.now)),
        }
    }

    fn lately(since: Option<Instant>, now: Instant, within: Duration) -> bool {
        since.is_some_and(|time| now.duration_since(time) < within)
    }

    fn empty(&self, service: &str, ready: &Ready, moment: Moment) -> bool {
        let name = format!("{}-{service}", self.name);
        ready.get(&name).is_none_or(|(count, since)| {
            *count == 0 && moment.clear && moment.now.duration_since(*since) > NEWS
        })
    }

    pub(crate) fn asked(&mut self, asked: &Asked, clear: bool) -> Vec<Broken> {
        let Question::Hook(kind, _) = &asked.what else {
            if let Question::Metric(query) = &asked.what {
                let passed = asked.passed || self.shape.extra.excuses(query, asked.lack);
                self.evidence.insert(question(query), (asked.time, passed));
            }
            return Vec::new();
        };
        let mut found = Vec::new();
        self.answers.said(kind, asked.passed);
        let before = self.hooks.insert(kind.clone(), asked.time);
        // With the evidence a share may rise every ten seconds, and every hook is asked before it does.
        let beat = if self.shape.extra.evidence { 10 } else { self.shape.interval_secs };
        let gap = Duration::from_secs(beat).mul_f64(0.4);
        let again = before.is_some_and(|before| asked.time.duration_since(before) < gap);
        let calm = clear && !Self::lately(self.meddled, asked.time, Duration::from_secs(30));
        if kind == "post-rollout" {
            self.post_rollouts += 1;
        } else if again && calm && kind != "event" {
            found.push(broken(
                "no hook is called twice for one decision",
                format!("{kind} of {} was asked twice within {gap:?}", self.name),
            ));
        }
        found
    }

    /// Once everything of a moment is known.
    pub(crate) fn told(&self) -> Option<Broken> {
        (self.post_rollouts > self.outcomes).then(|| {
            broken(
                "no hook is called twice for one decision",
                format!("{} outcomes, {} calls of post-rollout", self.outcomes, self.post_rollouts),
            )
        })
    }

    /// The Canary itself.
    pub(crate) fn canary(
        &mut self,
        old: Option<&Arc<Value>>,
        new: &Value,
        deleted: bool,
        moment: Moment,
        ready: &Ready,
    ) -> Judged {
        self.touched(moment);
        if deleted {
            let found = self.left(moment);
            self.exists = false;
            (self.phase, self.stated) = (String::new(), 0);
            (self.applied, self.rested) = (None, None);
            self.rejected.clear();
            self.answers.forget();
            return (Some(format!("{} is gone", self.name)), found);
        }
        self.exists = true;
        self.suspended = new.pointer("/spec/suspend") == Some(&json!(true));
        let analysis = &new["spec"]["analysis"];
        let secs =
            analysis["interval"].as_str().and_then(|text| text.strip_suffix('s')?.parse().ok());
        self.shape.interval_secs = secs.unwrap_or(self.shape.interval_secs);
        self.valid = !(analysis["iterations"].is_i64() && analysis["stepWeight"].is_i64());
        self.skips |= new.pointer("/spec/skipAnalysis") == Some(&json!(true));
        if old.is_some_and(|old| old.get("status") == new.get("status")) {
            let what = if new.pointer("/metadata/deletionTimestamp").is_some() {
                "leaves"
            } else {
                "spec"
            };
            return (Some(format!("{} {what}", self.name)), Vec::new());
        }
        let status = new.get("status").unwrap_or(&Value::Null);
        let phase = text(status, "/phase").to_owned();
        let stated = crate::routes::stated(status);
        let line = format!(
            "{} {phase} {stated} % it. {} failed {} ({}: {})",
            self.name,
            number(status, "/iterations"),
            number(status, "/failedChecks"),
            text(status, "/lastReason/code"),
            text(status, "/lastReason/message"),
        );
        let found = self.status(status, &phase, stated, moment, ready);
        (Some(line), found)
    }

    fn version(&self, status: &Value) -> Option<Version> {
        let generation = status.get("targetGeneration")?.as_i64()?;
        let configs = status.get("trackedConfigs").unwrap_or(&Value::Null).to_string();
        Some((self.images.get(&generation)?.clone(), configs))
    }

    fn status(
        &mut self,
        status: &Value,
        phase: &str,
        stated: i64,
        moment: Moment,
        ready: &Ready,
    ) -> Vec<Broken> {
        let mut found = Vec::new();
        let before = std::mem::replace(&mut self.phase, phase.to_owned());
        let entered = before != phase;
        let applied = self.version(status);
        if moment.by == By::User {
            // Flagger's: what it has rejected or is about to do is written down nowhere.
            self.rejected.clear();
            (self.applied, self.rested) = (None, None);
            return found;
        }
        let runs = [self.primary_image.as_str(), self.image.as_str()];
        let bake = if self.skips || !self.shape.guard { 0 } else { self.shape.extra.min_bake_secs };
        found.extend(self.later.status(status, entered.then_some(phase), runs, bake, moment.now));
        if entered && is_rest(&before) && phase == "Progressing" {
            self.releases += 1;
            if applied.is_some() && applied == self.rested {
                found.push(broken(
                    "law 3: no surprise release",
                    format!("a release of what is at rest: {applied:?}"),
                ));
            }
        }
        let rises = stated > self.stated;
        found.extend(self.goes_further([&before, phase], stated, applied.as_ref()));
        let change = answers::Change { before: &before, phase, rises, status };
        if !self.skips {
            found.extend(self.answers.change(&change, moment));
        }
        if rises {
            found.extend(self.raised(stated, applied.as_ref(), moment));
        }
        found.extend(self.contradicts(status));
        found.extend(unlawful(status));
        let known = |pointer: &str| !text(status, pointer).is_empty();
        if (entered || stated != self.stated)
            && !(known("/lastReason/code") && known("/lastReason/message"))
        {
            found.push(broken(
                "law 10: it says why",
                format!("{before} to {phase} without a reason"),
            ));
        }
        found.extend(self.blames_others(status, phase, applied.as_ref()));
        found.extend(too_many_checks(status));
        if entered && text(status, "/lastReason/code") == "GuardRolledBack" {
            found.extend(self.asked_first(moment));
        }
        if entered && phase == "Failed" {
            found.extend(self.failed(status, stated, applied.clone(), moment));
        }
        if entered && phase == "Succeeded" {
            self.outcomes += 1;
        }
        if entered && phase == "Finalising" && self.empty("primary", ready, moment) {
            found.push(broken(
                "law 5: no request lost",
                "a primary without endpoints gets everything".to_owned(),
            ));
        }
        if stated != self.stated {
            (self.stated, self.stated_since) = (stated, moment.now);
        }
        self.iterations = number(status, "/iterations");
        self.applied = applied;
        if is_rest(phase) {
            self.rested.clone_from(&self.applied);
            if entered {
                self.skips = self.shape.skip_analysis;
            }
        }
        found
    }

    /// A version is rejected.
    fn failed(
        &mut self,
        status: &Value,
        stated: i64,
        applied: Option<Version>,
        moment: Moment,
    ) -> Option<Broken> {
        self.outcomes += 1;
        let kept = text(status, "/lastReason/message").contains("The primary had taken it up");
        // What came too late to keep it off the primary says so, and the primary keeps it.
        let taken = kept && self.primary_image == self.image;
        if text(status, "/lastReason/code") != "TargetGone" && !taken {
            self.rejected.extend(applied);
        }
        let foe = Self::lately(self.foe, moment.now, AFTERMATH);
        (stated == 0 && self.routed > 0 && moment.clear && !foe).then(|| {
            broken(
                "law 1: lowering never waits",
                format!("the status says Failed while {} % are routed", self.routed),
            )
        })
    }

    /// The status gives the canary more.
    fn raised(&mut self, stated: i64, applied: Option<&Version>, moment: Moment) -> Vec<Broken> {
        let mut found = Vec::new();
        if let Some(version) = applied.filter(|version| self.rejected.contains(*version)) {
            found.push(broken(
                "a rejected version gets no traffic again",
                format!("{version:?} gets {stated} %"),
            ));
        }
        let other = applied.is_some_and(|(image, _)| *image != self.image);
        if other && moment.clear && moment.now.duration_since(self.image_since) > NEWS {
            found.push(broken(
                "law 4: what is analysed is what is promoted",
                format!("{applied:?} is raised while {} runs", self.image),
            ));
        }
        if self.stated == 0 || self.skips || !self.shape.provider.has_router() {
            return found;
        }
        let since = self.routed_since;
        let proof = |(time, passed): &(Instant, bool)| *passed && *time >= since;
        let proven = !self.evidence.is_empty() && self.evidence.values().all(proof);
        // Another client has given it more, which nobody may have heard of: what was measured, was measured at more.
        let known = moment.clear && moment.now.duration_since(since) > NEWS;
        let elsewhere = self.routed < self.stated || (self.routed > self.stated && known);
        if elsewhere || !proven {
            found.push(broken(
                "law 2: raises stand on evidence at the current share",
                format!(
                    "{} % to {stated} % with {} % routed, evidence {:?}",
                    self.stated, self.routed, self.evidence
                ),
            ));
        }
        found
    }

    /// The route is raised as soon as the status has said so, but the questions that allow it were answered long before.
    fn raised_late(&self, share: i64, moment: Moment) -> Option<Broken> {
        let answered =
            self.evidence.values().map(|(time, _)| time).chain(self.hooks.values()).max();
        let at_once = moment.now.duration_since(self.stated_since) < Duration::from_secs(1);
        let age = moment.now.duration_since(*answered?);
        let fresh = Duration::from_secs(self.shape.interval_secs.max(10));
        (at_once && self.routed > 0 && !self.skips && age > fresh).then(|| {
            broken(
                "law 2: raises stand on evidence that is fresh",
                format!("{} % to {share} % on answers that are {age:?} old", self.routed),
            )
        })
    }

    pub(crate) fn route(
        &mut self,
        route: &Value,
        deleted: bool,
        moment: Moment,
        ready: &Ready,
    ) -> Judged {
        self.touched(moment);
        let share = if deleted { 0 } else { crate::routes::routed(route, &self.name) };
        let mut found = Vec::new();
        if share > self.routed && moment.by == By::Operator {
            if share > self.stated {
                found.push(broken(
                    "law 2: raising exposure is fenced",
                    format!("the route is raised to {share} while the status says {}", self.stated),
                ));
            }
            if self.empty("canary", ready, moment) {
                found.push(broken(
                    "law 5: no request lost",
                    format!("{share} % go to a canary without endpoints"),
                ));
            }
            found.extend(self.raised_late(share, moment));
        }
        let line = format!("{} route: {share} % (status {})", self.name, self.stated);
        let changed = share != self.routed;
        if changed {
            (self.routed, self.routed_since) = (share, moment.now);
            self.later.routed(share, moment);
        }
        (changed.then_some(line), found)
    }

    pub(crate) fn deployment(
        &mut self,
        name: &str,
        old: Option<&Arc<Value>>,
        new: &Value,
        deleted: bool,
        moment: Moment,
    ) -> Judged {
        self.touched(moment);
        if name == self.name {
            return self.target(old, new, deleted, moment);
        }
        if deleted {
            self.hurt = true;
            self.primary_image.clear();
            return (Some(format!("{name} is gone")), Vec::new());
        }
        let image = image_of(new).to_owned();
        let mut found = Vec::new();
        if image == self.primary_image {
            return (None, found);
        }
        if moment.by == By::Operator && !self.primary_image.is_empty() {
            // Before it serves anything, the primary takes what the target has.
            let serves = !matches!(self.phase.as_str(), "" | "Initializing");
            let lenient = self.skips || self.shape.extra.is_lenient();
            let undoing = self.later.undoing;
            if serves && Quality::of(&image).is_rotten() && !lenient && !undoing {
                found.push(broken(
                    "a bad version is not promoted",
                    format!("{image} goes to the primary"),
                ));
            }
            let analysed = self.applied.as_ref().is_none_or(|(applied, _)| *applied == image);
            if !analysed && !undoing {
                found.push(broken(
                    "law 4: what is analysed is what is promoted",
                    format!("{image} goes to the primary, and {:?} was analysed", self.applied),
                ));
            }
        }
        found.extend(self.later.promoted(&image, &self.primary_image));
        self.primary_image.clone_from(&image);
        (Some(format!("{name} runs {image}")), found)
    }

    fn target(
        &mut self,
        old: Option<&Arc<Value>>,
        new: &Value,
        deleted: bool,
        moment: Moment,
    ) -> Judged {
        let mut found = Vec::new();
        let image = image_of(new);
        self.images.insert(number(new, "/metadata/generation"), image.to_owned());
        let mut line = None;
        if image != self.image || deleted {
            if moment.by == By::User {
                // Who brings a version once more, after another one, wants it to be tried again.
                self.rejected.retain(|(rejected, _)| rejected != image);
            }
            image.clone_into(&mut self.image);
            self.image_since = moment.now;
            line = Some(format!("{} is to run {image}", self.name));
        }
        let replicas = manifests::wanted(new);
        if replicas != self.replicas {
            line = Some(format!("{} is scaled to {replicas}", self.name));
        }
        if moment.by == By::Operator {
            let foe = Self::lately(self.foe, moment.now, AFTERMATH);
            if replicas == 0 && self.replicas > 0 && !foe {
                let selected = self.apex == self.name;
                if self.routed > 0 || self.stated > 0 || selected {
                    found.push(broken(
                        "law 5: no request lost",
                        format!("the target is scaled away with {} % routed, {} % stated, selected: {selected}", self.routed, self.stated),
                    ));
                }
            }
            if let Some(old) = old
                && manifests::without_ours(old) != manifests::without_ours(new)
            {
                found.push(broken(
                    "law 6: only our fields",
                    format!("{} was changed by the operator", self.name),
                ));
            }
        }
        self.replicas = replicas;
        (line, found)
    }

    pub(crate) fn service(
        &mut self,
        name: &str,
        new: &Value,
        deleted: bool,
        moment: Moment,
        ready: &Ready,
    ) -> Judged {
        self.touched(moment);
        if name != self.name {
            return (deleted.then(|| format!("service {name} is gone")), Vec::new());
        }
        let apex = if deleted {
            String::new()
        } else {
            selected(new, &self.name, &self.shape.extra.beside)
        };
        let mut found = Vec::new();
        if apex == self.apex {
            return (None, found);
        }
        let primary = format!("{}-primary", self.name);
        if moment.by == By::Operator && apex == primary && self.empty("primary", ready, moment) {
            found.push(broken(
                "law 5: no request lost",
                "the apex goes to a primary without endpoints".to_owned(),
            ));
        }
        let to_nobody = apex == self.name && self.replicas == 0 && !self.image.is_empty();
        if moment.by == By::Operator && moment.clear && to_nobody {
            found.push(broken(
                "law 5: no request lost",
                "the apex goes to a target that is scaled to zero".to_owned(),
            ));
        }
        let line = format!("{name} selects {apex:?}");
        self.apex = apex;
        (Some(line), found)
    }

    /// Autoscalers and configs: those of the user are the user's.
    pub(crate) fn others(
        &mut self,
        id: (&str, &str),
        name: &str,
        old: Option<&Arc<Value>>,
        new: &Value,
        moment: Moment,
    ) -> Judged {
        self.touched(moment);
        let own = name == self.name && moment.by == By::Operator && old.is_some();
        let changed = old.is_none_or(|old| {
            old.get("spec") != new.get("spec") || old.get("data") != new.get("data")
        });
        let scaler = id == AUTOSCALERS;
        if own && changed {
            let what = format!("{} {name} was changed by the operator", id.1);
            return (None, vec![broken("law 6: only our fields", what)]);
        }
        let line = changed.then(|| format!("{} {name}", if scaler { "autoscaler" } else { id.1 }));
        (line, Vec::new())
    }

    /// Long after the last fault.
    pub(crate) fn end(&self, target: Option<String>, primary: Option<String>) -> Vec<Broken> {
        if !self.exists {
            return Vec::new();
        }
        let mut found = Vec::new();
        let law = "law 9: everything ends";
        // A target that never gets ready takes nobody's place: it waits for whoever can put it right, and says so.
        let lame = target
            .as_deref()
            .is_some_and(|image| matches!(Quality::of(image), Quality::Never | Quality::Crash));
        let waits = matches!(self.phase.as_str(), "Terminating" | "Initializing");
        let rests = is_rest(&self.phase) || (lame && waits);
        if !rests || self.stated > 0 || self.routed > 0 {
            let (name, phase, stated, routed) = (&self.name, &self.phase, self.stated, self.routed);
            found.push(broken(
                law,
                format!("{name} ends as {phase}, {stated} % stated, {routed} % routed"),
            ));
        }
        let (target, primary) = (target.unwrap_or_default(), primary.unwrap_or_default());
        if self.phase == "Succeeded" && target != primary {
            found.push(broken(law, format!("{target} succeeded, and the primary runs {primary}")));
        }
        // After a rollback the user may have gone back to what the primary runs: then it is another version that failed.
        let rejected = self.applied.as_ref().is_some_and(|applied| self.rejected.contains(applied));
        let twin = primary == target && !self.shape.configs && rejected;
        if self.phase == "Failed" && twin && !self.skips && !self.hurt {
            found.push(broken(law, format!("{target} failed, and the primary runs it")));
        }
        found
    }
}

/// The same check has another text while the canary gets copies: it counts those as well, under names of their own.
fn question(query: &str) -> String {
    let mut text = query.to_owned();
    while let Some(at) = text.find("-mirrored_mirror") {
        let start = text[..at].rfind('|').unwrap_or(at);
        let end = text[at..].find("@kubernetescrd").map_or(text.len(), |end| at + end);
        text.replace_range(start..(end + "@kubernetescrd".len()).min(text.len()), "");
    }
    text
}

/// The operator refused a plan of its own.
fn unlawful(status: &Value) -> Option<Broken> {
    let refused = text(status, "/lastReason/code") == "LintBroken";
    refused.then(|| broken("plans are lawful", text(status, "/lastReason/message").to_owned()))
}

/// The ledger that the status keeps is bounded.
fn too_many_checks(status: &Value) -> Option<Broken> {
    let checks = status["checks"].as_array().filter(|checks| checks.len() > 16)?;
    Some(broken("the ledger is bounded", format!("{} checks", checks.len())))
}
