//! The arithmetic of rolling updates: the next size of each ReplicaSet.

use serde_json::Value;

use crate::json_pointer::At;

/// How many pods a rollout may have above and be missing below the number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub surge: i64,
    pub unavailable: i64,
}

/// The size of a ReplicaSet, in pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// `spec.replicas`.
    pub wanted: i64,
    pub available: i64,
}

impl Size {
    /// Available pods that will stay: those above `wanted` are about to be deleted.
    fn counted(self) -> i64 {
        self.available.min(self.wanted)
    }
}

/// The next sizes: of the new ReplicaSet, and of the old ones in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    pub new: i64,
    pub old: Vec<i64>,
}

impl Limits {
    /// Reads `maxSurge` and `maxUnavailable`. Surge percentages round up, unavailable ones down. If both are 0, one pod may be unavailable, because the rollout could not progress otherwise.
    pub fn of(replicas: i64, strategy: &Value) -> Self {
        let surge = portion(strategy.at("/rollingUpdate/maxSurge"), replicas, true);
        let unavailable = portion(strategy.at("/rollingUpdate/maxUnavailable"), replicas, false);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { surge, unavailable: unavailable.min(replicas) }
    }
}

/// A count or a percentage of `replicas`; absent means 25 %.
pub(crate) fn portion(value: Option<&Value>, replicas: i64, round_up: bool) -> i64 {
    let percent = |percent: i64| {
        let hundredths = replicas.saturating_mul(percent);
        if round_up { hundredths.saturating_add(99) / 100 } else { hundredths / 100 }
    };
    match value {
        Some(Value::Number(count)) => count.as_i64().unwrap_or(0).max(0),
        Some(Value::String(text)) => {
            match text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()) {
                Some(share) => percent(share.max(0)),
                None => text.parse::<i64>().unwrap_or(0).max(0),
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => {
            percent(25)
        }
    }
}

/// One step of a rolling update; `old` is oldest first.
pub fn rolling(replicas: i64, limits: Limits, new: Size, old: &[Size]) -> Next {
    let old_wanted: i64 = old.iter().map(|set| set.wanted).sum();
    let room = (replicas + limits.surge - old_wanted - new.wanted).max(0);
    let grown = if new.wanted >= replicas {
        replicas
    } else {
        new.wanted + room.min(replicas - new.wanted)
    };
    let floor = replicas - limits.unavailable;
    let fresh = Size { wanted: grown, available: new.available };
    let mut spare = (old_wanted + grown - floor - (grown - fresh.counted())).max(0);
    let mut sizes: Vec<i64> = old.iter().map(|set| set.wanted).collect();
    // Pods that are not available go first.
    for (size, set) in sizes.iter_mut().zip(old) {
        let gone = (set.wanted - set.counted()).min(spare).max(0);
        *size -= gone;
        spare -= gone;
    }
    let available = fresh.counted() + old.iter().map(|set| set.counted()).sum::<i64>();
    let mut surplus = (available - floor).max(0);
    for (size, set) in sizes.iter_mut().zip(old) {
        let gone = surplus.min(set.counted()).min(*size);
        *size -= gone;
        surplus -= gone;
    }
    Next { new: grown, old: sizes }
}

/// Distributes `total` over ReplicaSets in proportion to their sizes; the remainder of rounding goes to the largest.
pub fn proportional(total: i64, sizes: &[i64]) -> Vec<i64> {
    let sum: i64 = sizes.iter().sum();
    if sum == 0 {
        return sizes.to_vec();
    }
    let mut shares: Vec<i64> = sizes.iter().map(|size| size * total / sum).collect();
    let rest = total - shares.iter().sum::<i64>();
    let largest = sizes.iter().enumerate().max_by_key(|(_, size)| **size).map(|(at, _)| at);
    if let Some(share) = largest.and_then(|at| shares.get_mut(at)) {
        *share += rest;
    }
    shares
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_round_towards_safety() {
        let table = [
            (10, json!({}), 3, 2),
            (1, json!({}), 1, 0),
            (4, json!({"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}), 2, 0),
            (3, json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), 0, 1),
            (3, json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}), 0, 1),
            (2, json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 5}}), 1, 2),
            (0, json!({}), 0, 0),
        ];
        for (replicas, strategy, surge, unavailable) in table {
            assert_eq!(
                Limits::of(replicas, &strategy),
                Limits { surge, unavailable },
                "{replicas} {strategy}"
            );
        }
    }

    fn size(wanted: i64, available: i64) -> Size {
        Size { wanted, available }
    }

    #[test]
    fn rolling_steps() {
        let limits = |surge, unavailable| Limits { surge, unavailable };
        let table = [
            // First start.
            (3, limits(1, 0), size(0, 0), vec![], 3, vec![]),
            // One surplus pod comes first, then one old goes.
            (3, limits(1, 0), size(0, 0), vec![size(3, 3)], 1, vec![3]),
            (3, limits(1, 0), size(1, 0), vec![size(3, 3)], 1, vec![3]),
            (3, limits(1, 0), size(1, 1), vec![size(3, 3)], 1, vec![2]),
            // With unavailability allowed, an old one goes at once.
            (3, limits(0, 1), size(0, 0), vec![size(3, 3)], 0, vec![2]),
            (3, limits(0, 1), size(0, 0), vec![size(2, 2)], 1, vec![2]),
            // A broken old version is cleared first.
            (3, limits(1, 0), size(1, 1), vec![size(3, 0)], 1, vec![2]),
            // Scaling down.
            (0, limits(0, 0), size(3, 3), vec![], 0, vec![]),
            (1, limits(1, 0), size(3, 3), vec![], 1, vec![]),
        ];
        for (replicas, limits, new, old, next_new, next_old) in table {
            assert_eq!(
                rolling(replicas, limits, new, &old),
                Next { new: next_new, old: next_old },
                "{replicas} {limits:?} {new:?} {old:?}"
            );
        }
    }

    #[test]
    fn shares_keep_the_total() {
        assert_eq!(proportional(12, &[5, 3]), vec![8, 4]);
        assert_eq!(proportional(0, &[5, 3]), vec![0, 0]);
        assert_eq!(proportional(7, &[0, 0]), vec![0, 0]);
    }

    proptest::proptest! {
        #[test]
        fn a_step_keeps_both_limits(
            replicas in 0i64..20, surge in 0i64..6, unavailable in 0i64..6, new in (0i64..20, 0i64..20),
            old in proptest::collection::vec((0i64..10, 0i64..10), 0..4),
        ) {
            let limits = Limits { surge, unavailable: unavailable.min(replicas) };
            let old: Vec<Size> = old.iter().map(|(wanted, available)| size(*wanted, *available.min(wanted))).collect();
            let new = size(new.0, new.1.min(new.0));
            let next = rolling(replicas, limits, new, &old);
            let before: i64 = new.wanted + old.iter().map(|set| set.wanted).sum::<i64>();
            let after: i64 = next.new + next.old.iter().sum::<i64>();
            proptest::prop_assert!(after <= before.max(replicas + surge));
            let available: i64 = new.available + old.iter().map(|set| set.available).sum::<i64>();
            // The worst case for availability: the ReplicaSet deletes available pods last.
            let kept: i64 = new.available.min(next.new) + old.iter().zip(&next.old).map(|(set, size)| set.available.min(*size)).sum::<i64>();
            proptest::prop_assert!(kept >= available.min(replicas - limits.unavailable), "{next:?}");
        }
    }
}
