//! What the hand-written pages say is still so: links lead somewhere, reasons exist, help texts are what is printed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Markdown page for readers.
fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut found: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "GOVERNANCE.md",
        "ROADMAP.md",
    ]
    .map(|page| root.join(page))
    .into();
    let mut dirs = vec![root.join("docs")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines outside of fenced code.
fn prose(text: &str) -> Vec<&str> {
    let mut code = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
        .collect()
}

/// The targets of `[words](target)`.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).collect()
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(page: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(page).unwrap();
    prose(&text).into_iter().filter(|line| line.starts_with('#')).map(anchor).collect()
}

fn dead(page: &Path, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return false;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(f, a)| (f, Some(a)));
    let target = match file {
        "" => page.to_owned(),
        file => page.parent().unwrap().join(file),
    };
    !target.exists() || anchor.is_some_and(|anchor| !anchors(&target).contains(anchor))
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in prose(&text).into_iter().flat_map(links) {
            if dead(&page, link) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn troubleshooting_knows_the_reasons() {
    let text = std::fs::read_to_string(root().join("docs/guides/troubleshooting.md")).unwrap();
    let known: BTreeSet<&str> =
        serin_core::reason::Reason::ALL.iter().map(|reason| reason.code()).collect();
    let told: BTreeSet<&str> = prose(&text)
        .into_iter()
        .filter_map(|line| line.strip_prefix("### "))
        .flat_map(|heading| heading.split('`').skip(1).step_by(2))
        .collect();
    let unknown: Vec<_> = told.difference(&known).collect();
    assert!(unknown.is_empty(), "no such reasons: {unknown:?}");
    assert!(told.len() >= 20, "only {told:?}");
}

/// Every alert has a page with its expression, a story that fires it and one in which it is silent.
#[test]
fn every_alert_has_a_runbook_and_stories() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let documents = |text: &str| serin::lab::local::manifest::documents(text).unwrap().remove(0);
    let alerts = documents(&read("charts/serin/files/alerts.yaml"));
    let stories = read("deploy/monitoring/alerts.test.yaml");
    let index = read("docs/runbooks/README.md");
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 9, "{}", rules.len());
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let page = name.to_lowercase();
        let text = read(&format!("docs/runbooks/{page}.md"));
        assert!(text.contains(rule["expr"].as_str().unwrap()), "{name}: another expression");
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/runbooks/{page}/")), "{name}: {url}");
        assert!(index.contains(&format!("[{name}]({page}.md)")), "{name} is not in the list");
        let told = |end: &str| stories.contains(&format!("alertname: {name}{end}"));
        assert!(told(", exp_alerts: []}") && told("\n        exp_alerts:\n"), "{name}");
    }
}

#[test]
fn help_texts_are_fresh() {
    let text = std::fs::read_to_string(root().join("docs/reference/cli.md")).unwrap();
    let mut seen = 0;
    for part in text.split("\n## ").skip(1) {
        let command = part.lines().next().unwrap().trim_matches('`');
        let shown = part.split("```text\n").nth(1).unwrap().split("\n```").next().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(command.split_whitespace().skip(1))
            .arg("--help")
            .env_clear()
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(trimmed(&printed), trimmed(shown), "paste what `{command} --help` prints");
        seen += 1;
    }
    assert!(seen >= 6, "{seen} commands");
}

/// Every command of the guide runs, and prints what the guide shows below it; `…` stands for lines left out.
#[test]
fn the_plans_of_the_guide_are_fresh() {
    let text = std::fs::read_to_string(root().join("docs/guides/plan.md")).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_serin")).parent().unwrap();
    let mut compared = 0;
    for part in text.split("```console\n").skip(1) {
        let (command, rest) = part.split_once("\n```").unwrap();
        if command.contains("--kubeconfig") {
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(root())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let shown = rest.split_once("```text\n").unwrap().1.split("\n```").next().unwrap();
        let refused = shown.contains("would be refused") || shown.contains("would not be taken up");
        assert_eq!(output.status.code(), Some(i32::from(refused)), "{command}: {printed}");
        let printed = trimmed(&printed);
        for piece in shown.split('…').map(trimmed) {
            assert!(printed.contains(&piece), "{command} does not print\n{piece}\nbut\n{printed}");
        }
        compared += 1;
    }
    assert_eq!(compared, 4);
}

fn trimmed(text: &str) -> String {
    text.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
