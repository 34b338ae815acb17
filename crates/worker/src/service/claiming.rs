//! Taking work: what the doorbell offers, and what a look at the store finds.

use attune_common::{
    doorbell::{Answer, Offer, Wake},
    model::Execution,
    requirement::Requirement,
};
use tokio::time::Instant;

use super::{Listening, WorkerService};
use crate::{
    health::{Loop, STUCK_AFTER, metrics::Operation},
    stop::{Stage, StopSignal},
};

impl WorkerService {
    pub(super) async fn answer(&mut self, wake: Wake, stop: &StopSignal, listening: &mut Listening) {
        match wake {
            Wake::Offered(offer) => self.take_offered(offer, stop, listening).await,
            Wake::LookForWork => self.claim_while_slots_are_free(stop, listening).await,
            Wake::LookForCancellations => self.look_for_cancellations().await,
            Wake::Sweep => {
                self.look_for_cancellations().await;
                self.claim_while_slots_are_free(stop, listening).await;
            }
        }
    }

    /// Takes what the doorbell offers, if a slot is free and nobody was quicker.
    async fn take_offered(&mut self, offer: Offer, stop: &StopSignal, listening: &mut Listening) {
        if !self.may_claim(stop) {
            listening.accept(false);
            return offer.answer(Answer::GivenBack);
        }
        if self.changes.has_changed().unwrap_or_default() {
            // it may be for what is offered no more; the loop listens anew
            return offer.answer(Answer::GivenBack);
        }
        let asked = Instant::now();
        match self.store.claim(self.id, offer.execution(), self.settings.lease).await {
            Ok(claimed) => {
                let started = self.start_if_claimed(asked, claimed);
                if !started && !self.is_welcome().await {
                    // until the next heartbeat, which says more: whoever may take it shall be offered it
                    listening.accept(false);
                    return offer.answer(Answer::GivenBack);
                }
                self.look_at = None;
                // before the answer, after which the next one is offered
                listening.accept(self.may_claim(stop));
                offer.answer(Answer::Decided);
            }
            Err(error) => {
                // until the next look: the broker would offer it again at once
                listening.accept(false);
                offer.answer(Answer::GivenBack);
                self.claim_failed();
                tracing::warn!(%error, "cannot claim what the doorbell offers");
            }
        }
    }

    /// Whether the store gives this worker work at all. A worker that was cordoned or forgotten a moment ago does not know it.
    async fn is_welcome(&mut self) -> bool {
        match self.store.may_claim(self.id).await {
            Ok(welcome) => welcome,
            Err(error) => {
                self.claim_failed();
                tracing::warn!(%error, "cannot ask whether this worker may take work");
                false
            }
        }
    }

    pub(super) async fn claim_while_slots_are_free(&mut self, stop: &StopSignal, listening: &mut Listening) {
        self.look_at = None;
        if *self.running.cordon().borrow() {
            // the answer of the store is known: there is nothing to take
            return self.progress.looked();
        }
        if !self.may_claim(stop) {
            self.more_may_wait = true;
            if !listening.offers() {
                return;
            }
        }
        let Some(requirements) = self.satisfied_requirements().await else { return };
        // also without a free slot: what is followed now is offered when there is one
        listening.follow(&requirements);
        // what is offered no more must not be looked for
        while self.may_claim(stop) && !self.changes.has_changed().unwrap_or_default() {
            self.health.turned(Loop::Service, STUCK_AFTER);
            let asked = Instant::now();
            match self.store.claim_next(self.id, &requirements, self.settings.lease).await {
                Ok(claimed) => {
                    self.more_may_wait = self.start_if_claimed(asked, claimed);
                    if !self.more_may_wait {
                        self.progress.looked();
                        break;
                    }
                }
                Err(error) => {
                    self.claim_failed();
                    return tracing::warn!(%error, "cannot claim work");
                }
            }
        }
        listening.accept(self.may_claim(stop));
    }

    /// Every requirement that this worker satisfies, as far as the store answers.
    pub(super) async fn satisfied_requirements(&mut self) -> Option<Vec<Requirement>> {
        match self.store.known_requirements().await {
            Ok(known) => {
                let capabilities = self.offered.capabilities();
                Some(known.into_iter().filter(|one| one.satisfied_by(&capabilities)).collect())
            }
            Err(error) => {
                self.claim_failed();
                tracing::warn!(%error, "cannot look for work");
                None
            }
        }
    }

    pub(super) fn may_claim(&self, stop: &StopSignal) -> bool {
        stop.stage() == Stage::Run
            && !*self.running.cordon().borrow()
            && self.progress.may_claim()
            && self.executions.len() < self.settings.slots as usize
    }

    /// A store that does not answer may have work: the time of idleness starts again.
    fn claim_failed(&mut self) {
        self.health.metrics().store_failed(Operation::Claim);
        self.progress.restart_idleness();
    }

    /// Starts what the store gave, and tells whether it gave something.
    fn start_if_claimed(&mut self, asked: Instant, claimed: Option<Execution>) -> bool {
        self.health.metrics().claim_answered(asked.elapsed(), claimed.as_ref());
        let Some(execution) = claimed else { return false };
        self.progress.claim();
        self.start(execution, asked + self.settings.lease);
        true
    }

    fn start(&mut self, execution: Execution, lease_until: Instant) {
        let held = self.running.add(execution.id, execution.attempt, lease_until);
        let (executor, metrics) = (self.executor.clone(), self.health.metrics().clone());
        self.executions.spawn(async move {
            let started = Instant::now();
            executor.run(execution, held.end()).await;
            metrics.run_ended(started.elapsed());
        });
        self.health.metrics().running(self.executions.len());
    }
}
