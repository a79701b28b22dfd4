//! What is wrong with the alerts of a Canary before one of them is sent: objects that are missing or of no use.

use serde_json::Value;
use serin_core::model::{AlertProvider, AlertRef, Canary, Finding, FindingCode};
use serin_core::observed::Seen;
use serin_core::parse;

use super::{Message, NotifyError, call};
use crate::change::{Kind, ObjectRef, Objects, SECRET};

pub const ALERT_PROVIDER: Kind = Kind {
    group: "flagger.app",
    version: "v1beta1",
    kind: "AlertProvider",
    plural: "alertproviders",
};

/// What is said of an object that nobody has.
const MISSING: &str = "does not exist";

/// All of them, in the order of the alerts. `objects` holds the AlertProviders and their Secrets; of what cannot be read
/// nothing is said, since it is not known.
pub fn findings(canary: &Canary, objects: &Objects) -> Vec<Finding> {
    findings_in(canary, objects, MISSING)
}

/// The same for objects from elsewhere; `missing` says of one that it is not there.
pub fn findings_in(canary: &Canary, objects: &Objects, missing: &str) -> Vec<Finding> {
    let alerts = canary.spec.analysis.alerts.iter().enumerate();
    alerts
        .flat_map(|(place, alert)| {
            let at = format!("spec.analysis.alerts[{place}].providerRef");
            of_alert(alert, &at, objects, missing)
        })
        .collect()
}

fn of_alert(alert: &AlertRef, at: &str, objects: &Objects, missing: &str) -> Vec<Finding> {
    let object = ALERT_PROVIDER.named(&alert.provider_namespace, &alert.provider_name);
    let provider = match objects.get(&object) {
        Seen::Present(provider) => provider,
        Seen::Absent => return vec![absent(at, &object, "", missing)],
        Seen::Unreadable(_) => return Vec::new(),
    };
    let of_no_use = |why: &str| {
        let message = format!("{object}: {why}, so these alerts are not sent");
        Finding::warning(FindingCode::ObjectUnusable, at, message)
    };
    let provider = match parse::alert_provider(provider) {
        Ok(provider) => provider,
        Err(flaws) => return flaws.iter().map(|flaw| of_no_use(&flaw.to_string())).collect(),
    };
    let secret = match secret(&provider, &object, objects) {
        Ok(secret) => secret,
        Err(Some(name)) => {
            let named = format!("{object} names a Secret: ");
            return vec![absent(at, &name, &named, missing)];
        }
        Err(None) => return Vec::new(),
    };
    // Whether a call can be made at all; what it says does not matter.
    let message = Message {
        subject: String::new(),
        text: String::new(),
        severity: alert.severity,
        fields: Vec::new(),
    };
    match call(&provider, secret, &message) {
        Ok(_) => Vec::new(),
        Err(NotifyError::Provider { provider: _, why }) => vec![of_no_use(&why)],
        Err(error @ NotifyError::Refused(_)) => vec![of_no_use(&error.to_string())],
    }
}

/// The Secret that the provider names. Not there: which; not readable: nothing.
fn secret<'a>(
    provider: &AlertProvider,
    object: &ObjectRef,
    objects: &'a Objects,
) -> Result<Option<&'a Value>, Option<ObjectRef>> {
    let Some(name) = &provider.secret else { return Ok(None) };
    let secret = SECRET.named(&object.namespace, name);
    match objects.get(&secret) {
        Seen::Present(found) => Ok(Some(found)),
        Seen::Absent => Err(Some(secret)),
        Seen::Unreadable(_) => Err(None),
    }
}

fn absent(at: &str, object: &ObjectRef, of: &str, missing: &str) -> Finding {
    let message = format!("{of}{object} {missing}, so these alerts are not sent");
    let finding = Finding::warning(FindingCode::NoSuchObject, at, message);
    finding.way_out("create it, or correct its name")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::testing::{canary, yaml};

    fn check(provider: Option<&str>, secret: Option<&str>, expected: Expect) {
        let canary = canary(
            "analysis: {alerts: [{name: on-call, severity: error, providerRef: {name: chat}}]}",
        );
        let mut objects = Objects::new();
        let seen = |text: Option<String>| {
            text.map_or(Seen::Absent, |text| Seen::Present(Arc::new(yaml(&text))))
        };
        let provider = provider.map(|spec| {
            format!("{{apiVersion: flagger.app/v1beta1, kind: AlertProvider, metadata: {{name: chat, namespace: develop}}, spec: {spec}}}")
        });
        objects.put(ALERT_PROVIDER.named("develop", "chat"), seen(provider));
        objects.put(SECRET.named("develop", "url"), seen(secret.map(str::to_owned)));
        let found = findings(&canary, &objects);
        let lines: Vec<String> =
            found.iter().map(|f| format!("{} {} {f}", f.severity.name(), f.code.name())).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn whom_nobody_could_tell_is_named() {
        check(
            None,
            None,
            expect![
                "warning NoSuchObject spec.analysis.alerts[0].providerRef: AlertProvider develop/chat does not exist, so these alerts are not sent; create it, or correct its name"
            ],
        );
        check(Some("{type: slack, address: 'http://chat/hook'}"), None, expect![""]);
        let named = Some("{type: slack, secretRef: {name: url}}");
        check(
            named,
            None,
            expect![
                "warning NoSuchObject spec.analysis.alerts[0].providerRef: AlertProvider develop/chat names a Secret: Secret develop/url does not exist, so these alerts are not sent; create it, or correct its name"
            ],
        );
        check(named, Some("{data: {address: aHR0cDovL2NoYXQ=}}"), expect![""]);
        check(
            named,
            Some("{data: {other: YQ==}}"),
            expect![
                "warning ObjectUnusable spec.analysis.alerts[0].providerRef: AlertProvider develop/chat: Secret url has no key address, so these alerts are not sent"
            ],
        );
        check(
            Some("{type: slack}"),
            None,
            expect![
                "warning ObjectUnusable spec.analysis.alerts[0].providerRef: AlertProvider develop/chat: spec.address: is required unless a secretRef has it, so these alerts are not sent"
            ],
        );
    }
}
