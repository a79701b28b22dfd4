//! The output of containers: the latest lines of each, bounded, for `kubectl logs`.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::watch;

/// Bytes kept for each run of a container.
const RING_BYTES_MAX: usize = 256 * 1024;
/// Number of deleted pods whose logs are kept.
const RETIRED_MAX: usize = 32;
/// Bytes of the longest line; a longer one is split.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// The bytes of a log, line by line. With `follow` it ends when the container does, else after the last line.
pub type LogStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The options of the log subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    /// The log of the run before the current one.
    pub previous: bool,
    pub tail_lines: Option<usize>,
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub limit_bytes: Option<usize>,
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("container {container:?} in pod {pod:?} is waiting to start or does not exist")]
    NoContainer { pod: String, container: String },
    #[error("a container name must be specified for pod {pod}, choose one of: [{names}]")]
    Ambiguous { pod: String, names: String },
    #[error("previous terminated container {container:?} in pod {pod:?} not found")]
    NoPrevious { pod: String, container: String },
}

/// Reads the logs of containers.
pub trait Logs: Send + Sync {
    /// An empty `container` means the only container of the pod; it is an error if there are several.
    fn read(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: &LogOptions,
    ) -> Result<LogStream, LogError>;
}

#[derive(Clone)]
struct Line {
    number: u64,
    at: Timestamp,
    text: Bytes,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<Line>,
    bytes: usize,
    written: u64,
}

/// The log of one run of a container. Followers end when it is closed or its last writer is dropped.
pub(crate) struct Ring {
    lines: Mutex<Lines>,
    open: watch::Sender<bool>,
}

impl Ring {
    fn new() -> Self {
        Self { lines: Mutex::default(), open: watch::Sender::new(true) }
    }

    // The lines are consistent after every statement, so a panic elsewhere leaves them usable.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock()
    }

    /// Adds a line, which ends with a newline unless it was split.
    pub(crate) fn write(&self, text: Bytes, at: Timestamp) {
        {
            let mut lines = self.lines();
            lines.written += 1;
            lines.bytes += text.len();
            let number = lines.written;
            lines.kept.push_back(Line { number, at, text });
            while lines.bytes > RING_BYTES_MAX {
                let gone = lines.kept.pop_front().map_or(0, |line| line.text.len());
                lines.bytes -= gone;
            }
        }
        self.open.send_modify(|_| {});
    }

    /// Ends the log: followers get no more lines.
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    fn after(&self, number: u64) -> Vec<Line> {
        self.lines().kept.iter().filter(|line| line.number > number).cloned().collect()
    }
}

#[derive(Default)]
struct Runs {
    current: Option<Arc<Ring>>,
    previous: Option<Arc<Ring>>,
}

type Key = (String, String, String);

/// The logs of all containers of existing pods, and of the latest deleted ones.
#[derive(Clone, Default)]
pub(crate) struct LogStore {
    runs: Arc<Mutex<BTreeMap<Key, Runs>>>,
    retired: Arc<Mutex<VecDeque<(String, String)>>>,
}

impl LogStore {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<Key, Runs>> {
        self.runs.lock()
    }

    /// Starts an empty log for a new run.
    pub(crate) fn begin(&self, namespace: &str, pod: &str, container: &str) -> Arc<Ring> {
        let ring = Arc::new(Ring::new());
        let mut all = self.runs();
        let runs =
            all.entry((namespace.to_owned(), pod.to_owned(), container.to_owned())).or_default();
        runs.previous = runs.current.replace(Arc::clone(&ring));
        ring
    }

    /// Ends the followers of a pod's logs. The logs of the latest ended pods stay readable.
    pub(crate) fn retire(&self, namespace: &str, pod: &str) {
        let mut all = self.runs();
        for (_, runs) in all.iter().filter(|((held_namespace, held_pod, _), _)| {
            held_namespace == namespace && held_pod == pod
        }) {
            if let Some(ring) = &runs.current {
                ring.close();
            }
        }
        let mut retired = self.retired.lock();
        retired.push_back((namespace.to_owned(), pod.to_owned()));
        while retired.len() > RETIRED_MAX {
            let Some((namespace, pod)) = retired.pop_front() else { break };
            all.retain(|(held_namespace, held_pod, _), _| {
                *held_namespace != namespace || *held_pod != pod
            });
        }
    }

    fn find(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<Arc<Ring>, LogError> {
        let all = self.runs();
        let mut matching = all.iter().filter(|((held_namespace, held_pod, name), _)| {
            held_namespace == namespace
                && held_pod == pod
                && (container.is_empty() || name == container)
        });
        let missing =
            || LogError::NoContainer { pod: pod.to_owned(), container: container.to_owned() };
        let ((_, _, name), runs) = matching.next().ok_or_else(missing)?;
        let others: Vec<&str> = matching.map(|((_, _, name), _)| name.as_str()).collect();
        if !others.is_empty() {
            return Err(LogError::Ambiguous {
                pod: pod.to_owned(),
                names: format!("{name} {}", others.join(" ")),
            });
        }
        if previous {
            let missing = || LogError::NoPrevious { pod: pod.to_owned(), container: name.clone() };
            return runs.previous.clone().ok_or_else(missing);
        }
        runs.current.clone().ok_or_else(missing)
    }
}

impl Logs for LogStore {
    fn read(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: &LogOptions,
    ) -> Result<LogStream, LogError> {
        let ring = self.find(namespace, pod, container, options.previous)?;
        let mut first = ring.after(0);
        first.retain(|line| options.since.is_none_or(|since| line.at >= since));
        let seen = ring.lines().kept.back().map_or(0, |line| line.number);
        let seen = first.last().map_or(seen, |line| line.number);
        if let Some(tail) = options.tail_lines {
            first.drain(..first.len().saturating_sub(tail));
        }
        let timestamps = options.timestamps;
        let show = move |line: Line| {
            if timestamps {
                Bytes::from([format!("{} ", line.at).as_bytes(), &line.text].concat())
            } else {
                line.text
            }
        };
        let head = stream::iter(first);
        let lines: Pin<Box<dyn Stream<Item = Line> + Send>> =
            if options.follow { Box::pin(head.chain(follow(ring, seen))) } else { Box::pin(head) };
        let mut left = options.limit_bytes.unwrap_or(usize::MAX);
        Ok(Box::pin(lines.map(show).map(move |mut text| {
            text.truncate(left);
            left -= text.len();
            text
        })))
    }
}

fn follow(ring: Arc<Ring>, seen: u64) -> impl Stream<Item = Line> + Send {
    let changed = ring.open.subscribe();
    let batches = stream::unfold((ring, changed, seen), |(ring, mut changed, seen)| async move {
        loop {
            let open = *changed.borrow_and_update();
            let fresh = ring.after(seen);
            if let Some(last) = fresh.last() {
                let seen = last.number;
                return Some((stream::iter(fresh), (ring, changed, seen)));
            }
            if !open || changed.changed().await.is_err() {
                return None;
            }
        }
    });
    batches.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    async fn text(stream: LogStream) -> String {
        let all: Vec<Bytes> = stream.collect().await;
        String::from_utf8(all.concat()).unwrap()
    }

    #[tokio::test]
    async fn reads_what_was_written() {
        let store = LogStore::default();
        let ring = store.begin("ns", "pod", "main");
        for line in ["a\n", "b\n", "c\n"] {
            ring.write(Bytes::from(line), at());
        }
        let read = |options: LogOptions| store.read("ns", "pod", "", &options).map(text);
        assert_eq!(read(LogOptions::default()).unwrap().await, "a\nb\nc\n");
        assert_eq!(
            read(LogOptions { tail_lines: Some(2), ..LogOptions::default() }).unwrap().await,
            "b\nc\n"
        );
        assert_eq!(
            read(LogOptions { limit_bytes: Some(3), ..LogOptions::default() }).unwrap().await,
            "a\nb"
        );
        assert_eq!(
            read(LogOptions { tail_lines: Some(1), timestamps: true, ..LogOptions::default() })
                .unwrap()
                .await,
            "2026-01-01T00:00:00Z c\n"
        );
        assert!(read(LogOptions { previous: true, ..LogOptions::default() }).is_err());
        store.begin("ns", "pod", "main");
        assert_eq!(
            read(LogOptions { previous: true, ..LogOptions::default() }).unwrap().await,
            "a\nb\nc\n"
        );
        assert!(store.read("ns", "other", "", &LogOptions::default()).is_err());
    }

    #[tokio::test]
    async fn followers_see_the_end() {
        let store = LogStore::default();
        let ring = store.begin("ns", "pod", "main");
        ring.write(Bytes::from("a\n"), at());
        let followed = store
            .read("ns", "pod", "main", &LogOptions { follow: true, ..LogOptions::default() })
            .unwrap();
        let reader = tokio::spawn(text(followed));
        tokio::task::yield_now().await;
        ring.write(Bytes::from("b\n"), at());
        store.retire("ns", "pod");
        assert_eq!(reader.await.unwrap(), "a\nb\n");
    }

    #[test]
    fn old_lines_make_room() {
        let ring = Ring::new();
        for _ in 0..100 {
            ring.write(Bytes::from(vec![b'x'; LINE_BYTES_MAX]), at());
        }
        let lines = ring.lines();
        assert!(
            lines.bytes <= RING_BYTES_MAX && lines.kept.len() == RING_BYTES_MAX / LINE_BYTES_MAX
        );
    }
}
