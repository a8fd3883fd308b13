//! The core's questions and their answers: most at once, some from a thread of their own.

use std::sync::Arc;

use crate::detect::{Answer, Ask, Question};
use crate::record::{Answered, Recorder};
use crate::sink::{Clock, Output, Sinks};

use super::looks::Done;
use super::observe::Loop;
use super::{clock, inspector};

impl Loop {
    /// Asks memory what the core wants to know, until it wants nothing more.
    pub(super) fn answer_questions(&mut self) {
        loop {
            while let Some(Done {
                ask,
                answer,
                notice,
            }) = self.looks.done()
            {
                self.said.extend(notice);
                self.take_answer(ask, answer);
            }
            let asks = self.engine.take_asks();
            if asks.is_empty() {
                return;
            }
            self.families.begin(&asks);
            for ask in asks {
                if let Some(answer) = self.find_answer(&ask) {
                    self.take_answer(ask, answer);
                }
            }
        }
    }

    /// `None` where it takes longer: then it comes from the looks under way.
    fn find_answer(&mut self, ask: &Ask) -> Option<Answer> {
        let Some(target) = self.code.target(ask.pid) else {
            return Some(Answer::Unknown);
        };
        Some(match ask.question {
            Question::Count => {
                let processes = self.observed.len();
                Answer::Count(self.tallies.count(target, processes, clock::now_ns))
            }
            Question::Listing => {
                let processes = self.observed.len();
                Answer::Listing(self.listings.look(target, processes, clock::now_ns))
            }
            Question::Crowds { .. } | Question::Unreferenced { .. } => {
                let clock = Clock {
                    realtime_minus_monotonic_ns: self.realtime_ns,
                };
                self.looks.ask(ask.clone(), Arc::clone(target), clock);
                return None;
            }
            _ => inspector::answer(target, ask, &mut self.families),
        })
    }

    fn take_answer(&mut self, ask: Ask, answer: Answer) {
        let now_ns = clock::now_ns();
        self.engine.answer(ask.id, &answer, now_ns, &self.code);
        if let Some(recorder) = &mut self.recorder {
            recorder.resolved(self.code.take_noted());
            recorder.answer(now_ns, &Answered { ask, answer });
        }
    }

    /// Waits for looks under way, so that what they are about is told.
    pub(super) fn settle(&mut self) {
        self.looks.wait();
        self.answer_questions();
    }

    /// What there was to say of questions, and of the recording.
    pub(super) fn say_rest(&mut self, sinks: &mut Sinks) {
        let complaint = self.recorder.as_mut().and_then(Recorder::complaint);
        for notice in self.said.drain(..).chain(complaint) {
            sinks.emit(Output::Notice(notice));
        }
    }
}
