//! `serin watch`: one release on the whole terminal, live; lines where there is no screen to draw on.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serin_core::model::Key;
use tokio::sync::mpsc;

use super::screen::{self, Look};
use super::status::{Lines, found};
use super::tone::{Row, Tone};
use super::{OneArgs, Terminal};
use crate::clock::SystemClock;
use crate::console::Board;
use crate::view::ReleaseView;

/// Redrawn at least so often, as time passes, and at most as often as there is news.
const REDRAW: Duration = Duration::from_millis(250);
/// How long a wait for a key lasts, before it is seen whether anybody still wants keys.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// Flags of `serin watch`.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Draw with ASCII only; as where the locale is not UTF-8.
    #[arg(long)]
    ascii: bool,
}

/// Draws until somebody has seen enough.
pub async fn watch(args: &WatchArgs) -> anyhow::Result<()> {
    let (client, key) = args.one.reach().await?;
    let namespace = Some(key.namespace.clone());
    let board = Board::new(client, namespace, None, Arc::new(SystemClock::default()));
    let mut here = Terminal::here();
    here.ascii |= args.ascii;
    tokio::select! {
        () = board.run() => anyhow::bail!("the watch on Canaries has ended"),
        watched = follow(&board, &key, here) => watched,
        stopped = crate::shutdown::signal() => stopped,
    }
}

async fn follow(board: &Board, key: &Key, here: Terminal) -> anyhow::Result<()> {
    // What cannot be read is said before the screen is taken.
    let mut news = board.changed();
    let first = loop {
        match found(board, key).await? {
            Some(view) => break view,
            None => news.changed().await?,
        }
    };
    if !here.screen {
        return lines(board, key, here).await;
    }
    let mut terminal = ratatui::try_init()?;
    let drawn = draw(board, key, here, &mut terminal, first).await;
    ratatui::try_restore()?;
    drawn
}

async fn lines(board: &Board, key: &Key, here: Terminal) -> anyhow::Result<()> {
    let mut lines = Lines::default();
    let mut news = board.changed();
    loop {
        if let Some(view) = found(board, key).await? {
            lines.tell(&view, here)?;
        }
        news.changed().await?;
    }
}

/// Keys come from a thread, as reading them blocks; it ends with the receiver.
fn keys() -> mpsc::Receiver<Event> {
    let (send, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !send.is_closed() {
            match poll(KEY_WAIT) {
                Ok(true) => {
                    let Ok(event) = read() else { return };
                    if send.blocking_send(event).is_err() {
                        return;
                    }
                }
                Ok(false) => {}
                Err(_) => return,
            }
        }
    });
    keys
}

async fn draw(
    board: &Board,
    key: &Key,
    here: Terminal,
    terminal: &mut DefaultTerminal,
    first: ReleaseView,
) -> anyhow::Result<()> {
    let mut view = first;
    let mut look = Look { ascii: here.ascii, ..Look::default() };
    let mut keys = keys();
    let mut news = board.changed();
    loop {
        terminal.draw(|frame| {
            let area = frame.area();
            (look.width, look.height) = (usize::from(area.width), usize::from(area.height));
            let rows = screen::screen(&view, look);
            let lines: Vec<Line<'_>> = rows.into_iter().map(|row| line(row, here.color)).collect();
            frame.render_widget(Paragraph::new(lines), area);
        })?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(Event::Key(pressed)) if press(&mut look, pressed, &view) => return Ok(()),
                Some(_) => {}
                None => anyhow::bail!("the terminal gives no keys any more"),
            },
            changed = news.changed() => changed?,
            () = tokio::time::sleep(REDRAW) => {}
        }
        if let Some(next) = found(board, key).await? {
            view = next;
        }
    }
}

/// Whether it was the last key.
fn press(look: &mut Look, key: KeyEvent, view: &ReleaseView) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let looks = view.looks.t.len().saturating_sub(1);
    let decisions = view.decisions.len().saturating_sub(1);
    let is = |codes: &[KeyCode]| codes.contains(&key.code);
    if is(&[KeyCode::Char('q'), KeyCode::Esc]) || control && is(&[KeyCode::Char('c')]) {
        return true;
    }
    if is(&[KeyCode::Down, KeyCode::Char('j')]) {
        look.scrolled = (look.scrolled + 1).min(decisions);
    } else if is(&[KeyCode::Up, KeyCode::Char('k')]) {
        look.scrolled = look.scrolled.saturating_sub(1);
    } else if is(&[KeyCode::Left]) {
        look.back = (look.back + 1).min(looks);
    } else if is(&[KeyCode::Right]) {
        look.back = look.back.saturating_sub(1);
    } else if is(&[KeyCode::End]) {
        (look.back, look.scrolled) = (0, 0);
    }
    false
}

fn line(row: Row, color: bool) -> Line<'static> {
    Line::from_iter(row.into_iter().map(|(tone, text)| Span::styled(text, style(tone, color))))
}

fn style(tone: Tone, color: bool) -> Style {
    let colored = |of: Color| if color { Style::new().fg(of) } else { Style::new() };
    match tone {
        Tone::Plain => Style::new(),
        Tone::Bold => Style::new().add_modifier(Modifier::BOLD),
        Tone::Title => Style::new().add_modifier(Modifier::REVERSED),
        Tone::Dim => colored(Color::DarkGray),
        Tone::Canary => colored(Color::Indexed(214)),
        Tone::Primary => colored(Color::Indexed(111)),
        Tone::Bad => colored(Color::Red),
        Tone::Hold => colored(Color::Magenta),
        Tone::Good => colored(Color::Green),
    }
}
