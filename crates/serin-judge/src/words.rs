//! How numbers are said: shares in percent, times as coarsely as they are known.

use std::fmt;

/// A share, shown in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(
    /// The share, 1 being all.
    pub f64,
);

impl fmt::Display for Percent {
    /// Three significant digits at most, never a bare exponent: `0.05 %`, `1.2 %`, `100 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let digits = match percent.abs() {
            0.0 => 0,
            p if p >= 9.995 => 1,
            p if p >= 0.0995 => 2,
            p if p >= 0.000_995 => 3,
            _ => 5,
        };
        let text = format!("{percent:.digits$}");
        let text =
            if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        write!(f, "{text} %")
    }
}

/// A time, shown as coarsely as anybody wants to know it: `40 s`, `3 min`, `2.5 h`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct About(
    /// The time in seconds.
    pub f64,
);

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.max(0.0) {
            secs if secs < 89.5 => write!(f, "{secs:.0} s"),
            secs if secs < 5370.0 => write!(f, "{:.0} min", secs / 60.0),
            secs if secs < 172_800.0 => write!(f, "{:.1} h", secs / 3600.0),
            secs if secs < 8_640_000.0 => write!(f, "{:.0} days", secs / 86_400.0),
            _ => write!(f, "longer than anybody waits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_coarsely() {
        for (secs, text) in [
            (0.2, "0 s"),
            (40.0, "40 s"),
            (180.0, "3 min"),
            (9000.0, "2.5 h"),
            (1e6, "12 days"),
            (1e9, "longer than anybody waits"),
            (f64::INFINITY, "longer than anybody waits"),
        ] {
            assert_eq!(About(secs).to_string(), text);
        }
    }
}
