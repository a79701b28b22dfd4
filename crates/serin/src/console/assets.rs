//! The pages and what they load: part of the program, as they stand in its sources.

/// A file of the console.
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($path:literal, $kind:expr, $file:literal) => {
        Asset { path: $path, kind: $kind, text: include_str!(concat!("assets/", $file)) }
    };
}

pub(super) const ASSETS: &[Asset] = &[
    asset!("/", HTML, "fleet.html"),
    asset!("/release", HTML, "release.html"),
    asset!("/serin.css", "text/css; charset=utf-8", "serin.css"),
    asset!("/theme.js", SCRIPT, "theme.js"),
    asset!("/ui.js", SCRIPT, "ui.js"),
    asset!("/chart.js", SCRIPT, "chart.js"),
    asset!("/fleet.js", SCRIPT, "fleet.js"),
    asset!("/release.js", SCRIPT, "release.js"),
];

pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
