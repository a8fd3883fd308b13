//! How far cancels and deadlines travelled, above the last line: nothing where there was neither.

use crate::model::Health;

use super::layout::{Row, Terminal};
use super::summary::count;
use super::text::percent;

/// Routes named; more are in the JSON lines.
const ROUTES: usize = 3;

/// Who lost how many, how long work took to stop, what it wasted, and an empty line.
pub(super) fn lines(health: &Health, terminal: &Terminal) -> String {
    if health.lost == 0 && health.cancelled == 0 {
        return String::new();
    }
    let mut rows = vec![Row::words("health", 0, &lost(health, terminal))];
    if health.cancelled > 0 {
        rows.push(Row::chain("stopped", 0, stopped(health, terminal)));
    }
    if health.wasted.total_ns() > 0 {
        rows.push(wasted(health, terminal));
    }
    let mut text = terminal.rows(&rows);
    text.push('\n');
    text
}

/// `5 of 20 requests with a cancel or a deadline lost it (25.0 %)`.
fn lost(health: &Health, terminal: &Terminal) -> String {
    format!(
        "{} of {} with a cancel or a deadline lost it ({})",
        terminal.glyphs.number(health.lost),
        count(terminal, health.requests, "request"),
        percent(health.lost, health.requests)
    )
}

/// `20 of 20 cancelled, half of them within 310 µs, 99 % within 1.8 s`.
fn stopped(health: &Health, terminal: &Terminal) -> Vec<String> {
    let glyphs = &terminal.glyphs;
    let (recovered, cancelled) = (health.recovered, health.cancelled);
    let counts = format!(
        "{} of {}",
        glyphs.number(recovered),
        glyphs.number(cancelled)
    );
    if recovered == 0 {
        return vec![counts, "cancelled".to_owned()];
    }
    let within = |percent| glyphs.duration(health.latency.quantile_ns(percent));
    vec![
        counts,
        "cancelled,".to_owned(),
        format!("half of them within {},", within(50)),
        format!("99 % within {}", within(99)),
    ]
}

/// `10.2 s   /report/{} 8 s   /order 2.2 s   elsewhere 12 ms`.
fn wasted(health: &Health, terminal: &Terminal) -> Row {
    let glyphs = &terminal.glyphs;
    let total_ns = health.wasted.total_ns();
    let routes = health.wasted.most_first();
    let named = routes.get(..ROUTES).unwrap_or(&routes);
    let named_ns = named.iter().map(|(_, ns, _)| *ns).sum();
    let elsewhere_ns = total_ns.saturating_sub(named_ns);
    let mut parts = vec![glyphs.duration(total_ns)];
    parts.extend(named.iter().map(|(route, ns, _)| {
        let route = glyphs.clean(route);
        format!("{route} {}", glyphs.duration(*ns))
    }));
    if elsewhere_ns > 0 {
        parts.push(format!("elsewhere {}", glyphs.duration(elsewhere_ns)));
    }
    Row::facts("wasted", 0, parts)
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::model::Health;
    use crate::sink::human::{Glyphs, Terminal};
    use crate::style::Styles;

    const SECOND: u64 = 1_000_000_000;

    fn terminal(width: usize) -> Terminal {
        Terminal {
            styles: Styles::new(false),
            glyphs: Glyphs::new(true),
            width,
            verbose: false,
        }
    }

    fn sick() -> Health {
        let mut health = Health {
            requests: 20,
            lost: 5,
            cancelled: 18,
            recovered: 16,
            ..Health::default()
        };
        for ms in 1..=16 {
            health.latency.add(ms * ms * 7_000_000);
        }
        for (route, seconds) in [("/report/{}", 8), ("/a", 1), ("/b", 2), ("/c/d", 4)] {
            health.wasted.add(Some(route.into()), seconds * SECOND);
        }
        health.wasted.add(None, SECOND / 2);
        health
    }

    #[test]
    fn what_was_lost_is_said_within_the_width() {
        for width in [40, 50, 80, 200] {
            let text = lines(&sick(), &terminal(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}: {text}");
        }
        insta::assert_snapshot!(lines(&sick(), &terminal(80)));
    }

    #[test]
    fn without_a_cancel_and_a_loss_there_is_nothing_to_say() {
        let deadlines_only = Health {
            requests: 7,
            ..Health::default()
        };
        assert_eq!(lines(&deadlines_only, &terminal(80)), "");
        let kept = Health {
            requests: 1,
            cancelled: 1,
            ..Health::default()
        };
        assert!(lines(&kept, &terminal(80)).contains("0 of 1 request with"));
    }
}
