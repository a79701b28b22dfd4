//! Guides, done as their reader does it: every `sh` block of the page runs, and what is marked stable is printed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serin::lab::local::{Cluster, Options};

use crate::alone;

/// Begins what a block prints; nothing else prints it.
const MARK: char = '\u{1e}';
/// Stands for anything in a line, and alone in a line for any lines.
const ANYTHING: char = '…';

/// A block of commands, and what it prints if that is always the same.
pub(crate) struct Block {
    commands: String,
    printed: Option<String>,
}

pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match (kind, found.last_mut()) {
            ("sh", _) => found.push(Block { commands: text.join("\n"), printed: None }),
            ("text stable", Some(block)) => block.printed = Some(text.join("\n")),
            (_, _) => {}
        }
    }
    found
}

pub(crate) fn script(blocks: &[Block]) -> String {
    let mut script =
        String::from("exec 2>&1\nset -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for block in blocks {
        writeln!(script, "printf '\\036'\n{}", block.commands).unwrap();
    }
    script
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split(ANYTHING);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn matches(pattern: &[&str], lines: &[&str]) -> bool {
    match (pattern.split_first(), lines.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), _) if first.chars().eq([ANYTHING]) => {
            (0..=lines.len()).any(|skip| matches(rest, &lines[skip..]))
        }
        (Some(_), None) => false,
        (Some((first, rest)), Some((line, lines))) => {
            line_matches(first, line.trim_end()) && matches(rest, lines)
        }
    }
}

/// Holds what was printed against the blocks that say what is.
pub(crate) fn compare(blocks: &[Block], printed: &str) {
    for (block, printed) in blocks.iter().zip(printed.split(MARK).skip(1)) {
        let Some(expected) = &block.printed else { continue };
        let pattern: Vec<&str> = expected.lines().collect();
        let lines: Vec<&str> = printed.trim_end().lines().collect();
        assert!(
            matches(&pattern, &lines),
            "{}\nprinted\n{printed}\nexpected\n{expected}",
            block.commands
        );
    }
}

#[test]
fn wildcards_match_what_they_stand_for() {
    let all = |pattern: &str, text: &str| {
        matches(&pattern.lines().collect::<Vec<_>>(), &text.lines().collect::<Vec<_>>())
    };
    assert!(all("a … c\n…\nz", "a b c\nx\ny\nz"));
    assert!(all("a\n…\nz", "a\nz"));
    assert!(!all("a … c", "a b d"));
    assert!(!all("a", "a\nb"));
}

fn run(cluster: &Cluster, kubectl: &Path, script: &str) -> String {
    let home = cluster.dir().join("home");
    std::fs::create_dir_all(&home).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["600", "bash", "-c", script])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env("PATH", format!("{}:{path}", kubectl.parent().unwrap().display()))
        .env("HOME", home)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("GATEWAY", cluster.gateway_url())
        .env("METRICS", cluster.prometheus_url())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    printed
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_prints_what_it_says() {
    follow("lab.md", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_of_an_ab_test_prints_what_it_says() {
    follow("lab-ab-test.md", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_cluster_does_what_its_guide_says() {
    follow("local.md", 4).await;
}

/// Does what a guide says on a cluster of its own; it has at least so many blocks.
async fn follow(page: &str, least: usize) {
    let _alone = alone().await;
    let Some(kubectl) =
        std::env::var_os("SERIN_KUBECTL").filter(|path| !path.is_empty()).map(PathBuf::from)
    else {
        drop(writeln!(std::io::stderr(), "skipped: SERIN_KUBECTL is not set"));
        return;
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides").join(page);
    let blocks = blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() >= least, "{} blocks", blocks.len());
    let cluster = Cluster::start(Options::new(env!("CARGO_BIN_EXE_serin").into())).await.unwrap();
    let text = script(&blocks);
    let (cluster, printed) = tokio::task::spawn_blocking(move || {
        let printed = run(&cluster, &kubectl, &text);
        (cluster, printed)
    })
    .await
    .unwrap();
    cluster.stop().await;
    compare(&blocks, &printed);
}
