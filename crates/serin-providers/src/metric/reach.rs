//! How far back a PromQL query looks: its ranges, its subqueries and what shifts them, read without knowing its functions.

/// Longer than this is a mistake, or a comparison with another year.
const SECS_MAX: i64 = 366 * 24 * 3600;

/// Seconds that the query looks back; none where it has no range of its own and asks for the present.
///
/// A subquery looks back from where its inner range ends, so all of them are added. What every range is shifted by (`offset`)
/// is a lag; where only some are, they are a comparison with the past, of which nobody expects that it is about the present.
pub fn reach_secs(query: &str) -> Option<i64> {
    let (mut ranges, mut deeper) = (Vec::new(), 0_i64);
    let mut rest = Text(query);
    while let Some(c) = rest.next() {
        if c != '[' {
            continue;
        }
        let inner = rest.until(']')?;
        let (range, is_subquery) = match inner.split_once(':') {
            Some((range, _)) => (range, true),
            None => (inner, false),
        };
        let Some(millis) = millis(range) else { continue };
        let shift = rest.offset();
        if is_subquery {
            deeper = deeper.saturating_add(millis).saturating_add(shift.max(0));
        } else {
            ranges.push((millis, shift));
        }
    }
    let lag = ranges.iter().map(|(_, shift)| *shift).min().unwrap_or(0).max(0);
    let current = ranges.iter().filter(|(_, shift)| *shift <= lag);
    let longest = current.map(|(range, _)| *range).max().unwrap_or(0);
    let all = longest.saturating_add(lag).saturating_add(deeper);
    (all > 0).then(|| (all / 1000 + i64::from(all % 1000 > 0)).min(SECS_MAX))
}

/// What is left of a query, without its quoted texts and comments.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// The next character that means something.
    fn next(&mut self) -> Option<char> {
        let c = self.0.chars().next()?;
        self.0 = &self.0[c.len_utf8()..];
        match c {
            '"' | '\'' | '`' => self.skip_quoted(c),
            '#' => self.0 = self.0.split_once('\n').map_or("", |(_, rest)| rest),
            _ => {}
        }
        Some(c)
    }

    fn skip_quoted(&mut self, quote: char) {
        let mut escaped = false;
        for (at, c) in self.0.char_indices() {
            if !escaped && c == quote {
                self.0 = &self.0[at + c.len_utf8()..];
                return;
            }
            escaped = quote != '`' && c == '\\' && !escaped;
        }
        self.0 = "";
    }

    fn until(&mut self, end: char) -> Option<&'a str> {
        let (before, after) = self.0.split_once(end)?;
        self.0 = after;
        Some(before)
    }

    /// What follows a range: `offset 5m`, in milliseconds.
    fn offset(&self) -> i64 {
        let words = self.0.trim_start().strip_prefix("offset");
        let shift = words.map(str::trim_start).unwrap_or_default();
        let end = shift.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(shift.len());
        millis(&shift[..end]).unwrap_or(0)
    }
}

/// A duration as PromQL writes it, `1h30m` or a number of seconds, in milliseconds.
fn millis(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(secs) = text.parse::<u32>() {
        return Some(i64::from(secs) * 1000);
    }
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match rest.get(..letters)? {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        rest = rest.get(letters..)?;
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_look_back_counts() {
        for (query, secs) in [
            ("up", None),
            ("", None),
            ("sum(rate(a{x=\"b\"}[30s]))", Some(30)),
            ("sum(rate(a[1m])) / sum(rate(b[5m]))", Some(300)),
            ("rate(a[1h30m])", Some(5400)),
            ("rate(a[90])", Some(90)),
            ("rate(a[1500ms])", Some(2)),
            ("max_over_time(rate(a[1m])[5m:30s])", Some(360)),
            ("max_over_time(a[5m:])", Some(300)),
            // A lag.
            ("rate(a[1m] offset 30s)", Some(90)),
            ("rate(a[1m] offset 30s) / rate(b[2m] offset 30s)", Some(150)),
            // A comparison with last week.
            ("rate(a[1m]) / rate(a[1m] offset 1w)", Some(60)),
            // What is no range.
            ("a{x=\"[5m]\"}", None),
            ("a{x=~'[a-z\\'[9m]+'}", None),
            ("a{x=~`[a-z]+\\`} + rate(b[1m])", Some(60)),
            ("a # rate(b[5m])\n + rate(c[1m])", Some(60)),
            ("rate(a[$window])", None),
            ("rate(a[5m", None),
            ("rate(\u{e9}[99999999999y])", None),
            ("rate(a[1y])", Some(31_536_000)),
            ("rate(a[9000y])", Some(SECS_MAX)),
        ] {
            assert_eq!(reach_secs(query), secs, "{query}");
        }
    }

    #[test]
    fn any_text_is_read_to_its_end() {
        proptest::proptest!(|(text in ".{0,80}")| { reach_secs(&text); });
        proptest::proptest!(|(text in r#"[\[\]"'`\\# a0-9smhd:]{0,40}"#)| { reach_secs(&text); });
    }
}
