//! On which routes a finding was seen.

/// Routes named of one finding; what others add is counted together.
pub const ROUTES: usize = 8;

/// Occurrences by route, in the order in which the routes were first seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Each with its occurrences.
    pub named: Vec<(String, u64)>,
    /// Occurrences on further routes.
    pub others: u64,
}

impl Routes {
    /// Counts one occurrence.
    pub fn count(&mut self, route: &str) {
        if let Some((_, times)) = self.named.iter_mut().find(|(known, _)| known == route) {
            *times = times.saturating_add(1);
        } else if self.named.len() < ROUTES {
            self.named.push((route.to_owned(), 1));
        } else {
            self.others = self.others.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ROUTES, Routes};

    #[test]
    fn past_the_limit_occurrences_are_counted_together() {
        let mut routes = Routes::default();
        for n in 0..ROUTES + 3 {
            routes.count(&format!("/{n}"));
            routes.count("/0");
        }
        assert_eq!(routes.named.len(), ROUTES);
        assert_eq!(routes.named[0], ("/0".to_owned(), 12));
        assert_eq!(routes.named[1], ("/1".to_owned(), 1));
        assert_eq!(routes.others, 3);
    }
}
