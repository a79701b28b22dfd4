//! Lines of a text exposition, and series however they were read.

/// Labels of a series that are looked at: no gateway writes as many.
const LABELS_MAX: usize = 40;

/// A series, whatever brought it: a line of a page or an answer in JSON.
pub(super) struct Series<'a> {
    pub name: &'a str,
    labels: [(&'a str, &'a str); LABELS_MAX],
    count: usize,
}

impl<'a> Series<'a> {
    pub(super) fn new(name: &'a str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut series = Self { name, labels: [("", ""); LABELS_MAX], count: 0 };
        for (place, label) in series.labels.iter_mut().zip(labels) {
            *place = label;
            series.count += 1;
        }
        series
    }

    /// The value of a label; empty is the same as absent.
    pub(super) fn label(&self, name: &str) -> &'a str {
        let labels = self.labels.iter().take(self.count);
        labels.into_iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value)
    }
}

/// `name{labels} value [time]`.
pub(super) struct Sample<'a> {
    pub name: &'a str,
    labels: &'a str,
    pub value: f64,
}

impl<'a> Sample<'a> {
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let (name, labels, rest) = match line.split_once('{') {
            Some((name, rest)) => {
                let end = closing(rest)?;
                (name, &rest[..end], &rest[end + 1..])
            }
            None => {
                let (name, rest) = line.split_once(' ')?;
                (name, "", rest)
            }
        };
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.trim(), labels, value })
    }

    pub(super) fn series(&self) -> Series<'a> {
        Series::new(self.name, Labels(self.labels))
    }
}

/// Where the labels end: at the first brace outside quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Names and values; values that need unescaping are none of ours and come as they are.
struct Labels<'a>(&'a str);

impl<'a> Iterator for Labels<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_start_matches([',', ' ']);
        let (name, rest) = text.split_once("=\"")?;
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        self.0 = &rest[end + 1..];
        Some((name.trim(), &rest[..end]))
    }
}
