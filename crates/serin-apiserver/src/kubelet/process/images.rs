//! A table of image patterns that gives the command of an image.

/// Commands for images; the first pattern that matches wins.
#[derive(Clone, Debug, Default)]
pub struct Images(Vec<(String, Vec<String>)>);

/// The parts of an image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reference<'a> {
    /// The last segment of the repository: `podinfo` of `ghcr.io/stefanprodan/podinfo:6`.
    name: &'a str,
    tag: &'a str,
}

impl Images {
    /// `entries` are patterns, in which `*` matches any text, with commands, in which `{image}`, `{name}` and `{tag}` are replaced.
    pub fn new(entries: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// The command for an image.
    pub fn command(&self, image: &str) -> Option<Vec<String>> {
        let Reference { name, tag } = Reference::of(image);
        let (_, command) = self.0.iter().find(|(pattern, _)| matches(pattern, image))?;
        Some(
            command
                .iter()
                .map(|word| {
                    word.replace("{image}", image).replace("{name}", name).replace("{tag}", tag)
                })
                .collect(),
        )
    }
}

impl<'a> Reference<'a> {
    fn of(image: &'a str) -> Self {
        let plain = image.split_once('@').map_or(image, |(plain, _)| plain);
        let path = plain.rsplit_once('/').map_or(plain, |(_, last)| last);
        let (name, tag) = path.split_once(':').unwrap_or((path, "latest"));
        Self { name, tag }
    }
}

/// The tag of an image, `latest` if it has none.
pub(crate) fn tag(image: &str) -> &str {
    Reference::of(image).tag
}

fn matches(pattern: &str, image: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = image.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("app:1", "app:1", true),
            ("app:1", "app:2", false),
            ("app:*", "app:2", true),
            ("*/app:*", "ghcr.io/x/app:2", true),
            ("*/app:*", "app:2", false),
            ("*", "anything", true),
            ("a*a", "a", false),
            ("*app*", "my-app:1", true),
        ];
        for (pattern, image, expected) in table {
            assert_eq!(matches(pattern, image), expected, "{pattern} {image}");
        }
    }

    #[test]
    fn placeholders() {
        let images = Images::new([(
            "*podinfo:*".to_owned(),
            vec!["demo".to_owned(), "--version={tag}".to_owned(), "{name}".to_owned()],
        )]);
        assert_eq!(
            images.command("ghcr.io:443/s/podinfo:6.0.1@sha256:ab"),
            Some(vec!["demo".to_owned(), "--version=6.0.1".to_owned(), "podinfo".to_owned()])
        );
        assert_eq!(images.command("nginx"), None);
        assert_eq!(tag("localhost:5000/app"), "latest");
    }
}
