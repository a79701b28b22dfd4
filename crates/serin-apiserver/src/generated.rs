//! Generated names: a prefix, with room for the random suffix.

/// The longest prefix: with five random characters the name fits into a label of 63.
const HEAD_MAX: usize = 58;

/// The part of a prefix that fits into a generated name.
pub(crate) fn head(prefix: &str) -> &str {
    let end = (0..=HEAD_MAX.min(prefix.len())).rev().find(|end| prefix.is_char_boundary(*end));
    prefix.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_name_fits_into_a_label() {
        assert_eq!(head("web-5d8f7-"), "web-5d8f7-");
        assert_eq!(head(&"a".repeat(200)).len(), 58);
        assert_eq!(head(&"ä".repeat(40)).len(), 58);
        assert_eq!(head(""), "");
    }
}
