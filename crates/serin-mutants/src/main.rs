//! `serin-mutants FOLDER` writes a copy of the source with all deliberate bugs in it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            let mut source = error.source();
            while let Some(cause) = source {
                say(&format!("  because: {cause}"));
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is what its user reads")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn run() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("say where the copy goes: serin-mutants FOLDER")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    std::fs::create_dir_all(&folder)?;
    serin_mutants::plant(&root, &folder, &serin_mutants::all()?)?;
    Ok(())
}
