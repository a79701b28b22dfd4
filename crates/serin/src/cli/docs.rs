//! What is generated from the types: CRDs and reference pages, written or checked for freshness.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

/// The CRDs as one YAML stream.
pub fn crds_yaml() -> anyhow::Result<String> {
    let mut text = String::new();
    for crd in serin_core::crd::crds() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&crd).context("cannot render a CRD")?);
    }
    Ok(text)
}

const FLEET: &str = include_str!("../../../../charts/serin/files/dashboards/serin-fleet.json");
const CANARY: &str = include_str!("../../../../charts/serin/files/dashboards/serin-canary.json");

/// The chart's alerts as an object of the Prometheus operator, for those who use no chart.
fn prometheus_rule() -> String {
    let mut text = String::from(
        "# Written by `serin docs` from charts/serin/files/alerts.yaml.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: serin\n  namespace: serin-system\n  labels: {app.kubernetes.io/name: serin}\nspec:\n",
    );
    for line in include_str!("../../../../charts/serin/files/alerts.yaml").lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn reasons() -> String {
    let mut page = String::from(
        "# Reasons\n\nEvery decision has one of these codes, in the log, in `status.lastReason`, in Events and in `serin_decisions_total`.\n\n| code | meaning |\n|---|---|\n",
    );
    for reason in serin_core::reason::Reason::ALL {
        page.push_str(&format!("| `{reason}` | {} |\n", reason.meaning()));
    }
    page
}

/// Paths from the project's root, and what must stand there.
pub fn generated() -> anyhow::Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("deploy/10-crds.yaml", crds_yaml()?),
        ("deploy/20-rbac.yaml", crate::cli::rights::manifest()),
        ("charts/serin/files/crds.yaml", crds_yaml()?),
        ("charts/serin/templates/_rules.tpl", crate::cli::rights::helpers()),
        ("deploy/monitoring/prometheusrule.yaml", prometheus_rule()),
        ("deploy/monitoring/serin-fleet.json", FLEET.to_owned()),
        ("deploy/monitoring/serin-canary.json", CANARY.to_owned()),
        ("docs/reference/canary.md", serin_core::docs::reference_markdown()),
        ("docs/reference/refused.md", serin_core::parse::refused_markdown()),
        ("docs/reference/metric-providers.md", serin_core::docs::metric_providers_markdown()),
        ("docs/reference/reasons.md", reasons()),
    ])
}

/// Writes what is generated below the working folder, or complains about what is stale.
pub fn docs(check: bool) -> anyhow::Result<ExitCode> {
    let root = PathBuf::from(".");
    anyhow::ensure!(root.join("Cargo.toml").exists(), "run this in the project's root folder");
    let mut stale = Vec::new();
    for (path, text) in generated()? {
        let file = root.join(path);
        if fs::read_to_string(&file).ok().as_deref() == Some(text.as_str()) {
            continue;
        }
        if check {
            stale.push(path);
        } else {
            write(&file, &text)?;
        }
    }
    anyhow::ensure!(
        stale.is_empty(),
        "stale: {}\n\nhint: run `cargo run -p serin -- docs` and commit the result",
        stale.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
