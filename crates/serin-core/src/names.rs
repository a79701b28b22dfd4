//! Names made from names: Flagger's where they fit, else cut, with a hash that tells apart what the cut made alike.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

pub use crate::words::NAME_MAX as OBJECT_MAX;

/// Names of Services, and values of labels.
pub const LABEL_MAX: usize = 63;

/// A ReplicaSet is called after its Deployment, with a dash and a hash of ten characters behind it, and has to fit as well.
pub const DEPLOYMENT_MAX: usize = OBJECT_MAX - 11;

/// Bytes of the hash: among a million names that are cut, the odds that any two are alike are below one in two millions.
const HASH_BYTES: usize = 5;

/// `base` with `suffix` behind it: as it is where that has at most `max` characters, else with a hash of all of `base` in
/// the place of its end. The suffix stays, so that people see what it is.
pub fn derived(base: &str, suffix: &str, max: usize) -> String {
    let whole = format!("{base}{suffix}");
    if whole.len() <= max {
        return whole;
    }
    let tail = format!("-{}{suffix}", hash(base));
    let mut head = String::new();
    for sign in base.chars() {
        if head.len() + sign.len_utf8() + tail.len() > max {
            break;
        }
        head.push(sign);
    }
    format!("{}{tail}", head.trim_end_matches(['-', '.', '_']))
}

pub(crate) fn hash(base: &str) -> String {
    let digest = Sha256::digest(base.as_bytes());
    digest.iter().take(HASH_BYTES).fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_is_as_flagger_has_it() {
        assert_eq!(derived("backend", "-primary", LABEL_MAX), "backend-primary");
        let longest = "a".repeat(55);
        assert_eq!(derived(&longest, "-primary", LABEL_MAX), format!("{longest}-primary"));
        assert_eq!(derived(&longest, "-canary", LABEL_MAX), format!("{longest}-canary"));
    }

    #[test]
    fn what_does_not_fit_keeps_its_beginning_and_its_end() {
        let name = format!("{}-service", "checkout".repeat(6));
        assert_eq!(
            derived(&name, "-primary", LABEL_MAX),
            "checkoutcheckoutcheckoutcheckoutcheckoutchec-77fe34880a-primary"
        );
        let dashed = format!("{}-----------", "a".repeat(52));
        assert_eq!(derived(&dashed, "-primary", LABEL_MAX).len(), 63);
        let cut = format!("{}.{}", "a".repeat(43), "b".repeat(19));
        let found = derived(&cut, "-primary", LABEL_MAX);
        assert!(found.starts_with(&format!("{}-", "a".repeat(43))), "{found}");
    }

    proptest! {
        #[test]
        fn derived_names_are_legal_and_tell_their_bases_apart(
            bases in prop::collection::btree_set("[a-z][a-z0-9.-]{0,61}[a-z0-9]|[a-z]{40}[a-z.-]{22}[a-c]", 2..40),
            suffix in prop::sample::select(vec!["-primary", "-canary"]),
        ) {
            let mut made = BTreeMap::new();
            for base in &bases {
                let name = derived(base, suffix, LABEL_MAX);
                prop_assert!(name.len() <= LABEL_MAX);
                prop_assert!(name.ends_with(suffix));
                prop_assert!(!name.contains(".-primary") || base.contains(".-"));
                prop_assert_eq!(made.insert(name, base), None);
            }
        }
    }
}
