//! What a worker offers at this moment: the interpreters that were found, without those that turned out to be broken.

use std::sync::Arc;

use attune_common::model::Capabilities;
use tokio::sync::watch;

use crate::{
    registration,
    runtime_detect::{Detection, Interpreter, Rejected, Rejection},
    settings::WorkerSettings,
};

/// What one worker offers. Clones share it.
#[derive(Clone, Debug)]
pub struct Offered {
    current: watch::Sender<Current>,
    settings: Arc<WorkerSettings>,
}

/// The two sides of the same: what the worker itself uses, and what others are told.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    /// The interpreters.
    pub(crate) detection: Arc<Detection>,
    /// What is registered.
    pub(crate) capabilities: Arc<Capabilities>,
    /// What was offered once.
    withdrawn: Arc<Vec<Rejected>>,
}

impl Offered {
    /// Everything that was found.
    #[must_use]
    pub fn new(detection: Detection, settings: &WorkerSettings) -> Self {
        let capabilities = registration::capabilities(&detection, settings);
        let current = Current {
            detection: Arc::new(detection),
            capabilities: Arc::new(capabilities),
            withdrawn: Arc::default(),
        };
        Self { current: watch::Sender::new(current), settings: Arc::new(settings.clone()) }
    }

    /// The interpreters.
    #[must_use]
    pub fn detection(&self) -> Arc<Detection> {
        self.current.borrow().detection.clone()
    }

    /// What is registered, or shall be.
    #[must_use]
    pub fn capabilities(&self) -> Arc<Capabilities> {
        self.current.borrow().capabilities.clone()
    }

    /// Tells of changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
    }

    /// What was offered once, and why it is not any more.
    #[must_use]
    pub fn withdrawn(&self) -> Arc<Vec<Rejected>> {
        self.current.borrow().withdrawn.clone()
    }

    /// The same in words.
    #[must_use]
    pub fn reservation(&self) -> String {
        let told: Vec<String> = self.withdrawn().iter().map(in_words).collect();
        told.join("; ")
    }

    /// Offers an interpreter no more.
    pub(crate) fn withdraw(&self, runtime: &str, interpreter: &Interpreter, reason: Rejection) {
        self.current.send_modify(|current| {
            let mut detection = (*current.detection).clone();
            detection.remove(runtime, interpreter);
            current.capabilities = Arc::new(registration::capabilities(&detection, &self.settings));
            current.detection = Arc::new(detection);
            let path = interpreter.path.clone();
            let withdrawn = Rejected { runtime: runtime.to_owned(), path, reason };
            Arc::make_mut(&mut current.withdrawn).push(withdrawn);
        });
    }
}

/// Why an interpreter is offered no more.
pub(crate) fn in_words(Rejected { path, reason, .. }: &Rejected) -> String {
    format!("{} does not run scripts: {reason}", path.display())
}
