//! An execution that is offered to one listener alone.

use std::fmt;

use crate::model::ExecutionId;

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The store has decided who runs the execution, this listener or somebody else: there is nothing to offer any more.
    Decided,
    /// This listener cannot take it now: others may.
    GivenBack,
}

type Tell = Box<dyn FnOnce(Answer) + Send + Sync>;

/// An execution that nobody else is offered until this offer is answered. Dropping it gives it back.
pub struct Offer {
    execution: ExecutionId,
    tell: Option<Tell>,
}

impl Offer {
    /// An offer whose answer is told to `tell`.
    pub(super) fn new(execution: ExecutionId, tell: impl FnOnce(Answer) + Send + Sync + 'static) -> Self {
        Self { execution, tell: Some(Box::new(tell)) }
    }

    /// What is offered.
    #[must_use]
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// Answers it.
    pub fn answer(mut self, answer: Answer) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Answer) {
        if let Some(tell) = self.tell.take() {
            tell(answer);
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.tell(Answer::GivenBack);
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Offer").field(&self.execution).finish()
    }
}

/// Two are the same when they offer the same.
impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.execution == other.execution
    }
}

impl Eq for Offer {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_offer_is_answered_once_and_given_back_when_nobody_does() {
        let (sender, answers) = mpsc::sync_channel(2);
        let offer = || {
            let sender = sender.clone();
            Offer::new(ExecutionId::new(), move |answer| sender.send(answer).unwrap())
        };
        offer().answer(Answer::Decided);
        drop(offer());
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [Answer::Decided, Answer::GivenBack]);
    }
}
