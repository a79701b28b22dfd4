//! Taste that matters is a failing test: shape of files, imports, leftovers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Six hundred lines and one idea; tests at the foot do not count.
const FILE_LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = fs::read_dir(root().join("crates"))
        .unwrap()
        .flat_map(|entry| {
            ["src", "tests", "examples"].map(|part| entry.as_ref().unwrap().path().join(part))
        })
        .filter(|path| path.is_dir())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(files.len() > 40, "the walk has lost the sources");
    files
}

fn complain(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn every_file_opens_with_a_sentence() {
    let offenders = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    complain("a file begins with one sentence about itself (`//! ...`)", offenders);
}

#[test]
fn files_are_short() {
    let offenders = sources()
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tests.rs") && !name.contains("/tests/"))
        .filter_map(|(name, text)| {
            let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
            (code > FILE_LINES_MAX).then(|| format!("{name}: {code} lines"))
        })
        .collect();
    complain("a file has one idea and at most 600 lines", offenders);
}

#[test]
fn pure_crates_stay_pure() {
    let mut offenders = Vec::new();
    for name in ["serin-core", "serin-providers"] {
        let manifest =
            fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        for word in ["tokio", "kube", "reqwest", "tracing", "rand", "anyhow", "hyper"] {
            if manifest.lines().any(|line| {
                line.starts_with(&format!("{word} ")) || line.starts_with(&format!("{word}."))
            }) {
                offenders.push(format!("{name} depends on {word}"));
            }
        }
    }
    let manifest = fs::read_to_string(root().join("crates/serin-judge/Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n\n").unwrap();
    for line in dependencies.lines() {
        if !["base64.", "thiserror."].iter().any(|known| line.starts_with(known)) {
            offenders.push(format!("serin-judge depends on {line}"));
        }
    }
    complain("judge, core and providers have no I/O, async, clock or log", offenders);
}

#[test]
fn walls_between_modules_hold() {
    let walls: &[(&str, &[&str])] = &[
        (
            "crates/serin-core/src/model.rs",
            &["crate::step", "crate::parse", "crate::judge", "crate::plan"],
        ),
        (
            "crates/serin-core/src/api",
            &["crate::step", "crate::parse", "crate::model", "crate::plan"],
        ),
        ("crates/serin-core/src/lint", &["crate::step"]),
        (
            "crates/serin-judge/",
            &["serin_core", "serin_providers", "serin_apiserver", "serin_local", "serde"],
        ),
        ("crates/serin-core/", &["serin_providers", "serin_apiserver", "serin_local"]),
        ("crates/serin-providers/", &["serin_apiserver", "serin_local"]),
        ("crates/serin-apiserver/", &["serin_core", "serin_providers", "serin_local"]),
        ("crates/serin-local/", &["serin_core", "serin_providers", "serin_apiserver"]),
        // The rooms of `serin`: what stands lower knows nothing of what stands above it.
        ("crates/serin/src/cache/", &["crate::guard", "crate::operator", "crate::cli"]),
        ("crates/serin/src/http_client/", &["crate::cache", "crate::guard", "crate::operator"]),
        ("crates/serin/src/guard/", &["crate::operator", "crate::view", "crate::cli"]),
        (
            "crates/serin/src/operator/",
            &["crate::view", "crate::console", "crate::cli", "crate::lab"],
        ),
        (
            "crates/serin/src/view",
            &["crate::operator", "crate::console", "crate::term", "crate::cli"],
        ),
        ("crates/serin/src/console", &["crate::term", "crate::cli", "crate::lab"]),
        ("crates/serin/src/term", &["crate::cli", "crate::lab", "crate::operator"]),
        ("crates/serin/src/lab/", &["crate::cli", "crate::plan", "crate::backtest"]),
        ("crates/serin/src/plan/", &["crate::cli", "crate::operator"]),
        ("crates/serin/src/backtest/", &["crate::cli", "crate::operator"]),
    ];
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        for (place, banned) in walls {
            // The tests of a room may use all of the house.
            let test = name.ends_with("tests.rs") && place.starts_with("crates/serin/src/");
            if !name.starts_with(place) || test {
                continue;
            }
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                if banned.iter().any(|word| line.contains(word)) {
                    offenders.push(format!("{name}: {}", line.trim()));
                }
            }
        }
    }
    complain("these imports are walls", offenders);
}

/// Modules of one crate with what each imports of its crate. What a child takes from the modules around it is no circle.
fn imports(of: &str) -> BTreeMap<String, BTreeSet<String>> {
    let folder = format!("crates/{of}/src/");
    let mut texts = BTreeMap::new();
    for (name, text) in sources() {
        let Some(file) = name.strip_prefix(&folder).and_then(|name| name.strip_suffix(".rs"))
        else {
            continue;
        };
        let module = file.strip_suffix("/mod").unwrap_or(file).replace('/', "::");
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        // Only tests have these.
        let test = |part: &str| ["tests", "testing", "laws"].contains(&part);
        if !module.split("::").any(test) && module != "lib" && module != "main" {
            texts.insert(module, code);
        }
    }
    let found = |path: &str| {
        let mut path = path.to_owned();
        while !texts.contains_key(&path) {
            path.truncate(path.rfind("::")?);
        }
        Some(path)
    };
    let mut all = BTreeMap::new();
    for (module, code) in &texts {
        let mut named = BTreeSet::new();
        let code: Vec<&str> =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for path in paths(&code.join("\n"), module) {
            named.extend(found(&path));
        }
        named.retain(|other| other != module && !module.starts_with(&format!("{other}::")));
        all.insert(module.clone(), named);
    }
    all
}

/// The paths in `code` that lead into its own crate, from the root of the crate; groups are taken apart.
fn paths(code: &str, module: &str) -> Vec<String> {
    let mut all = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before == ':' || before.is_alphanumeric() || before == '_' {
                continue;
            }
            let mut base = module.to_owned();
            let mut rest = &code[at..];
            if let Some(path) = rest.strip_prefix("crate::") {
                (base, rest) = (String::new(), path);
            }
            while let Some(path) = rest.strip_prefix("super::") {
                base.truncate(base.rfind("::").unwrap_or(0));
                rest = path;
            }
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
            let path = &rest[..end.unwrap_or(rest.len())];
            let group =
                rest[path.len()..].strip_prefix('{').and_then(|group| group.split('}').next());
            let items =
                group.map_or(vec![""], |group| group.split([',', '{', ' ', '\n']).collect());
            for item in items {
                let joined = [base.as_str(), path.trim_end_matches("::"), item.trim()];
                let parts: Vec<&str> = joined.into_iter().filter(|part| !part.is_empty()).collect();
                all.push(parts.join("::"));
            }
        }
    }
    all
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut offenders = Vec::new();
    for name in ["serin-core", "serin-judge", "serin-providers", "serin", "serin-mutants"] {
        let all = imports(name);
        for module in all.keys() {
            let mut reached = BTreeSet::new();
            let mut ahead: Vec<&String> = all[module].iter().collect();
            while let Some(next) = ahead.pop() {
                if reached.insert(next) {
                    ahead.extend(all.get(next).into_iter().flatten());
                }
            }
            if reached.contains(module) {
                offenders.push(format!("{name}: {module}"));
            }
        }
    }
    complain("modules of one crate have an order", offenders);
}

/// Of a line of code: what is in quotes, and what is not.
fn quoted(line: &str) -> (String, String) {
    let mut parts = (String::new(), String::new());
    for (number, part) in line.replace("\\\"", "").split('"').enumerate() {
        let side = if number % 2 == 1 { &mut parts.0 } else { &mut parts.1 };
        side.push_str(part);
        side.push(' ');
    }
    parts
}

/// `docs/contributing/words.md` has the words that took their place.
#[test]
fn names_and_messages_use_the_words_of_the_field() {
    const NAMES: [&str; 14] = [
        "ward", "Ward", "opinion", "teller", "Teller", "course", "Course", "seal", "Outside",
        "manner", "bed", "Bed", "city", "book",
    ];
    const MESSAGES: [&str; 6] =
        ["nobody", "somebody", "whoever", "makes no sense", "make no sense", "off the road"];
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        let product =
            name.contains("/src/") && !name.ends_with("tests.rs") && !name.contains("/tests/");
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|_| product) {
            if line.trim_start().starts_with("//") {
                continue;
            }
            let (messages, names) = quoted(line);
            let messages = messages.to_lowercase();
            let words: Vec<&str> =
                names.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            let bad = NAMES.iter().find(|word| words.contains(word));
            if let Some(word) = bad.or(MESSAGES.iter().find(|word| messages.contains(**word))) {
                offenders.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    complain("names and messages use the words of docs/contributing/words.md", offenders);
}

#[test]
fn nothing_is_left_over() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("/wo", "rk/"),
        concat!("unimpl", "emented!"),
    ];
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                offenders.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    complain("no leftovers", offenders);
}

#[test]
fn no_test_sleeps() {
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        let in_tests = name.contains("/tests/") || name.ends_with("tests.rs");
        for (number, line) in text.lines().enumerate() {
            // Deliberate bugs are only in the copy of the source that `make mutants` builds.
            let hidden = line.contains(concat!("#[ig", "nore")) && !line.contains(": make mutants");
            if in_tests && (hidden || line.contains(concat!("thread::", "sleep"))) {
                offenders.push(format!("{name}:{}", number + 1));
            }
        }
    }
    complain("tests wait for conditions; they neither sleep nor hide", offenders);
}
