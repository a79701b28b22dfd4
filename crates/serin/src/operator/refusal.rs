//! Writes that the API server refuses, and objects that cannot be written as they are: kept until a tick has carried
//! everything out, so that the status, an Event and an alert say what stands in the way and what to do.

use serin_core::observed::Refusal;
use serin_core::plan::Action;
use serin_core::words::line;
use serin_providers::RenderError;

use crate::http_client::chain;
use crate::operator::error::ApplyError;

/// A failure that may pass by itself (a conflict, a server that is busy) is told from so many in a row on.
const PATIENCE: u32 = 4;
/// Admission webhooks may say as much as they like.
const MESSAGE_MAX: usize = 600;

/// The write of one canary that is refused, if there is one.
#[derive(Default)]
pub(crate) struct Refused(Option<Box<Known>>);

struct Known {
    refusal: Refusal,
    /// Failures in a row.
    times: u32,
    /// Trying again alone does not help.
    lasting: bool,
}

impl Refused {
    /// An action could not be carried out.
    pub(crate) fn note(&mut self, action: &Action, error: &ApplyError) {
        let (object, message, lasting) = said(error);
        let refusal = Refusal { action: action.clone(), object, message };
        let times = self.0.as_ref().map_or(0, |before| before.times).saturating_add(1);
        self.0 = Some(Box::new(Known { refusal, times, lasting }));
    }

    /// Everything was carried out.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// What a person has to know of.
    pub(crate) fn told(&self) -> Option<Refusal> {
        let refused = self.0.as_ref().filter(|one| one.lasting || one.times >= PATIENCE)?;
        Some(refused.refusal.clone())
    }
}

/// The object, why it cannot be written with what to do, and whether that lasts.
fn said(error: &ApplyError) -> (String, String, bool) {
    let clean = |text: &str| line(text, MESSAGE_MAX);
    match error {
        ApplyError::Write { target, source } => {
            let status = api_answer(source);
            let words = status.map_or_else(
                || chain(&**source),
                |status| format!("{} ({})", status.message, status.code),
            );
            let code = status.map_or(0, |status| status.code);
            let words = clean(&words);
            let message = match way_out(code, &words) {
                Some(way_out) => format!("{words}. {way_out}"),
                None => words,
            };
            (target.to_string(), message, lasts(code))
        }
        ApplyError::Render { action: _, source } => {
            let object = match &**source {
                RenderError::Missing(object)
                | RenderError::ConfigsMoved(object)
                | RenderError::Edited(object)
                | RenderError::Unreadable { object, .. }
                | RenderError::NoSelectorLabel { object, .. }
                | RenderError::NotOurs { object, .. } => object.to_string(),
                RenderError::TargetMoved { .. }
                | RenderError::NotKept { .. }
                | RenderError::Config(_)
                | RenderError::Router(_) => "an object".to_owned(),
            };
            (object, clean(&source.to_string()), stays(source))
        }
        ApplyError::Encode { target, source } => (target.to_string(), clean(&chain(source)), true),
    }
}

fn api_answer(error: &kube::Error) -> Option<&kube::core::Status> {
    if let kube::Error::Api(status) = error { Some(status) } else { None }
}

/// A request that was understood and refused is refused again. Conflicts, absences and busy servers pass.
fn lasts(code: u16) -> bool {
    (400..500).contains(&code) && ![404, 408, 409, 429].contains(&code)
}

fn stays(error: &RenderError) -> bool {
    match error {
        RenderError::NoSelectorLabel { .. }
        | RenderError::NotOurs { .. }
        | RenderError::NotKept { .. }
        | RenderError::Edited(_)
        | RenderError::Router(_) => true,
        // The next look has what is there then.
        RenderError::Missing(_)
        | RenderError::ConfigsMoved(_)
        | RenderError::Unreadable { .. }
        | RenderError::TargetMoved { .. }
        | RenderError::Config(_) => false,
    }
}

/// What to do about an answer, where that is known.
fn way_out(code: u16, words: &str) -> Option<&'static str> {
    let says = |part: &str| words.contains(part);
    match code {
        403 if says("exceeded quota") => Some("Raise the ResourceQuota, or free what it counts."),
        403 if says("cannot set an ownerRef") || says("cannot set blockOwnerDeletion") => {
            Some("Grant the operator the rights of the manifests of this version.")
        }
        403 if says("cannot ") && says("User ") => {
            Some("Grant the operator the rights of the manifests of this version.")
        }
        _ if says("denied") => {
            Some("Change the admission policy or webhook, or what it objects to.")
        }
        403 if says("PodSecurity") || says("violates") => {
            Some("Change the target's pods so that the namespace admits them.")
        }
        422 if says("immutable") => {
            Some("This field cannot be changed; the object would have to be made anew.")
        }
        413 => Some("The object is too large for the API server."),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serin_providers::change::SERVICE;

    use super::*;

    fn answer(code: u16, message: &str) -> ApplyError {
        let status = serde_json::json!({"status": "Failure", "code": code, "message": message, "reason": ""});
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        let target = SERVICE.named("develop", "shop-primary");
        ApplyError::Write { target, source: Box::new(kube::Error::Api(Box::new(status))) }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let answers = [
            (
                403,
                "services \"shop-primary\" is forbidden: exceeded quota: q, requested: services=1",
            ),
            (
                403,
                "services is forbidden: User \"system:serviceaccount:serin:serin\" cannot patch resource",
            ),
            (
                422,
                "deployments \"x\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: no\u{1b}[31m",
            ),
            (422, "spec.selector: Invalid value: field is immutable"),
            (500, "etcdserver: leader changed"),
        ];
        let told: Vec<String> = answers
            .iter()
            .map(|(code, message)| {
                let (object, message, lasting) = said(&answer(*code, message));
                format!("{object}: {message} [{}]", if lasting { "told at once" } else { "passes" })
            })
            .collect();
        expect![[r#"
            Service develop/shop-primary: services "shop-primary" is forbidden: exceeded quota: q, requested: services=1 (403). Raise the ResourceQuota, or free what it counts. [told at once]
            Service develop/shop-primary: services is forbidden: User "system:serviceaccount:serin:serin" cannot patch resource (403). Grant the operator the rights of the manifests of this version. [told at once]
            Service develop/shop-primary: deployments "x" is forbidden: ValidatingAdmissionPolicy 'p' denied request: no [31m (422). Change the admission policy or webhook, or what it objects to. [told at once]
            Service develop/shop-primary: spec.selector: Invalid value: field is immutable (422). This field cannot be changed; the object would have to be made anew. [told at once]
            Service develop/shop-primary: etcdserver: leader changed (500) [passes]"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn what_may_pass_is_told_when_it_does_not() {
        let mut refused = Refused::default();
        let action = Action::Services;
        for _ in 1..PATIENCE {
            refused.note(&action, &answer(409, "the object has been modified"));
            assert_eq!(refused.told(), None);
        }
        refused.note(&action, &answer(409, "the object has been modified"));
        assert!(refused.told().is_some());
        refused.clear();
        assert_eq!(refused.told(), None);
        refused.note(&action, &answer(403, "exceeded quota"));
        assert!(refused.told().is_some());
    }
}
