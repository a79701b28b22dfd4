//! What shells and readers of manuals need, from the same definitions as the program: completion and man pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

/// Flags of `serin completion`.
#[derive(Clone, Debug, Args)]
pub struct CompletionArgs {
    shell: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// Flags of `serin man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Where the pages are written to, one for each command.
    #[arg(value_name = "DIRECTORY")]
    to: PathBuf,
}

/// A script for a shell to read.
pub fn completion(mut command: Command, args: &CompletionArgs) -> Vec<u8> {
    let shell = match args.shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
        Kind::Powershell => Shell::PowerShell,
    };
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// Writes the pages; says how many.
pub fn man(command: Command, args: &ManArgs) -> anyhow::Result<String> {
    let to = &args.to;
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    clap_mangen::generate_to(command, to)
        .with_context(|| format!("cannot write to {}", to.display()))?;
    Ok(format!(
        "The pages are in {}; `man -l {}/serin.1` shows the first.\n",
        to.display(),
        to.display()
    ))
}

/// Answers kubectl, which completes the arguments of a plugin by asking a program of this name.
pub const COMPLETER: &str = "kubectl_complete-serin";

/// What may follow these arguments, the last of which is being written, as kubectl wants to be told: one a line, and then
/// that file names are no answer.
pub fn complete(command: &Command, args: &[String]) -> String {
    const NO_FILES: &str = ":4\n";
    let Some((writing, before)) = args.split_last() else { return NO_FILES.to_owned() };
    let mut here = command;
    for arg in before {
        if let Some(next) = here.find_subcommand(arg) {
            here = next;
        }
    }
    let mut found: Vec<String> = Vec::new();
    if writing.starts_with('-') {
        for arg in here.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            found.extend(arg.get_long().map(|long| format!("--{long}\t{help}")));
        }
    } else {
        for next in here.get_subcommands().filter(|next| !next.is_hide_set()) {
            let about = next.get_about().map(ToString::to_string).unwrap_or_default();
            found.push(format!("{}\t{about}", next.get_name()));
        }
    }
    found.retain(|line| line.starts_with(writing.as_str()));
    let first_lines = found.iter().filter_map(|line| line.lines().next());
    first_lines.map(|line| format!("{line}\n")).collect::<String>() + NO_FILES
}
