//! A private `PgBouncer` in front of a private PostgreSQL: the one of `tests/rootfs pgbouncer`, because Debian 12 has none that
//! keeps prepared statements (1.21 and later).

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{
    postgres::{Database, PASSWORD, free_port},
    private_server::{self, Watcher},
    rootfs,
};

/// Ends the pooler when nobody holds the other end of its standard input any more.
const WATCHER: &str = r#"
trap '' HUP INT TERM
read -r line
pid=$(cat "$1/pid") && grep -q "$1" "/proc/$pid/cmdline" && kill -KILL "$pid"
rm -rf "$1"
"#;

/// A running pooler. Dropping it ends it.
#[derive(Debug)]
pub struct Pooler {
    folder: PathBuf,
    port: u16,
    child: Child,
    watcher: Watcher,
}

impl Pooler {
    /// Starts one that has this many connections to the server of a database for each role, with the settings of the README.
    #[must_use]
    pub fn start(database: &Database<'_>, connections: usize) -> Self {
        // what the root file system shows of this machine is /tmp; the watcher removes it
        let folder = tempfile::tempdir_in("/tmp").expect("a temporary folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let watcher = Watcher::start(Command::new("sh"), WATCHER, &folder);
        let (host, port) = database
            .server
            .address()
            .rsplit_once(':')
            .map(|(h, p)| (h.to_owned(), p.to_owned()))
            .expect("a port");
        let users = folder.join("users");
        fs::write(&users, format!("\"attune_agent\" \"{PASSWORD}\"\n")).expect("it is written");
        let own_port = free_port();
        let settings = format!(
            "[databases]
             * = host={host} port={port}
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {own_port}
             unix_socket_dir =
             user = nobody
             pidfile = {}
             auth_type = scram-sha-256
             auth_file = {}
             max_client_conn = 2000
             default_pool_size = {connections}
             pool_mode = transaction
             max_prepared_statements = 100
             ignore_startup_parameters = extra_float_digits, options
            ",
            folder.join("pid").display(),
            users.display()
        );
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, settings).expect("it is written");
        let log = File::create(folder.join("log")).expect("a log file");
        let child = rootfs::enter(&rootfs::path("pgbouncer"))
            .arg("/usr/sbin/pgbouncer")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("unshare can be started");
        let mut pooler = Self { folder, port: own_port, child, watcher };
        let place = pooler.folder.join("log");
        let up = private_server::is_up("PgBouncer", &mut pooler.child, &place, "process up");
        assert!(up, "PgBouncer does not start:\n{}", pooler.log());
        pooler
    }

    /// URL of the database for agents, through the pooler.
    #[must_use]
    pub fn url(&self, database: &Database<'_>) -> String {
        format!("postgres://attune_agent:{PASSWORD}@127.0.0.1:{}/{}", self.port, database.name)
    }

    /// Everything that it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.watcher.clean_up();
        let _ = self.child.wait();
    }
}
