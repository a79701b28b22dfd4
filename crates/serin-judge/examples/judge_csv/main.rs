//! Judges a CSV of counters: `cargo run -p serin-judge --example judge_csv -- FILE [SLO]`, the objective in percent.
//!
//! Each line is one scrape: `millis,canary_requests,canary_bad,primary_requests,primary_bad`, where the counts only grow.
//! What was not measured is left empty. The exit code is 1 when the canary is to be rolled back, and 2 when the file is no such.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use serin_judge::counters::{Born, Reading, Side};
use serin_judge::monitor::{Monitor, MonitorError, Source};
use serin_judge::{Decision, GuardConfig};

#[derive(Debug, thiserror::Error)]
enum JudgeError {
    #[error("cannot open {0}: {1}")]
    Open(String, std::io::Error),
    #[error("the objective is not a number of percent: {0}")]
    Objective(String),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error("line {line} has no whole number in column {column}")]
    Number { line: u64, column: usize },
    #[error(transparent)]
    Monitor(#[from] MonitorError),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_default();
    let slo = arguments.next().unwrap_or_else(|| "1".to_owned());
    match judge_file(&file, &slo) {
        Ok((report, decision)) => {
            print!("{report}");
            ExitCode::from(u8::from(decision == Decision::RollBack))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn judge_file(file: &str, slo: &str) -> Result<(String, Decision), JudgeError> {
    let percent: f64 = slo.parse().map_err(|_| JudgeError::Objective(slo.to_owned()))?;
    let open = File::open(file).map_err(|error| JudgeError::Open(file.to_owned(), error))?;
    judge(open, percent / 100.0)
}

/// What each line that changes something says, and all reasons at the end.
fn judge(input: impl Read, slo: f64) -> Result<(String, Decision), JudgeError> {
    let config = GuardConfig::share("bad requests", slo);
    let mut monitor = Monitor::new(config, 0, vec![Source::Errors])?;
    let (mut report, mut said) = (String::new(), Decision::Continue);
    for record in csv::Reader::from_reader(input).records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let [at, of_canary, bad_of_canary, of_primary, bad_of_primary] = numbers(&record, line)?;
        let reading = |side, requests, errors| Reading {
            side,
            series: "file",
            born: Born::Before,
            started: None,
            warm: true,
            requests,
            errors,
            timed: 0,
            within: &[],
        };
        let canary = of_canary.zip(bad_of_canary).map(|(n, x)| reading(Side::Canary, n, x));
        let primary = of_primary.zip(bad_of_primary).map(|(m, y)| reading(Side::Primary, m, y));
        let at = at.ok_or(JudgeError::Number { line, column: 1 })?;
        let both = [canary, primary].into_iter().flatten();
        let news = match monitor.observe(at, both) {
            Ok(verdict) if verdict.decision == said => continue,
            Ok(verdict) => {
                said = verdict.decision;
                format!("{} ({})", verdict.decision, verdict.odds)
            }
            Err(unjudged) => unjudged.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(report, "{:>8.1} s  {news}", at as f64 / 1000.0);
    }
    let _ = writeln!(report, "\n{}", monitor.explain());
    Ok((report, said))
}

/// The five columns; none where one is empty.
fn numbers(record: &csv::StringRecord, line: u64) -> Result<[Option<u64>; 5], JudgeError> {
    let mut numbers = [None; 5];
    for (place, number) in numbers.iter_mut().enumerate() {
        let column = place + 1;
        let text = record.get(place).ok_or(JudgeError::Number { line, column })?.trim();
        if !text.is_empty() {
            *number = Some(text.parse().map_err(|_| JudgeError::Number { line, column })?);
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_rolled_back_and_says_why() {
        let sample = include_bytes!("counters.csv");
        let (report, decision) = judge(&sample[..], 0.01).unwrap();
        assert_eq!(decision, Decision::RollBack);
        expect_test::expect![[r#"
                11.0 s  this scrape has been judged before
                 4.2 s  this scrape is 14800 ms older than the one before
                25.0 s  nothing was measured
                31.0 s  hold: the canary breaks its objective now (1 in 6.0 if healthy)
                32.0 s  roll back (1 in 319 if healthy)

            roll back (less than 1 in a million if healthy; rolls back at 1 in 100)
              bad requests against the primary, limit 0.61 %: canary 61 of 566 (10.8 %, between 5.45 % and 18.3 %), primary 12 of 10740 (0.11 %, between 0.035 % and 0.26 %); less than 1 in a million if healthy, 100 % of all evidence
              bad requests against its objective of 1 %: canary 61 of 566 (10.8 %, between 5.45 % and 18.3 %), primary 12 of 10740 (0.11 %, between 0.035 % and 0.26 %); less than 1 in a million if healthy, 0 % of all evidence
        "#]].assert_eq(&report);
    }

    #[test]
    fn a_healthy_canary_goes_on() {
        let mut lines = "millis,cr,cb,pr,pb\n".to_owned();
        for k in 0..60_u64 {
            lines += &format!("{},{},{},{},{}\n", 1000 * k, 10 * k, k / 20, 190 * k, k / 5);
        }
        assert_eq!(judge(lines.as_bytes(), 0.01).unwrap().1, Decision::Continue);
    }

    #[test]
    fn what_is_no_file_of_counters_is_refused_by_line_and_column() {
        let error = judge(&b"a,b,c,d,e\n1,2,3,4,5\n2,3,x,4,5\n"[..], 0.01).unwrap_err();
        assert_eq!(error.to_string(), "line 3 has no whole number in column 3");
        assert!(judge(&b"a,b\n1,2\n"[..], 0.01).is_err());
        assert!(judge(&b""[..], 0.0).is_err());
    }
}
