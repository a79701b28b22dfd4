//! Durations as Flagger's objects write them: Go's syntax, `30s`, `1m30s`, `2h`.

/// Longest duration that is valid in a spec, in seconds: a year. It keeps all later arithmetic far from overflow.
pub(super) const SECONDS_MAX: i64 = 366 * 24 * 3600;

/// Milliseconds, or nothing when it is no duration (Go's `time.ParseDuration`, without fractions and signs).
pub(super) fn millis(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut rest = text;
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let factor = match rest.get(..letters)? {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        rest = rest.get(letters..)?;
        total = total.checked_add(number.checked_mul(factor)?)?;
    }
    (!text.is_empty() && total <= SECONDS_MAX * 1000).then_some(total)
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    millis(text).map(|ms| ms / 1000 + i64::from(ms % 1000 > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        for (text, expected) in [
            ("10s", Some(10)),
            ("1m", Some(60)),
            ("1m30s", Some(90)),
            ("2h", Some(7200)),
            ("500ms", Some(1)),
            ("1500ms", Some(2)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("", None),
            ("10", None),
            ("m", None),
            ("10mfoo", None),
            ("10m foo", None),
            ("-5s", None),
            ("1.5m", None),
            ("10d", None),
            ("99999999999999999999s", None),
            ("9999999999h", None),
            ("1m\u{e9}", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }
}
