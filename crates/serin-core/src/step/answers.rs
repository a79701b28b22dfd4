//! Hooks and metrics of the spec, and what was answered, by the world outside or by a person in its place.

use super::Draft;
use crate::model::HookKind;
use crate::observed::{Answer, Check};

impl<'a> Draft<'a> {
    pub(super) fn hooks(&self, kind: HookKind) -> impl Iterator<Item = Check> + 'a {
        let hooks = &self.spec.analysis.webhooks;
        hooks
            .iter()
            .enumerate()
            .filter(move |(_, hook)| hook.kind == kind)
            .map(|(index, _)| Check::Hook(index))
    }

    pub(super) fn has_hooks(&self, kind: HookKind) -> bool {
        self.hooks(kind).next().is_some()
    }

    /// The checks that have no answer yet.
    pub(super) fn unanswered(&self, checks: &[Check]) -> Vec<Check> {
        let open = |check: &Check| {
            !self.seen.answers.contains_key(check) && self.decided(*check).is_none()
        };
        checks.iter().copied().filter(open).collect()
    }

    /// What a person decided in the place of a hook that confirms.
    fn decided(&self, check: Check) -> Option<bool> {
        let Check::Hook(index) = check else { return None };
        let hook = self.spec.analysis.webhooks.get(index).filter(|hook| hook.kind.confirms())?;
        super::control::decided(self, &hook.name)
    }

    pub(super) fn answer(&self, check: Check) -> Option<&'a Answer> {
        self.seen.answers.get(&check)
    }

    pub(super) fn hook_name(&self, check: Check) -> &'a str {
        match check {
            Check::Hook(index) => {
                self.spec.analysis.webhooks.get(index).map_or("", |hook| hook.name.as_str())
            }
            Check::Metric(..) => "",
        }
    }

    pub(super) fn hook_muted(&self, check: Check) -> bool {
        match check {
            Check::Hook(index) => {
                self.spec.analysis.webhooks.get(index).is_some_and(|hook| hook.mute_alert)
            }
            Check::Metric(..) => false,
        }
    }

    /// The first of these gates that does not say yes.
    pub(super) fn refused(&self, gates: &[Check]) -> Option<Check> {
        let refuses = |gate: &Check| match self.decided(*gate) {
            Some(approved) => !approved,
            None => self.answer(*gate) != Some(&Answer::Approved),
        };
        gates.iter().copied().find(refuses)
    }

    /// `post-rollout` hooks are called once the plan is carried out; their answers change nothing.
    pub(super) fn call_post_rollout(&mut self) {
        let hooks = self.spec.analysis.webhooks.iter().enumerate();
        self.calls.extend(
            hooks.filter(|(_, hook)| hook.kind == HookKind::PostRollout).map(|(index, _)| index),
        );
    }
}
