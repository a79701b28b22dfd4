//! Hears what is logged on the thread of a test.

use std::io::{Result, Write};
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Hears as long as it lives.
pub(crate) struct LogCapture {
    log: Log,
    _logs: DefaultGuard,
    /// As long as there is only one, `tracing` asks the thread of whoever logs first whether anybody listens, and tests
    /// run on many.
    _other: Dispatch,
}

impl LogCapture {
    pub(crate) fn open() -> Self {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let other = Dispatch::new(tracing_subscriber::registry());
        Self { log, _other: other, _logs: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }
}
