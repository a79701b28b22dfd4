//! Metrics backends as data: what each is called, where it stands, what opens it and how far its queries look back.

use std::fmt;

/// One kind of backend (`spec.provider.type` of a MetricTemplate). The parser, the checks before a release, the commands and
/// the reference say of it what stands here.
#[derive(PartialEq, Eq)]
pub struct MetricKind {
    pub name: &'static str,
    /// What its makers call it.
    pub product: &'static str,
    pub home: Home,
    pub keys: Keys,
    pub lookback: Lookback,
    /// `spec.provider.region` must be set.
    pub needs_region: bool,
    /// What `spec.query` holds, for the reference.
    pub query: &'static str,
    /// Which number of an answer is judged, for the reference.
    pub takes: &'static str,
    /// What else there is to say, with examples.
    pub docs: &'static str,
}

/// Where a template without an `address` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The server of the canary's builtin queries.
    OfCanary,
    /// The makers' own, always the same; `REGION` stands for the template's region.
    Public(&'static str),
    /// Nobody can say: the template must.
    Named,
    /// The cluster: it is asked through the API server.
    InCluster,
}

/// Keys of the Secret that a template names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    pub secret: Need,
    /// One of these sets has to be there, whole; the first one that is counts.
    pub one_of: &'static [&'static [&'static str]],
    /// What may stand beside a set.
    pub beside: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without a Secret everyone is let in.
    Optional,
    /// Without a Secret the controller's own identity is used.
    Ambient,
    Required,
}

/// How far back a query looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// It is PromQL and says so itself.
    Promql,
    /// The object that is read says so.
    InObject,
    /// So many times the metric's `interval`, up to now.
    Intervals(u8),
}

pub const PROMETHEUS: MetricKind = MetricKind {
    name: "prometheus",
    product: "Prometheus",
    home: Home::OfCanary,
    keys: Keys {
        secret: Need::Optional,
        one_of: &[&["token"], &["username", "password"]],
        beside: &[],
    },
    lookback: Lookback::Promql,
    needs_region: false,
    query: "PromQL that comes down to one number",
    takes: "the number; several series are refused",
    docs: include_str!("metric_kind/prometheus.md"),
};

pub const DATADOG: MetricKind = MetricKind {
    name: "datadog",
    product: "Datadog",
    home: Home::Public("https://api.datadoghq.com"),
    keys: Keys {
        secret: Need::Required,
        one_of: &[&["datadog_api_key", "datadog_application_key"]],
        beside: &[],
    },
    lookback: Lookback::Intervals(10),
    needs_region: false,
    query: "a metrics query with one series",
    takes: "the newest bucket that is over and has a value; several series are refused",
    docs: include_str!("metric_kind/datadog.md"),
};

pub const CLOUDWATCH: MetricKind = MetricKind {
    name: "cloudwatch",
    product: "Amazon CloudWatch",
    home: Home::Public("https://monitoring.REGION.amazonaws.com"),
    keys: Keys {
        secret: Need::Ambient,
        one_of: &[&["aws_access_key_id", "aws_secret_access_key"]],
        beside: &["aws_session_token"],
    },
    lookback: Lookback::Intervals(10),
    needs_region: true,
    query: "a JSON list of `MetricDataQuery`",
    takes: "the newest period that is over, of the first query that returns data",
    docs: include_str!("metric_kind/cloudwatch.md"),
};

pub const NEWRELIC: MetricKind = MetricKind {
    name: "newrelic",
    product: "New Relic",
    home: Home::Public("https://insights-api.newrelic.com"),
    keys: Keys {
        secret: Need::Required,
        one_of: &[&["newrelic_account_id", "newrelic_query_key"]],
        beside: &[],
    },
    lookback: Lookback::Intervals(1),
    needs_region: false,
    query: "NRQL with one value, named `result`",
    takes: "the value",
    docs: include_str!("metric_kind/newrelic.md"),
};

pub const DYNATRACE: MetricKind = MetricKind {
    name: "dynatrace",
    product: "Dynatrace",
    home: Home::Named,
    keys: Keys { secret: Need::Required, one_of: &[&["dynatrace_token"]], beside: &[] },
    lookback: Lookback::Intervals(10),
    needs_region: false,
    query: "a metric selector with one series",
    takes: "the value of the whole window; several series are refused",
    docs: include_str!("metric_kind/dynatrace.md"),
};

pub const KEPTN: MetricKind = MetricKind {
    name: "keptn",
    product: "Keptn",
    home: Home::InCluster,
    keys: Keys { secret: Need::Optional, one_of: &[], beside: &[] },
    lookback: Lookback::InObject,
    needs_region: false,
    query: "`keptnmetric/NAMESPACE/NAME`",
    takes: "`status.value` of the KeptnMetric",
    docs: include_str!("metric_kind/keptn.md"),
};

/// Every backend that is complete.
pub const ALL: &[&MetricKind] =
    &[&PROMETHEUS, &DATADOG, &CLOUDWATCH, &NEWRELIC, &DYNATRACE, &KEPTN];

/// Backends that Flagger has and we do not honour yet.
pub const LATER: &[&str] = &["influxdb", "externalmetrics", "stackdriver", "graphite", "splunk"];

/// For people who have taken one that there is not.
pub fn use_another() -> String {
    let names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
    match names.split_last() {
        Some((last, [])) => format!("use {last}"),
        Some((last, others)) => format!("use {} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl MetricKind {
    pub fn named(name: &str) -> Option<&'static MetricKind> {
        ALL.iter().copied().find(|kind| kind.name == name)
    }

    /// A recorded Prometheus can answer its queries.
    pub fn speaks_promql(&self) -> bool {
        self.lookback == Lookback::Promql
    }

    /// How long the time is that a query is about, in milliseconds; none where it says so itself.
    pub fn window_millis(&self, interval_millis: i64) -> Option<i64> {
        match self.lookback {
            Lookback::Promql | Lookback::InObject => None,
            Lookback::Intervals(times) => Some(interval_millis.saturating_mul(times.into())),
        }
    }
}

impl Keys {
    /// The sets in words: `token, or username and password`.
    pub fn words(&self) -> String {
        let sets: Vec<String> = self.one_of.iter().map(|set| set.join(" and ")).collect();
        sets.join(", or ")
    }
}

impl fmt::Debug for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.product)
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The catalogue as a Markdown table, and what there is to say of each.
pub fn markdown() -> String {
    let mut out = String::from(
        "| `type` | Product | Without `address` | Keys of the Secret | Window | `query` | What is judged |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for kind in ALL {
        let MetricKind { name, product, home, keys, lookback, query, takes, .. } = kind;
        let home = match home {
            Home::OfCanary => "the server of the canary's builtin queries".to_owned(),
            Home::Public(address) => format!("`{address}`"),
            Home::Named => "refused: it must be set".to_owned(),
            Home::InCluster => "the API server, always".to_owned(),
        };
        let lookback = match lookback {
            Lookback::Promql => "the query's own ranges".to_owned(),
            Lookback::InObject => "the object's own range".to_owned(),
            Lookback::Intervals(1) => "`interval`".to_owned(),
            Lookback::Intervals(times) => format!("{times} x `interval`"),
        };
        let row = format!(
            "| `{name}` | {product} | {home} | {} | {lookback} | {query} | {takes} |\n",
            keys.markdown()
        );
        out.push_str(&row);
    }
    for kind in ALL {
        let MetricKind { name, product, needs_region, docs, .. } = kind;
        let region = if *needs_region { "\nThe `region` must be set.\n" } else { "" };
        out.push_str(&format!("\n## {product} (`{name}`)\n{region}\n{docs}"));
    }
    out
}

impl Keys {
    fn markdown(&self) -> String {
        let Keys { secret, one_of, beside } = self;
        if one_of.is_empty() {
            return "none".to_owned();
        }
        let sets: Vec<String> =
            one_of.iter().map(|set| format!("`{}`", set.join("` and `"))).collect();
        let mut text = sets.join(", or ");
        for key in *beside {
            text.push_str(&format!(", optionally `{key}`"));
        }
        text.push_str(match secret {
            Need::Optional => "; none is needed for an open server",
            Need::Ambient => "; without a Secret the controller's own identity",
            Need::Required => "; required",
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_kind_is_complete_or_refused_and_the_definition_lists_both() {
        let names: Vec<&str> =
            ALL.iter().map(|kind| kind.name).chain(LATER.iter().copied()).collect();
        let once: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(once.len(), names.len());
        let crds = crate::crd::schemas();
        let (_, schema) = crds.iter().find(|(kind, _)| *kind == "MetricTemplate").unwrap();
        let listed = schema.pointer("/properties/spec/properties/provider/properties/type/enum");
        let listed: BTreeSet<&str> = listed
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|name| name.as_str())
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(listed, once);
    }

    /// Every example of the reference is read, and there is one of each kind.
    #[test]
    fn every_example_makes_sense() {
        for kind in ALL {
            let examples = kind.docs.split("```yaml\n").skip(1);
            let examples = examples.filter_map(|rest| rest.split("```").next());
            let objects: Vec<serde_json::Value> =
                examples.map(|text| serde_saphyr::from_str(text).unwrap()).collect();
            let of = |name: &str| {
                objects.iter().filter(|object| object["kind"] == name).cloned().collect::<Vec<_>>()
            };
            let templates = of("MetricTemplate");
            assert!(!templates.is_empty(), "{kind}");
            for template in templates {
                let template = crate::parse::metric_template(&template).unwrap();
                assert_eq!(template.provider.kind, *kind);
                if let Some(name) = template.provider.secret {
                    let secrets = of("Secret");
                    let secret = secrets.iter().find(|secret| secret["metadata"]["name"] == *name);
                    let data = &secret.unwrap()["stringData"];
                    let whole = |set: &&[&str]| set.iter().all(|key| data[*key].is_string());
                    assert!(kind.keys.one_of.iter().any(whole), "{kind}");
                }
            }
        }
    }
}
