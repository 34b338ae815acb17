//! The API and the worker, side by side in this process.

use std::{ffi::OsString, io::Read, net::SocketAddr, time::Duration};

use anyhow::{Context, anyhow};
use attune_api::ApiState;
use attune_common::{
    artifact_store::ArtifactStore,
    config::{Config, Sources},
    doorbell,
    model::{WorkerKind, WorkerStatus},
    store,
};
use attune_worker::{
    health::Health,
    runtime_detect::{self, Detection, Options, RUNTIMES_VARIABLE, Selection},
    service::WorkerService,
    settings::WorkerSettings,
    startup,
    stop::{StopHandle, StopSignal},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StateDir;
use crate::{
    client::Client,
    endpoint::{Endpoint, EndpointFile},
    exit::BadInput,
};

/// Time between two looks whether the worker is there.
const LOOK: Duration = Duration::from_millis(20);

/// How long the worker may take to register.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Connections to a database server; the state folder's SQLite needs no number.
const MAX_CONNECTIONS: u32 = 3;

/// What people can choose.
pub(crate) struct Choices<'a> {
    /// Address to listen on.
    pub(crate) listen: &'a str,
    /// How many executions run at once, if not what the configuration says.
    pub(crate) slots: Option<u32>,
}

/// A running API with a running worker.
pub(crate) struct Services {
    /// The API's base URL.
    pub(crate) url: Url,
    /// The bearer token, new with every start.
    pub(crate) token: SecretString,
    /// What the worker can run.
    pub(crate) detection: Detection,
    /// The worker's name.
    pub(crate) worker_name: String,
    /// How many executions run at once.
    pub(crate) slots: u32,
    api: Task,
    worker: Task,
    stop_api: CancellationToken,
    stop_worker: StopHandle,
}

impl Services {
    /// Starts both.
    pub(crate) async fn start(state: &StateDir, choices: &Choices<'_>) -> anyhow::Result<Self> {
        startup::adopt_orphans()?;
        let config = configuration(state)?;
        let mut settings = WorkerSettings::from_config(&config.worker, WorkerKind::Dev)
            .map_err(|error| BadInput(format!("{error:#}")))?;
        settings.slots = choices.slots.unwrap_or(settings.slots);
        let artifacts =
            ArtifactStore::open(&config.artifacts).map_err(|error| BadInput(error.to_string()))?;
        let listener = attune_api::bind(choices.listen).await.map_err(|error| BadInput(error.to_string()))?;
        let url = url(listener.local_addr().context("cannot tell the API's address")?)?;
        let client = config.database.client(WorkerKind::Dev.program(), MAX_CONNECTIONS);
        let backend = store::open(&state.database_url()?, &client)
            .await
            .map_err(|error| BadInput(error.to_string()))?;
        let detection = detect().await?;
        let token = random_token().context("cannot make a token")?;

        let doorbell = doorbell::open(&backend, &config).map_err(|error| BadInput(error.to_string()))?;
        let store = backend.store();
        let api_state =
            ApiState::new(store.clone(), doorbell.clone(), artifacts.clone(), &token, settings.lease);
        let stop_api = CancellationToken::new();
        let api = Task::spawn("API", attune_api::serve(listener, api_state, stop_api.clone()));
        let (stop_worker, stop) = StopSignal::manual();
        let (worker_name, slots) = (settings.name.clone(), settings.slots);
        let service =
            WorkerService::new(store, doorbell, artifacts, settings, detection.clone(), Health::default());
        let worker = Task::spawn("worker", service.run(stop));
        Ok(Self { url, token, detection, worker_name, slots, api, worker, stop_api, stop_worker })
    }

    /// A client of the API.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let endpoint = Endpoint { url: self.url.clone(), token: self.token.clone(), hint: String::new() };
        Ok(Client::new(endpoint)?)
    }

    /// What the endpoint file says.
    pub(crate) fn endpoint_file(&self) -> EndpointFile {
        EndpointFile { url: self.url.to_string(), token: self.token.clone() }
    }

    /// Waits until the worker takes work.
    pub(crate) async fn ready(&mut self, client: &Client) -> anyhow::Result<()> {
        let registered = async {
            loop {
                let workers = client.workers().await?.workers;
                // one that was cordoned takes no work, and says so
                let there = [WorkerStatus::Online, WorkerStatus::Cordoned];
                if workers
                    .iter()
                    .any(|worker| there.contains(&worker.status) && worker.name == self.worker_name)
                {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            registered = tokio::time::timeout(START_LIMIT, registered) => {
                registered.context("the worker does not register")?
            }
            error = ended(&mut self.api, &mut self.worker) => Err(error),
        }
    }

    /// Waits until one of them ends, which neither does before it is told to.
    pub(crate) async fn ended_early(&mut self) -> anyhow::Error {
        ended(&mut self.api, &mut self.worker).await
    }

    /// Asks the worker to finish what runs and to stop.
    pub(crate) fn drain(&self) {
        self.stop_worker.drain();
    }

    /// Asks the worker to cancel what runs and to stop.
    pub(crate) fn cancel(&self) {
        self.stop_worker.cancel();
    }

    /// Waits for the worker, which must have been told to stop. Cancel-safe.
    pub(crate) async fn worker_stopped(&mut self) -> anyhow::Result<()> {
        self.worker.ended().await
    }

    /// Stops the API, when nothing needs it any more.
    pub(crate) async fn stop_api(mut self) -> anyhow::Result<()> {
        self.stop_api.cancel();
        self.api.ended().await
    }
}

/// Something that runs beside.
struct Task {
    name: &'static str,
    /// Gone once its end has been told.
    handle: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Task {
    fn spawn(name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Self {
        Self { name, handle: Some(tokio::spawn(task)) }
    }

    /// Waits for its end, and tells how that was once. Cancel-safe.
    async fn ended(&mut self) -> anyhow::Result<()> {
        let Some(handle) = &mut self.handle else { return Ok(()) };
        let result = handle.await;
        self.handle = None;
        result.map_err(anyhow::Error::from).flatten().with_context(|| format!("the {} ended", self.name))
    }
}

async fn ended(api: &mut Task, worker: &mut Task) -> anyhow::Error {
    let (name, result) = tokio::select! {
        result = api.ended() => ("API", result),
        result = worker.ended() => ("worker", result),
    };
    result.err().unwrap_or_else(|| anyhow!("the {name} ended, and nobody asked it to"))
}

/// The configuration of the environment, with cache and artifacts in the state folder unless that says otherwise.
fn configuration(state: &StateDir) -> anyhow::Result<Config> {
    let artifacts = Url::from_directory_path(state.join("artifacts"))
        .map_err(|()| anyhow!("the state folder {} is no absolute path", state.shown.display()))?;
    let own: [(&str, OsString); 2] = [
        ("ATTUNE__WORKER__CACHE_DIR", state.join("cache").into()),
        ("ATTUNE__ARTIFACTS__URL", artifacts.as_str().into()),
    ];
    let mut sources = Sources::process(None);
    // the first ones give way to those behind them
    sources.environment.splice(..0, own.map(|(name, value)| (name.into(), value)));
    Ok(sources.load()?)
}

async fn detect() -> anyhow::Result<Detection> {
    let only = match std::env::var(RUNTIMES_VARIABLE) {
        Ok(list) => Selection::parse(&list, RUNTIMES_VARIABLE),
        Err(std::env::VarError::NotPresent) => None,
        Err(error) => return Err(anyhow::Error::from(error).context(BadInput(RUNTIMES_VARIABLE.to_owned()))),
    };
    Ok(runtime_detect::detect(&Options { only, ..Options::from_env() }).await?)
}

/// Where clients of this machine find the API.
fn url(mut address: SocketAddr) -> anyhow::Result<Url> {
    // who listens everywhere listens here, too
    if address.ip().is_unspecified() {
        let here =
            if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(here);
    }
    format!("http://{address}").parse().context("the API's address is no URL")
}

/// 32 bytes of the operating system's random numbers.
fn random_token() -> std::io::Result<SecretString> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn tokens_are_long_and_new() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!(one.expose_secret().len(), 43);
        assert_ne!(one.expose_secret(), other.expose_secret());
        attune_api::token::check_token(&one).unwrap();
    }

    #[test]
    fn clients_of_this_machine_get_an_address_that_leads_here() {
        for (address, expected) in [
            ("127.0.0.1:8650", "http://127.0.0.1:8650/"),
            ("0.0.0.0:80", "http://127.0.0.1/"),
            ("[::]:1234", "http://[::1]:1234/"),
            ("10.0.0.7:1", "http://10.0.0.7:1/"),
        ] {
            assert_eq!(url(address.parse().unwrap()).unwrap().as_str(), expected);
        }
    }
}
