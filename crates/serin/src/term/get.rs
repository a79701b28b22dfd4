//! `serin get`: Canaries as a table, or as documents for machines.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use serde::Serialize;
use serin_core::words::About;
use serin_providers::change::CANARY;

use super::Terminal;
use crate::cache;
use crate::console::read_images;
use crate::kubeconfig::ClusterArgs;
use crate::view::fleet::{Row, row};
use crate::view::{Track, VERSION};

/// Workloads that are read at once for their versions.
const READS_AT_ONCE: usize = 8;
/// Objects of one page of the list.
const PAGE: u32 = 100;

/// Flags of `serin get`.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// Only these; without names all of the namespace.
    canaries: Vec<String>,
    /// Namespace; without it that of the kubeconfig's context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "canaries"])]
    all_namespaces: bool,
    /// More columns, or documents for machines.
    #[arg(short, long)]
    output: Option<Output>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Wide,
    Json,
    Yaml,
    Name,
}

/// The document of `-o json` and `-o yaml`.
#[derive(Debug, Serialize)]
struct List<'a> {
    version: u32,
    canaries: &'a [Row],
}

/// What `serin get` prints.
pub async fn get(args: &GetArgs) -> anyhow::Result<String> {
    let (client, default) = args.cluster.client().await?;
    let namespace = match args.all_namespaces {
        true => None,
        false => Some(args.namespace.clone().filter(|asked| !asked.is_empty()).unwrap_or(default)),
    };
    let objects = read(&client, namespace.as_deref(), &args.canaries).await?;
    let now = Timestamp::now();
    let values = objects.iter().filter_map(cache::to_value);
    let mut tracks: Vec<Track> = values.filter_map(|value| Track::new(value, now)).collect();
    // Names, and a table that has no column for them, need no versions.
    if args.output.is_some() && args.output != Some(Output::Name) {
        pictures(&client, &mut tracks).await;
    }
    let mut rows: Vec<Row> = tracks.iter().map(row).collect();
    rows.sort_by(|a, b| (&a.ns, &a.name).cmp(&(&b.ns, &b.name)));
    let list = List { version: VERSION, canaries: &rows };
    Ok(match args.output {
        Some(Output::Json) => format!("{}\n", serde_json::to_string_pretty(&list)?),
        Some(Output::Yaml) => serde_saphyr::to_string(&list).context("cannot write YAML")?,
        Some(Output::Name) => {
            rows.iter().map(|row| format!("canary.flagger.app/{}\n", row.name)).collect()
        }
        Some(Output::Wide) => table(&rows, namespace.is_none(), true, now, Terminal::here()),
        None => table(&rows, namespace.is_none(), false, now, Terminal::here()),
    })
}

async fn read(
    client: &Client,
    namespace: Option<&str>,
    names: &[String],
) -> anyhow::Result<Vec<DynamicObject>> {
    let resource = cache::resource(&CANARY);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut all = Vec::new();
    for name in names {
        match api.get_opt(name).await.with_context(|| format!("cannot read the Canary {name}"))? {
            Some(object) => all.push(object),
            None => anyhow::bail!(
                "there is no Canary {name} in the namespace {}",
                namespace.unwrap_or_default()
            ),
        }
    }
    if !names.is_empty() {
        return Ok(all);
    }
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await.context("cannot list Canaries")?;
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        all.extend(page.items);
        match next {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

async fn pictures(client: &Client, tracks: &mut [Track]) {
    let reads = tracks.iter().enumerate().filter_map(|(place, track)| {
        let [target, primary] = track.workloads()?;
        let namespace = track.namespace().to_owned();
        Some(async move { (place, read_images(client, &namespace, &target, &primary).await) })
    });
    let reads: Vec<_> = reads.collect();
    let read: Vec<_> = futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
    for (place, images) in read {
        if let (Some(track), Some(images)) = (tracks.get_mut(place), images) {
            track.run(images);
        }
    }
}

pub(super) fn table(
    rows: &[Row],
    namespaces: bool,
    wide: bool,
    now: Timestamp,
    terminal: Terminal,
) -> String {
    if rows.is_empty() {
        return "There is no Canary here.\n".to_owned();
    }
    let mut head = vec!["NAME", "STATE", "PHASE", "WEIGHT", "FAILED", "SINCE"];
    if namespaces {
        head.insert(0, "NAMESPACE");
    }
    if wide {
        head.extend(["PRIMARY", "CANARY", "EVIDENCE"]);
    }
    head.push("REASON");
    let mut lines: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for row in rows {
        let since = row.since.map_or(String::new(), |since| {
            About((now.as_millisecond() - since).max(0) as f64 / 1000.0).to_string()
        });
        let mut line = vec![
            row.name.clone(),
            row.state.words().to_owned(),
            row.phase.map_or("-", serin_core::model::Phase::name).to_owned(),
            format!("{} %", row.weight),
            row.failed_checks.to_string(),
            since,
        ];
        if namespaces {
            line.insert(0, row.ns.clone());
        }
        if wide {
            let under_way = row.under_way.as_ref();
            let evidence = under_way
                .and_then(|one| one.log_evidence)
                .map_or("-".to_owned(), |log| serin_judge::Odds(log).to_string());
            let or_none =
                |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            line.extend([or_none(&row.old), or_none(&row.new), evidence]);
        }
        line.push(if wide && !row.text.is_empty() {
            format!("{}: {}", row.code, row.text)
        } else {
            row.code.clone()
        });
        lines.push(line);
    }
    aligned(&lines, rows, usize::from(namespaces) + 1, terminal)
}

/// Columns as wide as what stands in them; the state in its colour.
fn aligned(lines: &[Vec<String>], rows: &[Row], state: usize, terminal: Terminal) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let wide = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let mut text = String::new();
    for (place, line) in lines.iter().enumerate() {
        let mut out = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let last = column + 1 == columns;
            let padded = if last { cell.clone() } else { format!("{cell:<width$}   ") };
            let mark = place.checked_sub(1).and_then(|place| rows.get(place)).map(|row| row.mark);
            out += &match mark.filter(|_| column == state) {
                Some(mark) => terminal.paint(mark, &padded),
                None => padded,
            };
        }
        text += out.trim_end();
        text.push('\n');
    }
    text
}
