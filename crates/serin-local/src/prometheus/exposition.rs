//! The text format of Prometheus, read line by line: what cannot be read is counted, never fatal.

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// Milliseconds since 1970, when the line gives them.
    pub timestamp_ms: Option<i64>,
}

/// Longest line that is read; a longer one is skipped.
const LINE_MAX: usize = 64 * 1024;

/// The samples of a scrape, and how many lines was invalid.
pub fn parse(text: &str) -> (Vec<Sample>, usize) {
    let mut samples = Vec::new();
    let mut bad = 0;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match sample(line) {
            Some(sample) => samples.push(sample),
            None => bad += 1,
        }
    }
    (samples, bad)
}

fn sample(line: &str) -> Option<Sample> {
    let (sample, time) = words(line)?;
    let timestamp_ms = time.and_then(|word| word.parse().ok());
    Some(Sample { timestamp_ms, ..sample })
}

/// A line of a recording, and its time as it is written.
pub(super) fn timed(line: &str) -> Option<(Sample, Option<f64>)> {
    let (sample, time) = words(line)?;
    Some((sample, time.and_then(|word| word.parse().ok())))
}

/// A sample line without its time, and the word that is the time.
fn words(line: &str) -> Option<(Sample, Option<&str>)> {
    if line.len() > LINE_MAX {
        return None;
    }
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let name = line.get(..name_end)?;
    if name.is_empty() {
        return None;
    }
    let rest = line.get(name_end..)?.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    // An exemplar follows a `#` in OpenMetrics.
    let mut words = rest.split('#').next()?.split_whitespace();
    let value = number(words.next()?)?;
    let sample = Sample { name: name.to_owned(), labels, value, timestamp_ms: None };
    Some((sample, words.next()))
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start().trim_start_matches(',').trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        labels.push((name.trim().to_owned(), value));
        rest = after;
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, inside.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_traefik_writes() {
        let text = "# HELP x y\n# TYPE x counter\n\
            x_total{code=\"200\",service=\"develop-backend-canary-80@kubernetescrd\"} 12\n\
            x_bucket{le=\"+Inf\",path=\"a\\\"b\\\\c\"} 1.5e3 1700000000000\n\
            plain 3 # {trace=\"1\"} 2\n\
            broken{a=\"b\n\
            nothing\n";
        let (samples, bad) = parse(text);
        assert_eq!(bad, 2);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].labels[1].1, "develop-backend-canary-80@kubernetescrd");
        assert_eq!((samples[1].value, samples[1].timestamp_ms), (1500.0, Some(1_700_000_000_000)));
        assert_eq!(samples[1].labels[1].1, "a\"b\\c");
        assert_eq!(samples[2].value, 3.0);
    }
}
