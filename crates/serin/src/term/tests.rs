//! What a terminal shows, at many sizes, held to golden copies; and what the small parts of it say.

use expect_test::expect_file;
use unicode_width::UnicodeWidthStr as _;

use super::screen::{Look, screen};
use super::status::{End, duration, end};
use super::{Terminal, get, shell};
use crate::view::ReleaseView;
use crate::view::fleet::row;
use crate::view::tests::{released, rolled_back, seen};

fn under_way() -> ReleaseView {
    let mut track = released();
    track.run(crate::view::Images {
        old: "shop:4.7.9".into(),
        primary: "shop:4.7.9".into(),
        new: "shop:4.8.0".into(),
        by: "kubectl-set".into(),
    });
    let mut view = seen(&track, 15);
    let pod = |name: &str, side, ready, why: &str| crate::view::Pod {
        name: name.to_owned(),
        side,
        ready,
        status: "Running".to_owned(),
        restarts: u64::from(!ready),
        since: None,
        why: why.to_owned(),
    };
    view.pods = vec![
        pod(
            "backend-7f4b6d8c95-c2vlk",
            crate::view::Side::Canary,
            false,
            "backend ended: OOMKilled (137)",
        ),
        pod("backend-primary-58c7b9d4f6-7dk2m", crate::view::Side::Primary, true, ""),
    ];
    view
}

fn drawn(view: &ReleaseView, width: usize, height: usize, ascii: bool) -> String {
    let look = Look { width, height, ascii, ..Look::default() };
    let mut text = String::new();
    for row in screen(view, look) {
        let line: String = row.into_iter().map(|(_, piece)| piece).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[test]
fn a_release_under_way_at_80_and_at_120_columns() {
    expect_file!["golden/under-way-80.txt"].assert_eq(&drawn(&under_way(), 80, 24, false));
    expect_file!["golden/under-way-120.txt"].assert_eq(&drawn(&under_way(), 120, 40, false));
}

#[test]
fn a_rollback_at_80_and_at_120_columns_in_ascii_and_where_it_is_narrow() {
    let view = seen(&rolled_back(), 60);
    expect_file!["golden/rollback-80.txt"].assert_eq(&drawn(&view, 80, 24, false));
    expect_file!["golden/rollback-120.txt"].assert_eq(&drawn(&view, 120, 40, false));
    expect_file!["golden/rollback-ascii.txt"].assert_eq(&drawn(&view, 80, 24, true));
    expect_file!["golden/rollback-50.txt"].assert_eq(&drawn(&view, 50, 20, false));
    assert!(drawn(&view, 80, 24, true).is_ascii());
}

#[test]
fn whatever_the_size_every_row_is_as_wide_as_the_terminal() {
    let mut wide = under_way();
    wide.decisions[0].text = "版本正在分析 ".repeat(20);
    for view in [under_way(), seen(&rolled_back(), 60), wide] {
        for width in [1, 2, 9, 20, 39, 59, 60, 61, 80, 99, 100, 101, 133, 250] {
            for height in [1, 2, 5, 12, 24, 30, 31, 60] {
                for back in [0, 1, 50] {
                    let look = Look { width, height, ascii: false, scrolled: back, back };
                    let rows = screen(&view, look);
                    assert_eq!(rows.len(), height, "{width} x {height}");
                    for row in rows {
                        let cells: usize = row.iter().map(|(_, text)| text.width()).sum();
                        assert_eq!(cells, width, "{width} x {height}: {row:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_to_be_done_is_never_cut() {
    for view in [under_way(), seen(&rolled_back(), 60)] {
        let shown = drawn(&view, 60, 30, false);
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert!(words.join(" ").contains(&format!("Now: {}", view.headline.todo)), "{shown}");
    }
}

#[test]
fn colours_need_a_terminal_that_has_them() {
    let of = |terminal, set: &[(&str, &str)]| {
        let set: Vec<(String, String)> =
            set.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Terminal::of(terminal, move |name| {
            set.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
        })
    };
    let plain = [("TERM", "xterm"), ("LANG", "C.UTF-8")];
    assert_eq!(of(true, &plain), Terminal { screen: true, color: true, ascii: false });
    assert!(!of(false, &plain).color && !of(false, &plain).screen);
    assert!(!of(true, &[("TERM", "xterm"), ("NO_COLOR", "1")]).color);
    assert!(of(true, &[("TERM", "xterm"), ("NO_COLOR", "1")]).screen);
    let dumb = of(true, &[("TERM", "dumb"), ("LC_ALL", "C"), ("LANG", "C.UTF-8")]);
    assert_eq!(dumb, Terminal { screen: false, color: false, ascii: true });
}

#[test]
fn a_wait_ends_as_the_release_does() {
    assert_eq!(end(&under_way()), None);
    assert_eq!(end(&seen(&rolled_back(), 60)), Some(End::RolledBack));
    let mut view = under_way();
    view.phase = Some(serin_core::model::Phase::Succeeded);
    assert_eq!(end(&view), Some(End::Promoted));
    view.state = crate::view::State::Suspended;
    assert_eq!(end(&view), Some(End::Held));
    assert_eq!(duration("90"), Ok(std::time::Duration::from_secs(90)));
    assert_eq!(duration("15m"), Ok(std::time::Duration::from_secs(900)));
    for wrong in ["", "m", "1d", "-1s", "1.5h", "99999999999999999999h", "9223372036854775807h"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_table_has_columns_and_says_when_there_is_nothing() {
    let now = jiff::Timestamp::from_second(1_800_000_060).unwrap();
    let terminal = Terminal { screen: false, color: false, ascii: false };
    let rows = [row(&released()), row(&rolled_back())];
    let table = get::table(&rows, true, true, now, terminal);
    let columns = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    let lines: Vec<&str> = table.lines().collect();
    let [head, running, failed] = lines.as_slice() else { panic!("{table}") };
    assert_eq!(
        columns(head).join(" "),
        "NAMESPACE NAME STATE PHASE WEIGHT FAILED SINCE PRIMARY CANARY EVIDENCE REASON"
    );
    let under_way = [
        "develop",
        "backend",
        "releasing",
        "Progressing",
        "10 %",
        "0",
        "60 s",
        "-",
        "-",
        "nothing against it",
        "Advanced: Advanced at 13.",
    ];
    assert_eq!(columns(running), under_way);
    let over = [
        "develop",
        "backend",
        "rolled back",
        "Failed",
        "0 %",
        "0",
        "44 s",
        "shop:1",
        "shop:2",
        "1 in 24 if healthy",
        "GuardRolledBack: GuardRolledBack at 16.",
    ];
    assert_eq!(columns(failed), over);
    assert_eq!(head.find("EVIDENCE"), failed.find("1 in 24"));
    assert!(get::table(&[], false, false, now, terminal).contains("no Canary"));
    let colored = Terminal { color: true, ..terminal };
    assert!(get::table(&rows, false, false, now, colored).contains("\u{1b}[31mrolled back"));
}

#[test]
fn kubectl_is_told_what_may_follow() {
    let command = crate::cli::command();
    let told = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        shell::complete(&command, &args)
    };
    assert!(told(&["st"]).starts_with("status\t"), "{}", told(&["st"]));
    assert!(told(&["st"]).ends_with(":4\n"));
    assert!(told(&["status", "backend", "--time"]).starts_with("--timeout\t"));
    assert!(!told(&[""]).contains("app\t"), "what is hidden stays hidden");
    assert_eq!(told(&[]), ":4\n");
}
