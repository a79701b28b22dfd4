//! Checksums of ConfigMaps and Secrets as a status keeps them, and how older ones are held against those of now.

use std::collections::BTreeMap;

use crate::model::Status;

/// Between Flagger's checksum of `data` and ours of `binaryData`, which Flagger does not look at.
const SEPARATOR: char = '.';

/// The checksum of a ConfigMap that has `binaryData`.
pub fn with_binary(data: &str, binary: &str) -> String {
    format!("{data}{SEPARATOR}{binary}")
}

/// A checksum that was kept before `binaryData` was looked at stands for the config as it is found now, if the rest of it is
/// the same: that more is compared after an upgrade is no change of what the user deploys.
pub fn recognise(status: &mut Status, now: &BTreeMap<String, String>) {
    let kept = [&mut status.tracked_configs, &mut status.promoted_configs].into_iter().flatten();
    for (key, sum) in kept.flatten() {
        let found = now.get(key).and_then(|found| Some((found, found.split_once(SEPARATOR)?)));
        if let Some((found, (data, _))) = found
            && data == sum
        {
            sum.clone_from(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(sum: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("configmap/keys".to_owned(), sum.to_owned())])
    }

    #[test]
    fn a_checksum_of_data_alone_stands_for_the_config_as_it_is_found() {
        let now = configs("aa.bb");
        for (kept, then) in [("aa", "aa.bb"), ("aa.bb", "aa.bb"), ("aa.cc", "aa.cc"), ("xx", "xx")]
        {
            let mut status = Status {
                tracked_configs: Some(configs(kept)),
                promoted_configs: Some(configs(kept)),
                ..Status::default()
            };
            recognise(&mut status, &now);
            assert_eq!(status.tracked_configs, Some(configs(then)), "{kept}");
            assert_eq!(status.promoted_configs, status.tracked_configs);
        }
        let mut status = Status { tracked_configs: Some(configs("aa.bb")), ..Status::default() };
        recognise(&mut status, &configs("aa"));
        assert_eq!(
            status.tracked_configs,
            Some(configs("aa.bb")),
            "binaryData that goes is a change"
        );
    }
}
