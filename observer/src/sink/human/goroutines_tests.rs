//! The text of a picture, as a whole.

use super::goroutines;
use crate::picture::{Picture, Searched, Searches, samples};
use crate::sink::human::{Glyphs, Terminal};
use crate::style::Styles;

fn terminal(width: usize, utf8: bool, verbose: bool) -> Terminal {
    Terminal {
        styles: Styles::new(false),
        glyphs: Glyphs::new(utf8),
        width,
        verbose,
    }
}

#[test]
fn on_a_terminal() {
    let picture = samples::picture();
    insta::assert_snapshot!(
        "goroutines",
        goroutines(&picture, &terminal(100, true, false))
    );
    insta::assert_snapshot!(
        "goroutines_verbose",
        goroutines(&picture, &terminal(100, true, true))
    );
}

#[test]
fn on_a_narrow_terminal_every_line_fits() {
    let text = goroutines(&samples::picture(), &terminal(46, false, false));
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(46), "{text}");
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!("goroutines_narrow", text);
}

#[test]
fn what_searches_have_shown_is_said_where_it_was_asked_for() {
    let mut picture = samples::searched();
    let wide = terminal(100, true, false);
    insta::assert_snapshot!("goroutines_searched", goroutines(&picture, &wide));
    let last = |picture: &Picture| {
        let text = goroutines(picture, &wide);
        let (_, last) = text.trim_end().rsplit_once("\n\n").unwrap();
        last.to_owned()
    };
    picture.searches = Some(Searches::Made(Searched {
        took_ns: 2_000_000,
        beyond: 5,
        ..Searched::default()
    }));
    picture.totals.unreferenced = 0;
    picture.totals.unnamed = 0;
    insta::assert_snapshot!("goroutines_searched_once", last(&picture));
    picture.searches = Some(Searches::NotMade("it is too large".into()));
    insta::assert_snapshot!("goroutines_not_searched", last(&picture));
}

#[test]
fn what_was_left_out_is_said() {
    let mut picture = samples::picture();
    picture.coverage.every = 3;
    picture.coverage.alive = 600_000;
    picture.coverage.torn = 12;
    picture.coverage.cut = true;
    picture.totals.grouped -= 100;
    picture.totals.ageless = 60;
    picture.groups_other = (7, 1_000);
    let text = goroutines(&picture, &terminal(100, true, false));
    let (first, _) = text.split_once("\n\n").unwrap();
    let (_, last) = text.trim_end().rsplit_once("\n\n").unwrap();
    insta::assert_snapshot!("goroutines_left_out", format!("{first}\n...\n{last}"));
}

#[test]
fn what_is_waited_on_is_called_by_the_wait() {
    let kinds = [
        ("sync.Mutex.Lock", "lock"),
        ("sync.RWMutex.RLock", "lock"),
        ("sync.WaitGroup.Wait", "wait group"),
        ("sync.WaitGroup.Wait (durable)", "wait group"),
        ("sync.Cond.Wait", "condition"),
        ("semacquire", "semaphore"),
    ];
    for (reason, kind) in kinds {
        assert_eq!(super::lock(Some(reason)), kind);
    }
    assert_eq!(super::lock(None), "lock");
}
