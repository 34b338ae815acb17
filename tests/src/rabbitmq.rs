//! Private RabbitMQ brokers: real ones, each with a folder and ports of its own, that end with the test process.
//!
//! [`shared`] is the broker of this test process; a test takes a [`Vhost`] of its own on it. Tests that restart or break
//! their broker start one with [`Broker::start`]. The program is found where Debian keeps it, or in `PATH`.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;
use uuid::Uuid;

use crate::{
    certificates::Certificates,
    dev::shown,
    postgres::free_port,
    private_server::{self, PrivateServer, Watcher},
    rootfs,
};

/// Who uses the vhosts.
pub const USER: &str = "attune";

/// The password of the user. It is long enough to be looked for in everything printed.
pub const PASSWORD: &str = "incorrect-zebra-magnet-clamp";

/// How long a consumer may keep a delivery, instead of the usual half an hour.
pub const CONSUMER_TIMEOUT: Duration = Duration::from_secs(5);

/// Vhosts of a broker, made at its start: making one later takes a second.
const VHOSTS: usize = 32;

/// Ends the broker and removes its folder when nobody holds the other end of its standard input any more, which is also the
/// case when the test process was killed. Its processes, also Erlang's port mapper, are those whose home the folder is.
const WATCHER: &str = r#"
trap '' HUP INT TERM
read -r line
running() { grep --null-data --files-with-matches --line-regexp --fixed-strings "HOME=$1" /proc/[0-9]*/environ 2>/dev/null; }
# not grep's exit status: processes that end meanwhile are errors to it
while files=$(running "$1"); [ -n "$files" ]; do
    for file in $files; do
        pid=${file#/proc/}
        kill -KILL "${pid%/environ}" 2>/dev/null
    done
    sleep 0.05
done
rm -rf "$1"
"#;

/// The broker of this test process.
#[must_use]
pub fn shared() -> &'static Broker {
    static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);
    &BROKER
}

/// A running broker. Dropping it ends it.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    certificates: Certificates,
    ports: Ports,
    taken_vhosts: AtomicUsize,
    child: Child,
    watcher: Watcher,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    amqps: u16,
    distribution: u16,
    mapper: u16,
}

impl Ports {
    fn free() -> Self {
        Self { amqp: free_port(), amqps: free_port(), distribution: free_port(), mapper: free_port() }
    }
}

impl Broker {
    /// Starts a broker and waits until it can be used.
    #[must_use]
    pub fn start() -> Self {
        let folder = env::temp_dir().join(format!("attune-rabbitmq-{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        let certificates = Certificates::make(&folder);
        write_definitions(&folder);
        let watcher = Watcher::start(Command::new("sh"), WATCHER, &folder);
        let ports = Ports::free();
        configure(&folder, ports, &certificates);
        let mut broker = Self {
            child: launch(&folder, ports),
            taken_vhosts: AtomicUsize::new(0),
            watcher,
            certificates,
            ports,
            folder,
        };
        while !broker.is_up() {
            let log = broker.log();
            assert!(log.contains("eaddrinuse"), "RabbitMQ does not start:\n{log}");
            // another process was quicker to take a port
            broker.ports = Ports::free();
            configure(&broker.folder, broker.ports, &broker.certificates);
            broker.launch_again();
        }
        broker
    }

    fn is_up(&mut self) -> bool {
        let log = self.log_file();
        private_server::is_up("RabbitMQ", &mut self.child, &log, "Server startup complete")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("output")
    }

    fn launch_again(&mut self) {
        let _ = fs::remove_file(self.log_file());
        self.child = launch(&self.folder, self.ports);
    }

    /// Everything that the broker wrote since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where everything of the broker is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Address without TLS, as in a URL.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.amqp)
    }

    /// Address with TLS, as in a URL.
    #[must_use]
    pub fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.amqps)
    }

    /// Certificate of the authority that signed the broker's. Its only name is 127.0.0.1.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.certificates.authority.clone()
    }

    /// Certificate of an authority that has nothing to do with the broker.
    #[must_use]
    pub fn other_authority(&self) -> PathBuf {
        self.certificates.other_authority.clone()
    }

    /// Runs `rabbitmqctl` (<https://www.rabbitmq.com/docs/man/rabbitmqctl.8>) and returns what it prints.
    #[must_use]
    pub fn control(&self, arguments: &[&str]) -> String {
        let output = environment(program("rabbitmqctl"), &self.folder, self.ports)
            .arg("--quiet")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("rabbitmqctl can be started");
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A vhost that nobody has used.
    #[must_use]
    pub fn vhost(&self) -> Vhost<'_> {
        let number = self.taken_vhosts.fetch_add(1, Ordering::Relaxed);
        assert!(number < VHOSTS, "every vhost is taken: raise VHOSTS in tests/src/rabbitmq.rs");
        Vhost { broker: self, name: vhost_name(number) }
    }
}

impl PrivateServer for Broker {
    /// What was declared a moment ago is sure to be there again only after an end in order.
    const STOP: Signal = Signal::TERM;

    fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    fn start_again(&mut self) {
        self.launch_again();
        assert!(self.is_up(), "RabbitMQ does not start again:\n{}", self.log());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.watcher.clean_up();
        let _ = self.child.wait();
    }
}

/// A vhost of one test.
#[derive(Clone, Debug)]
pub struct Vhost<'a> {
    /// Where it is.
    pub broker: &'a Broker,
    /// Its name.
    pub name: String,
}

impl Vhost<'_> {
    /// URL without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://{USER}:{PASSWORD}@{}/{}", self.broker.address(), self.name)
    }

    /// URL with TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("amqps://{USER}:{PASSWORD}@{}/{}", self.broker.tls_address(), self.name)
    }
}

fn vhost_name(number: usize) -> String {
    format!("test_{number}")
}

/// A program of RabbitMQ: that of the root file system `ATTUNE_RABBITMQ_ROOT` (which `tests/rootfs rabbitmq` makes), or else the
/// newest one of this machine. What Debian has in `PATH` runs as another user, with one folder for all.
fn program(name: &str) -> Command {
    if let Some(root) = env::var_os("ATTUNE_RABBITMQ_ROOT").map(PathBuf::from) {
        let file = debian_folders(&root).pop().expect("there is a RabbitMQ").join(name);
        let inside = Path::new("/").join(file.strip_prefix(&root).unwrap());
        let mut command = rootfs::enter(&root);
        command.arg(inside);
        return command;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = debian_folders(Path::new("/")).into_iter().rev().chain(env::split_paths(&path));
    let file = folders.map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap_or_else(
        || panic!("RabbitMQ's program {name} is missing: apt-get install rabbitmq-server, or use 'nix develop'; './tests/run --without-services' leaves these tests out"),
    );
    Command::new(file)
}

/// Where Debian keeps the programs, the oldest version first.
fn debian_folders(root: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(root.join("usr/lib/rabbitmq/lib")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("sbin")).collect();
    folders.sort();
    folders
}

/// The user and the vhosts (<https://www.rabbitmq.com/docs/definitions>), and what lets `rabbitmqctl` in.
fn write_definitions(folder: &Path) {
    let names: Vec<String> = (0..VHOSTS).map(vhost_name).collect();
    let permission =
        |name| json!({"user": USER, "vhost": name, "configure": ".*", "write": ".*", "read": ".*"});
    let definitions = json!({
        "users": [{"name": USER, "password": PASSWORD, "tags": ""}],
        "vhosts": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "permissions": names.iter().map(permission).collect::<Vec<_>>(),
    });
    fs::write(folder.join("definitions.json"), definitions.to_string()).unwrap();
    fs::write(folder.join("plugins"), "[].").unwrap();
    fs::write(folder.join("environment"), "").unwrap();
    let cookie = folder.join(".erlang.cookie");
    fs::write(&cookie, Uuid::new_v4().simple().to_string()).unwrap();
    fs::set_permissions(cookie, fs::Permissions::from_mode(0o400)).unwrap();
}

fn configure(folder: &Path, ports: Ports, certificates: &Certificates) {
    let Ports { amqp, amqps, .. } = ports;
    let settings = [
        format!("listeners.tcp.1 = 127.0.0.1:{amqp}"),
        format!("listeners.ssl.1 = 127.0.0.1:{amqps}"),
        format!("ssl_options.cacertfile = {}", certificates.authority.display()),
        format!("ssl_options.certfile = {}", certificates.server.display()),
        format!("ssl_options.keyfile = {}", certificates.key.display()),
        format!("load_definitions = {}", folder.join("definitions.json").display()),
        format!("consumer_timeout = {}", CONSUMER_TIMEOUT.as_millis()),
        "log.console = true".to_owned(),
    ];
    fs::write(folder.join("rabbitmq.conf"), settings.join("\n") + "\n").unwrap();
    // how often the timeout is looked at; usually once a minute
    fs::write(folder.join("advanced.config"), "[{rabbit, [{channel_tick_interval, 500}]}].\n").unwrap();
}

/// <https://www.rabbitmq.com/docs/configure#supported-environment-variables>
fn environment(mut command: Command, folder: &Path, ports: Ports) -> Command {
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("LANG", "C.UTF-8")
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", format!("attune{}@localhost", ports.amqp))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("advanced.config"))
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("environment"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_DIST_PORT", ports.distribution.to_string())
        .env("ERL_EPMD_PORT", ports.mapper.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
    command
}

fn launch(folder: &Path, ports: Ports) -> Child {
    let output = fs::OpenOptions::new().create(true).append(true).open(folder.join("output")).unwrap();
    environment(program("rabbitmq-server"), folder, ports)
        // then the script becomes the broker, and killing it is killing the broker
        .env("RUNNING_UNDER_SYSTEMD", "1")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0)
        .spawn()
        .expect("RabbitMQ can be started")
}
