//! What is wrong with the queries of a Canary before one of them is asked: words that templates do not have, variables
//! and objects that are missing, providers that are of no use.

use serde_json::Value;
use serin_core::model::{Canary, Finding, FindingCode, Metric, MetricSource, MetricTemplate};
use serin_core::observed::Seen;
use serin_core::parse;

use super::{MetricError, Resolved, question};
use crate::change::{Kind, ObjectRef, Objects, SECRET};
use crate::settings::Settings;

pub const METRIC_TEMPLATE: Kind = Kind {
    group: "flagger.app",
    version: "v1beta1",
    kind: "MetricTemplate",
    plural: "metrictemplates",
};

/// More than anyone reads at once; a list of metrics has a bound of its own.
const FINDINGS_MAX: usize = 20;

/// What is said of an object that nobody has.
const MISSING: &str = "does not exist";

/// All of them, in the order of the metrics. `objects` holds the templates and their Secrets.
pub fn findings(canary: &Canary, objects: &Objects, settings: &Settings) -> Vec<Finding> {
    findings_in(canary, objects, settings, MISSING)
}

/// The same for objects from elsewhere; `missing` says of one that it is not there.
pub fn findings_in(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
    missing: &str,
) -> Vec<Finding> {
    if canary.spec.skip_analysis {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (place, metric) in canary.spec.analysis.metrics.iter().enumerate() {
        let field = format!("spec.analysis.metrics[{place}]");
        for source in &metric.sources {
            let sight = Sight { objects, missing, at: format!("{field}.templateRef") };
            found.extend(of_source(canary, metric, source, &field, &sight, settings));
        }
    }
    found.truncate(FINDINGS_MAX);
    found
}

/// Where objects are looked for, and by which field they are named.
struct Sight<'a> {
    objects: &'a Objects,
    missing: &'a str,
    at: String,
}

fn of_source(
    canary: &Canary,
    metric: &Metric,
    source: &MetricSource,
    field: &str,
    sight: &Sight<'_>,
    settings: &Settings,
) -> Vec<Finding> {
    let (namespace, name) = match source {
        MetricSource::Builtin(_) => return Vec::new(),
        MetricSource::Query(_) => {
            let made = question(canary, metric, source, None, settings);
            let made = made.and_then(|question| question.check());
            return made.err().map(|error| of_query(error, field, "")).into_iter().collect();
        }
        MetricSource::Template { namespace, name, variables: _ } => (namespace, name),
    };
    let object = METRIC_TEMPLATE.named(namespace, name);
    let template = match sight.of_use(&object) {
        Ok(template) => template,
        Err(finding) => return vec![finding],
    };
    let template = match parse::metric_template(template) {
        Ok(template) => template,
        Err(flaws) => {
            let inside = |flaw: &Finding| of_no_use(&sight.at, &object, &flaw.to_string());
            return flaws.iter().map(inside).collect();
        }
    };
    let secret = match secret(&template, &object, sight) {
        Ok(secret) => secret,
        Err(finding) => return vec![finding],
    };
    let resolved = Resolved { template: &template, secret };
    let made = question(canary, metric, source, Some(resolved), settings);
    let made = made.and_then(|question| question.check());
    let of = format!(" of {object}");
    made.err().map(|error| of_query(error, field, &of)).into_iter().collect()
}

/// The Secret that the template names, which must be there.
fn secret<'a>(
    template: &MetricTemplate,
    object: &ObjectRef,
    sight: &Sight<'a>,
) -> Result<Option<&'a Value>, Finding> {
    let Some(name) = &template.provider.secret else { return Ok(None) };
    let secret = SECRET.named(&object.namespace, name);
    match sight.of_use(&secret) {
        Ok(found) => Ok(Some(found)),
        Err(finding) => {
            let message = format!("{object} names a Secret: {}", finding.message);
            Err(Finding { message, ..finding })
        }
    }
}

impl<'a> Sight<'a> {
    fn of_use(&self, object: &ObjectRef) -> Result<&'a Value, Finding> {
        match self.objects.get(object) {
            Seen::Present(found) => Ok(found),
            Seen::Absent => {
                let message = format!("{object} {}, so the check cannot be made", self.missing);
                let finding = Finding::warning(FindingCode::NoSuchObject, &self.at, message);
                Err(finding.way_out("create it, or correct its name"))
            }
            Seen::Unreadable(why) => {
                Err(of_no_use(&self.at, object, &format!("cannot be read: {why}")))
            }
        }
    }
}

fn of_no_use(at: &str, object: &ObjectRef, why: &str) -> Finding {
    Finding::warning(FindingCode::ObjectUnusable, at, format!("{object}: {why}"))
}

/// A query that cannot be made, and where to put it right.
fn of_query(error: MetricError, field: &str, of: &str) -> Finding {
    let (part, code) = match &error {
        MetricError::Query(super::template::TemplateError::MissingVariable(_)) => {
            ("templateVariables", FindingCode::QueryInvalid)
        }
        MetricError::Query(_) if of.is_empty() => ("query", FindingCode::QueryInvalid),
        MetricError::Query(_) | MetricError::Text(_) => ("templateRef", FindingCode::QueryInvalid),
        MetricError::NoTemplate(_)
        | MetricError::Address(_)
        | MetricError::Secret(_)
        | MetricError::Header(_)
        | MetricError::NotBuiltIn(_)
        | MetricError::Answer(_) => {
            (if of.is_empty() { "query" } else { "templateRef" }, FindingCode::ObjectUnusable)
        }
    };
    let message = format!(
        "{error}{}",
        if of.is_empty() { String::new() } else { format!(" ({})", of.trim()) }
    );
    Finding::warning(code, format!("{field}.{part}"), message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::testing::{canary, yaml};

    const TEMPLATE: &str = "
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {name: errors, namespace: develop}
spec: {provider: {type: prometheus, address: 'http://p:9090'}, query: 'sum(x{service=\"{{ service }}\"})'}
";

    /// What is found of one metric, with a template changed by `patch` and with a Secret or without.
    fn check(metric: &str, patch: Option<&str>, secret: Option<&str>, expected: Expect) {
        let canary = canary(&format!(
            "analysis: {{metrics: [{{name: m, interval: 1m, thresholdRange: {{max: 1}}, {metric}}}]}}"
        ));
        let mut objects = Objects::new();
        let template = patch.map(|patch| {
            let mut template = yaml(TEMPLATE);
            crate::testing::merge(&mut template["spec"], &yaml(patch));
            Arc::new(template)
        });
        let seen = |value: Option<Arc<Value>>| value.map_or(Seen::Absent, Seen::Present);
        objects.put(METRIC_TEMPLATE.named("develop", "errors"), seen(template));
        objects.put(SECRET.named("develop", "keys"), seen(secret.map(|text| Arc::new(yaml(text)))));
        let found = findings(&canary, &objects, &Settings::default());
        let lines: Vec<String> =
            found.iter().map(|f| format!("{} {} {f}", f.severity.name(), f.code.name())).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_query_of_the_canary() {
        check("query: 'up{a=\"{{ target }}\"}'", None, None, expect![""]);
        check(
            "query: 'vector({{ workload }})'",
            None,
            None,
            expect![
                "warning QueryInvalid spec.analysis.metrics[0].query: the query cannot be made: {{ workload }} is not supported: use name, namespace, target, service, ingress, route, interval, variables.KEY, printf, print, index and $variables"
            ],
        );
        check(
            "query: 'vector({{ variables.level }})'",
            None,
            None,
            expect![
                "warning QueryInvalid spec.analysis.metrics[0].templateVariables: the query cannot be made: templateVariables has no level"
            ],
        );
        check(
            "query: 'vector({{ '",
            None,
            None,
            expect![
                "warning QueryInvalid spec.analysis.metrics[0].query: the query cannot be made: an action is not closed: {{ "
            ],
        );
    }

    #[test]
    fn a_template_and_what_it_needs() {
        let of = "templateRef: {name: errors}";
        check(of, Some("{}"), None, expect![""]);
        check(
            of,
            None,
            None,
            expect![
                "warning NoSuchObject spec.analysis.metrics[0].templateRef: MetricTemplate develop/errors does not exist, so the check cannot be made; create it, or correct its name"
            ],
        );
        check(
            of,
            Some("{provider: {address: 'ftp://p'}, query: ''}"),
            None,
            expect![[r#"
            warning ObjectUnusable spec.analysis.metrics[0].templateRef: MetricTemplate develop/errors: spec.provider.address: "ftp://p" is no http or https URL
            warning ObjectUnusable spec.analysis.metrics[0].templateRef: MetricTemplate develop/errors: spec.query: is required"#]],
        );
        check(
            of,
            Some("{query: 'x{{ variables.a }}'}"),
            None,
            expect![
                "warning QueryInvalid spec.analysis.metrics[0].templateVariables: the query cannot be made: templateVariables has no a (of MetricTemplate develop/errors)"
            ],
        );
        check(
            of,
            Some("{query: 'x{{ .Namespace }}'}"),
            None,
            expect![
                "warning QueryInvalid spec.analysis.metrics[0].templateRef: the query cannot be made: {{ .Namespace }} is not supported: use name, namespace, target, service, ingress, route, interval, variables.KEY, printf, print, index and $variables (of MetricTemplate develop/errors)"
            ],
        );
        let keys = Some("{provider: {secretRef: {name: keys}}}");
        check(
            of,
            keys,
            None,
            expect![
                "warning NoSuchObject spec.analysis.metrics[0].templateRef: MetricTemplate develop/errors names a Secret: Secret develop/keys does not exist, so the check cannot be made; create it, or correct its name"
            ],
        );
        check(
            of,
            keys,
            Some("{data: {other: YQ==}}"),
            expect![
                "warning ObjectUnusable spec.analysis.metrics[0].templateRef: the provider's Secret is of no use: it needs token, or username and password (of MetricTemplate develop/errors)"
            ],
        );
        check(of, keys, Some("{data: {token: YQ==}}"), expect![""]);
    }

    #[test]
    fn a_backend_and_what_it_needs() {
        let of = "templateRef: {name: errors}";
        check(
            of,
            Some("{provider: {type: splunk}}"),
            None,
            expect![
                "warning ObjectUnusable spec.analysis.metrics[0].templateRef: MetricTemplate develop/errors: spec.provider.type: splunk is not supported yet; use prometheus, datadog, cloudwatch, newrelic, dynatrace or keptn"
            ],
        );
        check(
            of,
            Some("{provider: {type: datadog}}"),
            None,
            expect![
                "warning ObjectUnusable spec.analysis.metrics[0].templateRef: MetricTemplate develop/errors: spec.provider.secretRef: is required: datadog needs a Secret with datadog_api_key and datadog_application_key"
            ],
        );
        check(
            of,
            Some("{provider: {type: cloudwatch, address: null, region: eu-west-1}, query: up}"),
            None,
            expect![
                "warning ObjectUnusable spec.analysis.metrics[0].templateRef: the provider's Secret is of no use: the controller has no identity of its own, so it needs one with aws_access_key_id and aws_secret_access_key (of MetricTemplate develop/errors)"
            ],
        );
        check(
            of,
            Some(
                "{provider: {type: cloudwatch, address: null, region: eu-west-1, secretRef: {name: keys}}, query: up}",
            ),
            Some("{data: {aws_access_key_id: YQ==, aws_secret_access_key: YQ==}}"),
            expect![
                "warning QueryInvalid spec.analysis.metrics[0].templateRef: the query is of no use: it is no JSON list of MetricDataQuery: expected value at line 1 column 1 (of MetricTemplate develop/errors)"
            ],
        );
    }

    #[test]
    fn nothing_is_asked_where_there_is_no_analysis() {
        let canary = canary(
            "{skipAnalysis: true, analysis: {metrics: [{name: m, interval: 1m, thresholdRange: {max: 1}, query: '{{ x }}'}]}}",
        );
        assert_eq!(findings(&canary, &Objects::new(), &Settings::default()), []);
    }
}
