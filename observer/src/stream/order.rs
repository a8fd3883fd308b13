//! Order and loss: where in the stream something is missing.

use super::decode::Event;

/// Watches the loss mark that travels in every record.
///
/// The ring keeps the order of reservation over all CPUs. Times may be out of order by the little
/// that lies between reading the clock and reserving, so time only moves forward here.
#[derive(Debug, Default)]
pub struct Order {
    mark: u64,
    now_ns: u64,
}

impl Order {
    /// Takes the next event; `true` when something is missing before it.
    pub fn lost_before(&mut self, event: &Event<'_>) -> bool {
        self.lost_by(event.header().lost)
    }

    /// Compares with a mark read from the kernel's map: a loss that no event followed yet.
    pub fn lost_by(&mut self, mark: u64) -> bool {
        let lost = mark != self.mark;
        self.mark = mark;
        lost
    }

    /// The event's time, or the latest seen if that is later. Nanoseconds, monotonic.
    pub fn time_ns(&mut self, event: &Event<'_>) -> u64 {
        self.now_ns = self.now_ns.max(event.header().time_ns);
        self.now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::Order;
    use crate::stream::Event;
    use observer_common::event::{CallCancelled, Header};
    use zerocopy::FromZeros;

    fn at(time_ns: u64, lost: u64) -> CallCancelled {
        let mut record = CallCancelled::new_zeroed();
        record.header = Header {
            time_ns,
            lost,
            ..Header::default()
        };
        record
    }

    #[test]
    fn a_mark_that_changes_is_a_loss_once() {
        let mut order = Order::default();
        let marks = [0, 0, 1, 1, 5, 5, 2];
        let lost = marks.map(|mark| order.lost_before(&Event::CallCancelled(&at(1, mark))));
        assert_eq!(lost, [false, false, true, false, true, false, true]);
    }

    #[test]
    fn a_mark_without_event_is_not_told_again_by_the_next_event() {
        let mut order = Order::default();
        assert!(order.lost_by(3));
        assert!(!order.lost_by(3));
        assert!(!order.lost_before(&Event::CallCancelled(&at(1, 3))));
    }

    #[test]
    fn time_never_goes_back() {
        let mut order = Order::default();
        let times = [5, 9, 7, 9, 10];
        let seen = times.map(|time| order.time_ns(&Event::CallCancelled(&at(time, 0))));
        assert_eq!(seen, [5, 9, 9, 9, 10]);
    }
}
