//! Logs: human lines or JSON on stderr, levels by flag.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

/// Starts logging once. `level` is a tracing filter (`info`, `serin=debug`); Flagger's `fatal` and `panic` mean `error`.
pub fn start(level: &str, format: LogFormat) {
    let level = match level {
        "fatal" | "panic" => "error",
        other => other,
    };
    let mut filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    // The client's own lines do not say what was asked; ours do.
    for quiet in ["kube_client=off", "kube_runtime=off"] {
        if !level.contains("kube")
            && let Ok(directive) = quiet.parse()
        {
            filter = filter.add_directive(directive);
        }
    }
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => logs.with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    // A second start (tests in one process) keeps the first.
    drop(started);
}
