//! What the operator may do in a cluster, and for which of its abilities: the manifests and the chart are written from here.

/// An ability that can be switched off, and then needs no rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What every release needs.
    Core,
    /// Secrets that metric templates and alert providers name.
    Credentials,
    /// Copies of ConfigMaps and Secrets for the primary.
    Configs,
    /// HorizontalPodAutoscalers of the targets.
    Autoscalers,
    /// The gateway's pods, found by their labels.
    GatewaySelector,
    Traefik,
    GatewayApi,
}

pub const PARTS: [Part; 7] = [
    Part::Core,
    Part::Credentials,
    Part::Configs,
    Part::Autoscalers,
    Part::GatewaySelector,
    Part::Traefik,
    Part::GatewayApi,
];

impl Part {
    /// The router whose objects it is about.
    fn router(self) -> Option<&'static str> {
        match self {
            Self::Core
            | Self::Credentials
            | Self::Configs
            | Self::Autoscalers
            | Self::GatewaySelector => None,
            Self::Traefik => Some("traefik"),
            Self::GatewayApi => Some("gatewayapi"),
        }
    }

    /// When the chart grants it, as a condition of its templates.
    fn condition(self) -> Option<&'static str> {
        match self {
            Self::Core => None,
            Self::Credentials => Some(".Values.rbac.credentials"),
            Self::Configs => {
                Some(r#"or (eq (include "serin.configTracking" .) "true") .Values.rbac.soak"#)
            }
            Self::Autoscalers => Some(".Values.rbac.autoscalers"),
            Self::GatewaySelector => {
                Some(r#"contains "selector=" (join "," .Values.gatewayMetrics)"#)
            }
            Self::Traefik => Some(r#"has "traefik" .Values.routers"#),
            Self::GatewayApi => Some(r#"has "gatewayapi" .Values.routers"#),
        }
    }
}

/// Verbs on resources of one API group.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    pub part: Part,
    pub group: &'static str,
    pub resources: &'static [&'static str],
    pub verbs: &'static [&'static str],
    /// For the reader of the manifest, where it is not plain.
    pub why: &'static str,
}

const fn grant(
    part: Part,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Grant {
    Grant { part, group, resources, verbs, why }
}

/// Rights in the namespaces of the canaries. Nothing but settled ReleaseActions is deleted.
pub const GRANTS: &[Grant] = &[
    grant(
        Part::Core,
        "flagger.app",
        &["canaries"],
        &["get", "list", "watch", "patch"],
        "`get` when a list is older than what the operator itself has written, as after a restore from a backup.",
    ),
    grant(Part::Core, "flagger.app", &["canaries/status"], &["patch"], ""),
    grant(
        Part::Core,
        "flagger.app",
        &["canaries/finalizers"],
        &["update"],
        "For clusters that require it of a client that makes objects owned by a Canary.",
    ),
    grant(
        Part::Core,
        "serin.dev",
        &["releaseactions"],
        &["list", "watch", "delete"],
        "`delete` takes away what was settled a day ago, or 20 others later.",
    ),
    grant(Part::Core, "serin.dev", &["releaseactions/status"], &["patch"], ""),
    grant(Part::Core, "flagger.app", &["metrictemplates"], &["get", "list", "watch"], ""),
    grant(Part::Core, "flagger.app", &["alertproviders"], &["get", "list", "watch"], ""),
    grant(
        Part::Core,
        "metrics.keptn.sh",
        &["keptnmetrics"],
        &["get"],
        "Those that a MetricTemplate of type keptn names.",
    ),
    grant(Part::Core, "apps", &["deployments"], &["get", "list", "watch", "create", "update"], ""),
    grant(Part::Core, "apps", &["deployments/scale"], &["patch"], ""),
    grant(
        Part::Core,
        "apps",
        &["daemonsets"],
        &["get", "list", "watch", "create", "update", "patch"],
        "`patch` takes a DaemonSet from its nodes and gives it back to them: it has no `scale`.",
    ),
    grant(
        Part::Autoscalers,
        "autoscaling",
        &["horizontalpodautoscalers"],
        &["get", "list", "watch", "create", "update", "patch"],
        "",
    ),
    grant(
        Part::Core,
        "",
        &["services"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "`delete` is never used: the admission plugin OwnerReferencesPermissionEnforcement (on by default on OpenShift) asks \
         it of a client that changes an owner reference, as Serin does when it gives a Service or a route back to its user.",
    ),
    grant(Part::Core, "discovery.k8s.io", &["endpointslices"], &["list", "watch"], ""),
    grant(
        Part::Core,
        "",
        &["pods"],
        &["get"],
        "Whose the pods behind a Service are, asked before traffic moves to them: metadata only.",
    ),
    grant(Part::Core, "apps", &["replicasets"], &["get"], ""),
    grant(
        Part::GatewaySelector,
        "",
        &["pods"],
        &["list", "watch"],
        "Only to find the gateway's pods by their labels (--gateway-metrics=selector=...).",
    ),
    grant(
        Part::Credentials,
        "",
        &["secrets"],
        &["get"],
        "The Secrets that metric templates and alert providers name.",
    ),
    grant(
        Part::Configs,
        "",
        &["configmaps", "secrets"],
        &["get", "list", "watch", "create", "update"],
        "Those that a target refers to are read, and copied for the primary. List and watch are asked for metadata only; no \
         data of a ConfigMap or Secret that no canary refers to is ever read. Without config tracking \
         (--enable-config-tracking=false) and without guard.soak, which keeps what a primary ran before, they can go.",
    ),
    grant(
        Part::Traefik,
        "traefik.io",
        &["traefikservices"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "",
    ),
    grant(
        Part::Traefik,
        "traefik.io",
        &["ingressroutes"],
        &["get", "list", "watch", "create", "patch"],
        "Those that spec.routeRef names are read; a derived one is made beside them for A/B tests and plain Services.",
    ),
    grant(
        Part::GatewayApi,
        "gateway.networking.k8s.io",
        &["httproutes"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "",
    ),
    grant(
        Part::GatewayApi,
        "gateway.networking.k8s.io",
        &["gateways", "gatewayclasses"],
        &["get", "list", "watch"],
        "Only where a Canary asks for what not every implementation does: the class of a route's Gateways tells what theirs \
         does. GatewayClasses have no namespace; without the right, and for a Gateway out of reach, what is not known is \
         said.",
    ),
    grant(Part::Core, "", &["events"], &["create", "patch"], ""),
];

/// On Leases, where the election's is.
const LEASE_VERBS: &[&str] = &["get", "list", "watch", "create", "update"];

/// Rules as a YAML list; the reason stands above each.
fn rules(grants: &mut dyn Iterator<Item = &Grant>, indent: &str) -> String {
    let mut text = String::new();
    for grant in grants {
        for line in wrap(grant.why) {
            text.push_str(&format!("{indent}# {line}\n"));
        }
        let group = if grant.group.is_empty() { "\"\"" } else { grant.group };
        let (resources, verbs) = (grant.resources.join(", "), grant.verbs.join(", "));
        text.push_str(&format!("{indent}- apiGroups: [{group}]\n"));
        text.push_str(&format!("{indent}  resources: [{resources}]\n"));
        text.push_str(&format!("{indent}  verbs: [{verbs}]\n"));
    }
    text
}

fn wrap(sentence: &str) -> Vec<String> {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

const WARNING: &str = "# Written by `serin docs` from crates/serin/src/cli/rights.rs.\n";

/// `deploy/20-rbac.yaml`: everything, in all namespaces, with a role of its own for each router that an overlay can leave out.
pub fn manifest() -> String {
    let head = include_str!("rights/head.yaml");
    let tail = include_str!("rights/tail.yaml").replace("LEASE_VERBS", &LEASE_VERBS.join(", "));
    let own = rules(&mut GRANTS.iter().filter(|grant| grant.part.router().is_none()), "  ");
    let mut text = format!("{WARNING}{head}{own}{tail}");
    for part in PARTS {
        let Some(router) = part.router() else { continue };
        let rules = rules(&mut GRANTS.iter().filter(|grant| grant.part == part), "  ");
        let role = include_str!("rights/router.yaml").replace("ROUTER", router);
        text.push_str(&role.replace("  RULES\n", &rules));
    }
    text
}

/// The chart's rules, each part under its condition.
pub fn helpers() -> String {
    let mut text = String::from(
        "{{/*\nWritten by `serin docs` from crates/serin/src/cli/rights.rs: what the operator may do in the namespaces of the canaries.\n*/}}\n{{- define \"serin.rules\" -}}\n",
    );
    for part in PARTS {
        let rules = rules(&mut GRANTS.iter().filter(|grant| grant.part == part), "");
        match part.condition() {
            Some(condition) => {
                text.push_str(&format!("{{{{- if {condition} }}}}\n{rules}{{{{- end }}}}\n"));
            }
            None => text.push_str(&rules),
        }
    }
    let verbs = LEASE_VERBS.join(", ");
    text.push_str(&format!(
        "{{{{- end }}}}\n\n{{{{- define \"serin.leaseVerbs\" -}}}}\n[{verbs}]\n{{{{- end }}}}\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_rights_and_next_to_nothing_may_be_deleted() {
        for part in PARTS {
            assert!(GRANTS.iter().any(|grant| grant.part == part), "{part:?}");
        }
        for grant in GRANTS {
            // What is given back to its user when a Canary is deleted, and settled requests of people.
            let released = [["services"], ["traefikservices"], ["httproutes"], ["releaseactions"]]
                .iter()
                .any(|one| one == grant.resources);
            let fine = |verb: &&str| match *verb {
                "delete" => released,
                verb => !verb.starts_with("delete") && verb != "*",
            };
            assert!(grant.verbs.iter().all(fine), "{grant:?}");
        }
    }

    #[test]
    fn a_long_reason_is_wrapped() {
        let lines = wrap(&"word ".repeat(50));
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= 100), "{lines:?}");
    }
}
