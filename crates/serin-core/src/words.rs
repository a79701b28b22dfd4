//! How things are said: shares and times, the same everywhere, and what others have written, on one line.

pub use serin_judge::words::{About, Percent};

/// The longest sentence of another client that is repeated, in bytes.
pub const SENTENCE_MAX: usize = 1024;
/// The longest name that somebody may give to a metric, a hook or an alert, in bytes: that of an object.
pub const NAME_MAX: usize = 253;

/// Text from outside, as it may stand in a status, an Event, a log or a terminal: one line of bounded length, without
/// characters that command a terminal, turn the writing direction or cannot be seen. Every edge at which text comes in
/// calls this and nothing else; what it returns it leaves alone.
pub fn line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut gap = false;
    for sign in text.chars() {
        match legible(sign) {
            Some(sign) => {
                let space = if gap && !line.is_empty() { " " } else { "" };
                if line.len() + space.len() + sign.len_utf8() > max {
                    return cut(line, max);
                }
                line.push_str(space);
                line.push(sign);
                gap = false;
            }
            None => gap = true,
        }
    }
    line
}

/// Nothing for what only commands or separates.
fn legible(sign: char) -> Option<char> {
    match sign {
        // Spaces stay as many as they are; tabs and line ends of all kinds are one.
        ' ' => Some(sign),
        _ if sign.is_control() || sign.is_whitespace() => None,
        // Bidi marks, embeddings, overrides and isolates; what has no width; tags.
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => None,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => None,
        '\u{e0000}'..='\u{e007f}' => None,
        _ => Some(sign),
    }
}

fn cut(mut line: String, max: usize) -> String {
    const MARK: &str = "…";
    while line.len() + MARK.len() > max {
        if line.pop().is_none() {
            return line;
        }
    }
    line.push_str(MARK);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_one_harmless_line() {
        for (text, shown) in [
            ("plain text, with  two spaces", "plain text, with  two spaces"),
            ("red \u{1b}[31malert\u{1b}[0m", "red  [31malert [0m"),
            ("one\r\ntwo\n", "one two"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", "a b c d"),
            ("\u{85}\u{9b}31m\u{2028}x\u{7f}", "31m x"),
            ("größer als 5 μs", "größer als 5 μs"),
            ("\u{e0041}\u{0}", ""),
        ] {
            assert_eq!(line(text, 100), shown, "{text:?}");
        }
        assert_eq!(line("ääääää", 8), "ää…");
        assert_eq!(line("12345678", 8), "12345678");
        assert_eq!(line("123456789", 2), "");
    }

    proptest::proptest! {
        #[test]
        fn a_line_is_bounded_and_stays_as_it_is(text in "\\PC*|[\u{0}-\u{ff}\u{200b}-\u{206f}]*", max in 3_usize..200) {
            let once = line(&text, max);
            proptest::prop_assert!(once.len() <= max);
            proptest::prop_assert!(!once.chars().any(char::is_control));
            proptest::prop_assert_eq!(line(&once, max), once);
        }
    }
}
