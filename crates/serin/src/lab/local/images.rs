//! Which command stands for which image, and the sample application that stands for `local/*`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use serin_local::app;

/// What the end of a tag makes of the sample application, unless the pod's own environment says otherwise.
const FAULTS: [(&str, &[(&str, &str)]); 3] = [
    // Three of ten requests fail, and three of ten are slower than the half second that the example's policy allows.
    ("-bad", &[("ERROR_RATE", "0.3"), ("LATENCY_RATE", "0.3"), ("LATENCY_MS", "700")]),
    ("-dead", &[("ERROR_RATE", "1")]),
    // Healthy by an objective of one percent, though not by much; and by luck, as requests fail in life.
    ("-base08", &[("ERROR_RATE", "0.008"), ("FAULTS_AT_RANDOM", "true")]),
];

/// A line of the file that `--images` names.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// A pattern in which `*` stands for anything.
    image: String,
    /// The program and its arguments, in which `{image}`, `{name}` and `{tag}` are replaced.
    command: Vec<String>,
}

/// Arguments of the sample application; the rest it reads from its environment, as a pod does.
#[derive(Clone, Debug, clap::Args)]
pub struct AppArgs {
    /// Its name, as answers give it.
    #[arg(long, default_value = "backend")]
    name: String,
}

/// Every image under `local/` is the sample application, with its tag as version.
pub(super) fn builtin(program: &Path) -> Vec<(String, Vec<String>)> {
    let program = program.to_string_lossy().into_owned();
    let command = [program, "app".into(), "--name".into(), "{name}".into()];
    vec![("local/*".to_owned(), command.to_vec())]
}

/// Reads a file of entries: YAML or JSON.
pub(super) fn read(path: &PathBuf) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let entries: Vec<Entry> = serde_saphyr::from_str(&text)
        .with_context(|| format!("{shown} is not a list of image and command"))?;
    if let Some(empty) = entries.iter().find(|entry| entry.command.is_empty()) {
        anyhow::bail!("{shown}: {} has no command", empty.image);
    }
    Ok(entries.into_iter().map(|Entry { image, command }| (image, command)).collect())
}

/// The variable, or what the tag and the arguments make of it.
fn variable(name: &str, args: &AppArgs, own: impl Fn(&str) -> Option<String>) -> Option<String> {
    own(name).filter(|value| !value.is_empty()).or_else(|| {
        if name == "APP" {
            return Some(args.name.clone());
        }
        let tag = own("IMAGE_TAG")?;
        let (_, faults) = FAULTS.iter().find(|(end, _)| tag.ends_with(end))?;
        faults.iter().find(|(fault, _)| *fault == name).map(|(_, value)| (*value).to_owned())
    })
}

/// Runs the sample application until it is told to end.
pub async fn run_app(args: AppArgs) -> anyhow::Result<()> {
    let options =
        app::Options::from_variables(|name| variable(name, &args, |own| std::env::var(own).ok()))?;
    app::serve(options).await.context("the application failed")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> app::Options {
        let own: BTreeMap<&str, &str> = pairs.iter().copied().collect();
        let args = AppArgs { name: "backend".to_owned() };
        let get = |name: &str| own.get(name).map(|value| (*value).to_owned());
        app::Options::from_variables(|name| variable(name, &args, get)).unwrap()
    }

    #[test]
    fn a_bad_tag_means_faults() {
        let good = options(&[("IMAGE_TAG", "v2")]);
        assert_eq!((good.version.as_str(), good.faults), ("v2", app::Faults::default()));
        let bad = options(&[("IMAGE_TAG", "v3-bad")]).faults;
        assert_eq!((bad.error_rate, bad.latency_rate, bad.latency_ms), (0.3, 0.3, 700));
        assert_eq!(options(&[("IMAGE_TAG", "v4-dead")]).faults.error_rate, 1.0);
        let base = options(&[("IMAGE_TAG", "v5-base08")]).faults;
        assert_eq!((base.error_rate, base.at_random), (0.008, true));
    }

    #[test]
    fn the_pods_own_environment_wins() {
        let faults = options(&[("IMAGE_TAG", "v3-bad"), ("ERROR_RATE", "0.05")]).faults;
        assert_eq!((faults.error_rate, faults.latency_ms), (0.05, 700));
    }
}
