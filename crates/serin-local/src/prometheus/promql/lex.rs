//! From the text of a query to its words, each with its place.

use super::Error;

/// Longer queries are not written by anybody, and the parser's work grows with them.
pub(super) const QUERY_MAX: usize = 32 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    Text(String),
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "==", "!=", "=~", "!~", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "^", "(", ")", "{",
    "}", "[", "]", ",", "@",
];

/// Units with their milliseconds, longest first, which is the order in which they may be combined.
const UNITS: &[(&str, i64)] = &[
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The error at a byte of the text.
pub(super) fn error(query: &str, at: usize, message: impl Into<String>) -> Error {
    let before = query.get(..at).unwrap_or(query);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Error::Parse { line, column, message: message.into() }
}

pub(super) fn lex(query: &str) -> Result<Vec<(usize, Token)>, Error> {
    if query.len() > QUERY_MAX {
        return Err(error(query, 0, format!("the query is longer than {QUERY_MAX} bytes")));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut in_brackets = false;
    while let Some(rest) = query.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or('\0');
        if matches!(first, ' ' | '\t' | '\n' | '\r') {
            at += 1;
        } else if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if in_brackets && first == ':' {
            tokens.push((at, Token::Sign(":")));
            at += 1;
        } else if first.is_ascii_digit() || number_after_dot(rest) {
            let (token, length) = number(rest).map_err(|why| error(query, at, why))?;
            tokens.push((at, token));
            at += length;
        } else if first.is_ascii_alphabetic() || matches!(first, '_' | ':') {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
                .unwrap_or(rest.len());
            let word = rest.get(..end).unwrap_or_default();
            tokens.push((at, special_number(word).unwrap_or_else(|| Token::Word(word.to_owned()))));
            at += end;
        } else if matches!(first, '"' | '\'' | '`') {
            let (text, length) = quoted(rest, first).map_err(|why| error(query, at, why))?;
            tokens.push((at, Token::Text(text)));
            at += length;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            match *sign {
                "[" => in_brackets = true,
                "]" => in_brackets = false,
                _ => {}
            }
            tokens.push((at, Token::Sign(sign)));
            at += sign.len();
        } else {
            return Err(error(query, at, format!("unexpected character: {first:?}")));
        }
    }
    tokens.push((query.len(), Token::End));
    Ok(tokens)
}

fn number_after_dot(rest: &str) -> bool {
    rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn special_number(word: &str) -> Option<Token> {
    match word.to_ascii_lowercase().as_str() {
        "inf" => Some(Token::Number(f64::INFINITY)),
        "nan" => Some(Token::Number(f64::NAN)),
        _ => None,
    }
}

/// A number, or a duration such as `1h30m`.
fn number(rest: &str) -> Result<(Token, usize), String> {
    if let Some(digits) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let followed = digits[end..].starts_with(|c: char| c.is_ascii_alphanumeric());
        let value = u64::from_str_radix(&digits[..end], 16)
            .ok()
            .and_then(|value| i64::try_from(value).ok())
            .filter(|_| !followed)
            .ok_or("bad number or duration syntax")?;
        #[expect(clippy::cast_precision_loss, reason = "as in Prometheus")]
        return Ok((Token::Number(value as f64), 2 + end));
    }
    let word = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .map_or(rest, |end| &rest[..end]);
    if let Some(millis) = duration(word) {
        return Ok((Token::Duration(millis), word.len()));
    }
    // A sign may follow the `e` of an exponent.
    let signed = word.ends_with(['e', 'E'])
        && rest[word.len()..].starts_with(['+', '-'])
        && rest[word.len() + 1..].starts_with(|c: char| c.is_ascii_digit());
    let text = if signed {
        let tail = &rest[word.len() + 1..];
        let digits = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
        &rest[..word.len() + 1 + digits]
    } else {
        word
    };
    let octal = text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    if octal && let Ok(value) = i64::from_str_radix(text, 8) {
        #[expect(clippy::cast_precision_loss, reason = "as in Prometheus")]
        return Ok((Token::Number(value as f64), text.len()));
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match text.parse::<f64>() {
        Ok(value) if plain && value.is_finite() => Ok((Token::Number(value), text.len())),
        Ok(_) | Err(_) => Err("bad number or duration syntax".to_owned()),
    }
}

/// Milliseconds of `5m`, `1h30m`, `250ms`: each unit at most once, the longest first.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let count: i64 = rest.get(..end)?.parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - end);
        let unit = rest.get(end..end + unit_end)?;
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(count.checked_mul(*millis)?)?;
        rest = rest.get(end + unit_end..)?;
    }
    (!text.is_empty() && total < 1 << 53).then_some(total)
}

fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((out, at + 1)),
            '\\' if quote != '`' => {
                let (_, escaped) = chars.next().ok_or("escape sequence not terminated")?;
                out.push(escape(escaped, quote, &mut chars)?);
            }
            '\n' if quote != '`' => break,
            other => out.push(other),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn escape(
    escaped: char,
    quote: char,
    chars: &mut impl Iterator<Item = (usize, char)>,
) -> Result<char, String> {
    let mut code = |digits: usize, radix: u32, first: Option<char>| {
        let mut text: String = first.into_iter().collect();
        text.extend(chars.take(digits - text.len()).map(|(_, c)| c));
        u32::from_str_radix(&text, radix)
            .ok()
            .filter(|_| text.len() == digits)
            .and_then(char::from_u32)
            .ok_or_else(|| "invalid escape sequence".to_owned())
    };
    match escaped {
        'a' => Ok('\u{7}'),
        'b' => Ok('\u{8}'),
        'f' => Ok('\u{c}'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\u{b}'),
        '\\' => Ok('\\'),
        c if c == quote => Ok(c),
        'x' => code(2, 16, None),
        'u' => code(4, 16, None),
        'U' => code(8, 16, None),
        '0'..='7' => code(3, 8, Some(escaped)),
        other => Err(format!("unknown escape sequence {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_prometheus() {
        for (text, millis) in [
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("1y2w", Some(31_536_000_000 + 1_209_600_000)),
            ("1m1h", None),
            ("1m1m", None),
            ("1.5m", None),
            ("m", None),
            ("5", None),
            ("", None),
            ("99999999999999999999y", None),
            ("9999999999y", None),
        ] {
            assert_eq!(duration(text), millis, "{text}");
        }
    }

    #[test]
    fn words_have_places() {
        let tokens = lex("rate(a:b_total{x!~\"\\\"y\\x41\"}[1m:5s]) > 1e-3 # why\n").unwrap();
        let shown: Vec<String> =
            tokens.iter().map(|(at, token)| format!("{at} {token:?}")).collect();
        assert_eq!(shown.len(), 17, "{shown:#?}");
        assert_eq!(tokens[6].1, Token::Text("\"yA".into()));
        assert_eq!(tokens[15].1, Token::Number(0.001));
        assert!(matches!(lex("a\n  $"), Err(Error::Parse { line: 2, column: 3, .. })));
    }
}
