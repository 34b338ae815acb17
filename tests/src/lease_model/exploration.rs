//! Every interleaving of the events, and the rules that none may break.

use std::collections::{BTreeSet, HashMap, VecDeque};

use attune_common::model::ExecutionStatus;

use super::{Condition, Event, Fence, MAX_ATTEMPTS, Outcome, Row, requests};

/// How often it is given back at most: without a limit the model would have no end.
const GIVEN_BACK: i8 = 2;

/// The execution, and what the store does not know: how it came there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    row: Row,
    /// Worker of each attempt, as those were told who won a claim.
    claims: Vec<usize>,
    given_back: i8,
}

impl State {
    /// What follows, or the rule that is broken.
    fn after(&self, event: Event, without: Option<Condition>) -> Result<(Self, bool), &'static str> {
        let mut next = self.clone();
        let accepted = next.row.apply(event, without);
        match event {
            Event::Claim(worker) if accepted => next.claims.push(worker),
            Event::Release(_) if accepted => next.given_back += 1,
            _ => {}
        }
        match broken(self, event, accepted, &next) {
            Some(rule) => Err(rule),
            None => Ok((next, accepted)),
        }
    }
}

/// The rules, each by the sentence that says it.
fn broken(before: &State, event: Event, accepted: bool, after: &State) -> Option<&'static str> {
    let (was, is) = (&before.row, &after.row);
    let running = is.status == ExecutionStatus::Running;
    let changed = was != is;
    let won = matches!(event, Event::Claim(_)) && accepted;
    let ended = is.status.is_final() && !was.status.is_final();
    let owner = before.claims.last().copied();
    let is_owner = |fence: Fence| {
        was.status == ExecutionStatus::Running
            && usize::try_from(fence.attempt) == Ok(before.claims.len())
            && owner == Some(fence.worker)
    };
    let rules = [
        (
            "a final status is never left, nor is what was recorded with it",
            !was.status.is_final() || !changed,
        ),
        ("an attempt number is never used twice", usize::try_from(is.attempt) == Ok(after.claims.len())),
        (
            "it is started as often as it may be, and once more for each time it was given back",
            is.attempt + is.attempts_left == MAX_ATTEMPTS + after.given_back && is.attempts_left >= 0,
        ),
        ("it has a lease exactly while it runs", running == is.lease_expired.is_some()),
        ("it runs where the last claim was won", !running || is.worker == after.claims.last().copied()),
        ("nobody takes what another holds", !won || was.status == ExecutionStatus::Queued),
        ("what somebody asked to end is not started again", !won || !was.cancel_requested),
        ("what waits may be started", is.status != ExecutionStatus::Queued || is.attempts_left > 0),
        (
            "who holds no lease writes nothing, and who holds one is not refused",
            match event {
                Event::Finish(fence, _) | Event::Release(fence) => {
                    is_owner(fence) == changed && (!is_owner(fence) || accepted)
                }
                _ => true,
            },
        ),
        (
            "who is told that an outcome is recorded finds it recorded",
            match event {
                Event::Finish(_, ending) => !accepted || is.outcome == Some(Outcome::Finished(ending)),
                _ => true,
            },
        ),
        (
            "an end comes from the worker of the current attempt, from its silence, or from a cancellation before a start",
            !ended
                || match event {
                    Event::Finish(fence, _) => is_owner(fence),
                    Event::Reap => was.lease_expired == Some(true),
                    Event::Release(fence) => is_owner(fence) && was.cancel_requested,
                    Event::RequestCancel => was.status == ExecutionStatus::Queued,
                    _ => false,
                },
        ),
        (
            "a lease that is renewed in time is not taken away",
            event != Event::Reap || was.lease_expired == Some(true) || !changed,
        ),
        ("who falls silent does not keep it", !running || loses_it_by_silence(is)),
    ];
    rules.into_iter().find(|(_, holds)| !holds).map(|(rule, _)| rule)
}

fn loses_it_by_silence(row: &Row) -> bool {
    let mut later = row.clone();
    later.worker.is_some_and(|worker| later.apply(Event::Expire(worker), None))
        && later.apply(Event::Reap, None)
        && later.status != ExecutionStatus::Running
}

/// What trying everything has shown.
#[derive(Debug, Default)]
pub struct Explored {
    /// States that can be reached.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Every kind of step ([`Row::kind_of_step`]).
    pub kinds: BTreeSet<String>,
}

/// Tries every order of all [`requests`], perhaps without one of the conditions.
///
/// # Errors
/// A rule that is broken, and the shortest way there.
pub fn explore(without: Option<Condition>) -> Result<Explored, String> {
    let mut explored = Explored::default();
    let mut came_from: HashMap<State, Option<(State, Event)>> = HashMap::from([(State::default(), None)]);
    let mut open = VecDeque::from([State::default()]);
    while let Some(state) = open.pop_front() {
        for event in requests(state.row.attempt) {
            if matches!(event, Event::Release(_)) && state.given_back == GIVEN_BACK {
                continue;
            }
            let (next, accepted) = state.after(event, without).map_err(|rule| {
                let mut way = vec![format!("{event:?}")];
                let mut at = &state;
                while let Some(Some((earlier, event))) = came_from.get(at) {
                    way.push(format!("{event:?}"));
                    at = earlier;
                }
                way.reverse();
                format!("{rule}: {}", way.join(", "))
            })?;
            explored.steps += 1;
            explored.kinds.insert(state.row.kind_of_step(event, accepted, &next.row));
            if !came_from.contains_key(&next) {
                came_from.insert(next.clone(), Some((state.clone(), event)));
                open.push_back(next);
            }
        }
    }
    explored.states = came_from.len();
    Ok(explored)
}
