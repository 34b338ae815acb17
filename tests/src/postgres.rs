//! Private PostgreSQL servers: real ones, each with a folder and a port of its own, that end with the test process.
//!
//! [`shared`] is the server of this test process; a test takes a [`Database`] of its own on it. Tests that restart or break
//! their server start one with [`Server::start`]. The programs are those of the root file system `ATTUNE_POSTGRES_ROOT` (which
//! `tests/rootfs postgres14` makes), or else found in `PATH` or where Debian keeps them.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use rustix::process::{Signal, geteuid};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    binaries,
    certificates::Certificates,
    dev::wait_for,
    private_server::{self, PrivateServer, Watcher},
};

/// PostgreSQL refuses to run as root: then its processes are nobody's, who is on every system.
const NOBODY: u32 = 65534;

/// The password of every role but the superuser, whose own is drawn. It is long enough to be looked for in everything printed.
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// Ends the server and removes its folder when nobody holds the other end of its standard input any more, which is also the
/// case when the test process was killed.
const WATCHER: &str = r#"
trap '' HUP INT TERM
read -r line
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
# a number may have been given to another process meanwhile; the server works in its data folder
runs() { [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; }
if runs "$1"; then kill -QUIT "$pid"; kill -CONT "$pid"; fi
while runs "$1"; do sleep 0.05; done
rm -rf "$1"
"#;

/// Only one test at a time changes what belongs to the whole server.
static ROLES: Mutex<()> = Mutex::const_new(());

/// The server of this test process.
#[must_use]
pub fn shared() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    &SERVER
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    certificates: Certificates,
    port: u16,
    superuser_password: String,
    child: Child,
    watcher: Watcher,
}

impl Server {
    /// Starts a server and waits until it can be used.
    #[must_use]
    pub fn start() -> Self {
        let template = template();
        let folder = env::temp_dir().join(format!("attune-postgres-{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        run(Command::new("cp").args(["-R", "--reflink=auto"]).arg(template.join("data")).arg(&folder));
        let certificates = Certificates::make(&folder);
        configure(&folder, &certificates);
        give_away(&folder);
        let watcher = Watcher::start(unprivileged("sh"), WATCHER, &folder);
        let port = free_port();
        let mut server = Self {
            port,
            superuser_password: fs::read_to_string(template.join("password")).unwrap(),
            child: launch(&folder, port),
            watcher,
            certificates,
            folder,
        };
        while !server.is_up() {
            let log = server.log();
            assert!(log.contains("Address already in use"), "PostgreSQL does not start:\n{log}");
            // another process was quicker to take the port
            server.port = free_port();
            server.launch_again();
        }
        server
    }

    fn is_up(&mut self) -> bool {
        let log = self.log_file();
        private_server::is_up(
            "PostgreSQL",
            &mut self.child,
            &log,
            "database system is ready to accept connections",
        )
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn launch_again(&mut self) {
        let _ = fs::remove_file(self.log_file());
        self.child = launch(&self.folder, self.port);
    }

    /// Everything that the server wrote since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where everything of the server is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Address, as in a URL.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Certificate of the authority that signed the server's. Its only name is 127.0.0.1.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.certificates.authority.clone()
    }

    /// Certificate of an authority that has nothing to do with the server.
    #[must_use]
    pub fn other_authority(&self) -> PathBuf {
        self.certificates.other_authority.clone()
    }

    /// A connection of the superuser.
    pub async fn superuser(&self, database: &str) -> PgConnection {
        let url = format!("postgres://postgres:{}@{}/{database}", self.superuser_password, self.address());
        PgConnection::connect(&url).await.expect("the superuser may connect")
    }

    /// A new database that belongs to an ordinary role.
    pub async fn database(&self) -> Database<'_> {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = self.superuser("postgres").await;
        {
            let _alone = ROLES.lock().await;
            execute(
                &mut connection,
                &format!(
                    "DO $$ BEGIN
                         IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'owner') THEN
                             CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}';
                         END IF;
                     END $$"
                ),
            )
            .await;
        }
        execute(&mut connection, &format!("CREATE DATABASE {name} OWNER owner")).await;
        Database { server: self, name }
    }

    /// A new database, prepared with the roles `attune_api` and `attune_agent` as an administrator would do it.
    pub async fn database_with_roles(&self) -> Database<'_> {
        let database = self.database().await;
        database.make_roles().await;
        database
    }
}

impl PrivateServer for Server {
    /// "Fast shutdown" (PostgreSQL, "Shutting Down the Server").
    const STOP: Signal = Signal::INT;

    fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    fn start_again(&mut self) {
        wait_for("what is left of the server to end", || {
            self.launch_again();
            self.is_up()
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watcher.clean_up();
        let _ = self.child.wait();
    }
}

/// A database of one test.
#[derive(Clone, Debug)]
pub struct Database<'a> {
    /// Where it is.
    pub server: &'a Server,
    /// Its name.
    pub name: String,
}

impl Database<'_> {
    /// URL for a role.
    #[must_use]
    pub fn url(&self, role: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@{}/{}", self.server.address(), self.name)
    }

    /// A connection of the superuser.
    pub async fn superuser(&self) -> PgConnection {
        self.server.superuser(&self.name).await
    }

    /// A connection of a role.
    pub async fn connect(&self, role: &str) -> PgConnection {
        PgConnection::connect(&self.url(role)).await.expect("the role may connect")
    }

    /// Runs what `attune-api database-roles` prints, and gives the roles their passwords.
    pub async fn make_roles(&self) {
        let _alone = ROLES.lock().await;
        let mut connection = self.superuser().await;
        execute(&mut connection, attune_common::store::postgres::ROLES).await;
        for role in ["attune_api", "attune_agent"] {
            execute(&mut connection, &format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await;
        }
    }
}

/// Runs statements.
pub async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// The root file system whose release of PostgreSQL is wanted instead of this machine's.
fn wanted_root() -> Option<PathBuf> {
    env::var_os("ATTUNE_POSTGRES_ROOT").map(PathBuf::from)
}

/// A program of PostgreSQL for the server in a folder: of the release that is wanted, which is copied there because nobody else
/// may look into the folders of root, or else the newest one of this machine. Debian keeps them out of `PATH`.
fn program(name: &str, folder: &Path) -> PathBuf {
    if let Some(root) = wanted_root() {
        let copy = folder.join("postgres");
        if !copy.is_dir() {
            run(Command::new("cp").args(["-R", "--reflink=auto"]).arg(root.join("postgres")).arg(folder));
            give_away(&copy);
        }
        return copy.join("bin").join(name);
    }
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = debian.map(|folder| folder.join("bin")).collect();
    folders.sort_by_key(|folder| {
        folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok())
    });
    let path = env::var_os("PATH").unwrap_or_default();
    folders.into_iter().rev().chain(env::split_paths(&path)).map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap_or_else(
        || panic!("PostgreSQL's program {name} is missing: apt-get install postgresql, or use 'nix develop'; './tests/run --without-services' leaves these tests out"),
    )
}

/// A command that is not root.
fn unprivileged(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it can be started");
    assert!(output.status.success(), "{command:?}: {}", crate::dev::shown(&output));
}

/// Makes a folder that of whoever runs the server.
fn give_away(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    if geteuid().is_root() {
        run(Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(folder));
    }
}

fn launch(folder: &Path, port: u16) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    unprivileged(program("postgres", folder))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string()])
        .args(["-c", &format!("unix_socket_directories={}", folder.display())])
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "password_encryption=scram-sha-256"])
        // nothing here has to survive the machine
        .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("PostgreSQL can be started")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A data folder that is copied for every server: making one takes a second. Made once for each release of PostgreSQL.
fn template() -> PathBuf {
    let folder = env::temp_dir().join(format!("attune-initdb-{}", Uuid::new_v4().simple()));
    fs::create_dir(&folder).unwrap();
    let initdb = program("initdb", &folder);
    let version = Command::new(&initdb).arg("--version").output().expect("initdb can be started");
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let place = binaries::workspace().join("target/postgres").join(version);
    if !place.is_dir() {
        make_template(&initdb, &folder, &place);
    }
    fs::remove_dir_all(&folder).unwrap();
    place
}

fn make_template(initdb: &Path, folder: &Path, place: &Path) {
    fs::write(folder.join("password"), Uuid::new_v4().simple().to_string()).unwrap();
    give_away(folder);
    run(unprivileged(initdb)
        .args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--no-locale"])
        .arg(format!("--pwfile={}", folder.join("password").display()))
        .arg(format!("--pgdata={}", folder.join("data").display())));
    // whole or not there; another process may have been quicker
    let beside = place.with_extension(Uuid::new_v4().simple().to_string());
    fs::create_dir_all(&beside).unwrap();
    run(Command::new("cp").arg("-R").args([folder.join("data"), folder.join("password")]).arg(&beside));
    if fs::rename(&beside, place).is_err() {
        fs::remove_dir_all(&beside).unwrap();
    }
}

/// Makes the server use a certificate, and take more clients than usual.
fn configure(folder: &Path, certificates: &Certificates) {
    // not on the command line, which nothing can overrule
    let (certificate, key) = (certificates.server.display(), certificates.key.display());
    let settings =
        format!("ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\nmax_connections = 200\n");
    fs::write(folder.join("data/postgresql.auto.conf"), settings).unwrap();
}
